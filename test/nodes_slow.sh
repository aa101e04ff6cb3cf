#!/bin/bash
# nodes_slow.sh - a node far slower than the one that sends to it, in a graph with cycles: memory of both stays within
# its bounds, the backlog lies on disk, ingress is held back, nothing gets stuck, and all of it arrives.
# SPDX-License-Identifier: Apache-2.0
# Environment: see graph.sh; TROUPE_SLOW_S (4, how long it is slow), TROUPE_TOKENS (60000 for each of these seconds).
# shellcheck disable=SC2034 # what graph.sh reads
set -eu
slow_s=${TROUPE_SLOW_S:-4}
tokens=${TROUPE_TOKENS:-$((slow_s * 60000))}
points=64 hops=3 pad=600
memory_mib=64 backlog_mib=16 # of each node
deadline_s=$((120 + slow_s * 10))
. "$(dirname "$0")/graph.sh"

start() {
    GRAPH_SLOW_US=${3:-0} "$build/troupe" run "$dir/graph.so" --cluster "$dir/cluster.yaml" --node "n$1" \
        --data "$dir/n$1" --input "$dir/$2" --output "$dir/out.n$1" --no-supervisor --memory "${memory_mib}M" \
        --backlog "${backlog_mib}M" \
        2>>"$dir/log.n$1" &
    pid[$1]=$!
}
rss_mib() { awk '$1 == "RssAnon:" { print int($2 / 1024) }' "/proc/${pid[$1]}/status"; }
stat_of() { "$build/troupe" stats --data "$dir/n$1" --node "n$1" | awk -v name="$2" '$(NF - 1) == name { print $NF }'; }

"$build/troupe" cluster init --nodes 2 "$dir/cluster.yaml" >/dev/null
prepare 1
start 2 none 200
start 1 tokens1
worst=(0 0 0)
end=$((SECONDS + slow_s))
while [ $SECONDS -lt $end ]; do
    sleep 0.1
    for n in 1 2; do
        now=$(rss_mib $n)
        [ -n "$now" ] || fail "n$n has ended"
        worst[n]=$((now > worst[n] ? now : worst[n]))
    done
done
read=$(stat_of 1 input_lines) waits=$(stat_of 2 mail)
echo "after $slow_s s: $read of $tokens lines read, $waits messages wait on n2; at most ${worst[1]} and ${worst[2]} MiB"
[ "$read" -lt "$tokens" ] || fail "ingress was not held back"
for n in 1 2; do
    sanitized || [ "${worst[n]}" -lt $((memory_mib + memory_mib / 2)) ] || fail "n$n had ${worst[n]} MiB in memory, of $memory_mib allowed"
done

stop 2 # As fast as the other from now on.
start 2 none
wait_lines ends "$tokens"
stop 1 2
start 2 none
start 1 report
wait_lines visits $points
stop 1 2
check_graph
