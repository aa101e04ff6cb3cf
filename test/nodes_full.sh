#!/bin/bash
# nodes_full.sh - the disk of one of three nodes is full for a while: the others go on, and when there is room again it
# comes back by itself, and nothing is lost.
# SPDX-License-Identifier: Apache-2.0
# Environment: see graph.sh; TROUPE_TOKENS (20000). Needs a right to mount.
# shellcheck disable=SC2034 # what graph.sh reads
set -eu
tokens=${TROUPE_TOKENS:-20000}
nodes=3 points=48 hops=12 pad=300
deadline_s=90
. "$(dirname "$0")/graph.sh"
at_exit() { umount -l "$dir/n2" 2>/dev/null || true; }

start() {
    "$build/troupe" run "$dir/graph.so" --cluster "$dir/cluster.yaml" --node "n$1" --data "$dir/n$1" \
        --input "$dir/$2" --output "$dir/out.n$1" 2>>"$dir/log.n$1" &
    pid[$1]=$!
}
mkdir "$dir/n2"
if ! mount -t tmpfs -o size=3m tmpfs "$dir/n2" 2>"$dir/mount.log"; then
    echo "skipped: no right to mount a small file system"
    exit 0
fi
"$build/troupe" cluster init --nodes $nodes "$dir/cluster.yaml" >/dev/null
prepare 1
start 1 tokens1
start 2 none
start 3 none
end=$((SECONDS + deadline_s))
: >>"$dir/log.n2"
until grep -q "no space left" "$dir/log.n2"; do
    [ $SECONDS -lt $end ] || fail "the disk of n2 was never full"
    [ "$(lines ends)" -lt "$tokens" ] || fail "all was done before the disk of n2 was full"
    sleep 0.02
done
before=$(lines ends)
mount -o remount,size=200m "$dir/n2"
wait_lines ends "$tokens"
echo "$before of $tokens tokens had ended when the disk was full"
stop 1 2 3
start 1 report
start 2 none
start 3 none
wait_lines visits $points
stop 1 2 3
check_graph
