#!/bin/bash
# nodes_flood.sh - a node that strangers flood with connections, more than it may have files open: it goes on with its
# work in bounded memory, and others reach it afterwards.
# SPDX-License-Identifier: Apache-2.0
# Environment: see graph.sh; TROUPE_TOKENS (20000), TROUPE_CONNECTIONS (20000 attempts, and again while work is done).
# shellcheck disable=SC2034 # what graph.sh reads
set -eu
tokens=${TROUPE_TOKENS:-20000}
connections=${TROUPE_CONNECTIONS:-20000}
files=200
points=48 hops=6 pad=100
deadline_s=90
. "$(dirname "$0")/graph.sh"

start() {
    (
        ulimit -n $files
        exec "$build/troupe" run "$dir/graph.so" --cluster "$dir/cluster.yaml" --node "n$1" --key "$dir/n$1.key" \
            --data "$dir/n$1" --input "$dir/$2" --output "$dir/out.n$1" --no-supervisor 2>>"$dir/log.n$1"
    ) &
    pid[$1]=$!
}
rss_mib() { awk '$1 == "RssAnon:" { print int($2 / 1024) }' "/proc/${pid[$1]}/status"; }
flood() { python3 test/flood.py $((base + 2)) "$connections" "$seed" >>"$dir/log.flood"; }

base=$((10000 + RANDOM % 15000))
"$build/troupe" cluster init --nodes 2 --tcp "127.0.0.1:$((base + 1))" --tcp "127.0.0.1:$((base + 2))" --keys \
    "$dir/cluster.yaml" >/dev/null
prepare 1
start 2 none
end=$((SECONDS + 20))
: >>"$dir/log.n2"
until grep -q "listens at" "$dir/log.n2"; do
    [ $SECONDS -lt $end ] || fail "n2 does not start"
    sleep 0.02
done
before=$(rss_mib 2)
flood
after=$(rss_mib 2)
start 1 tokens1 # It has to get in.
flood
wait_lines ends "$tokens"
sanitized || [ $((after - before)) -lt 64 ] || fail "$files files took $((after - before)) MiB"
stop 1 2
start 1 report
start 2 none
wait_lines visits $points
stop 1 2
check_graph
told=$(grep -c "a node was refused" "$dir/log.n2" || true)
[ "$told" -gt 0 ] && [ "$told" -lt 200 ] || fail "the log tells of strangers in $told lines"
echo "$((after - before)) MiB for the flood; $(paste -sd' ' "$dir/log.flood")"
