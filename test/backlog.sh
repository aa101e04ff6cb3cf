#!/bin/bash
# backlog.sh - five million messages wait in a node that may have 256 MiB: for 1,000 actors, and for 2.5 million of them.
# It is killed when all of them wait, and goes on; none is lost, and each actor gets its own in order.
# SPDX-License-Identifier: Apache-2.0
#
# The limit is the kernel's, on memory that is the process's own (RLIMIT_DATA); the pages of the store's files are the
# kernel's to drop. A crash is one of the process, so commits need not wait for the disk.
set -eu
. "$(dirname "$0")/preamble.sh"

node=

case $build in *address* | *thread*) limit=unlimited ;; *) limit=262144 ;; esac # sanitizers map much more
mkfifo "$dir/never"
${CC:-cc} -O2 -shared -fPIC -Icore -o "$dir/flood.so" test/module/flood.c

for kind in few many; do
    rm -rf "$dir/data" "$dir/out"
    for i in $(seq 0 99); do echo "{\"to\":\"test/flood/$i\",\"type\":\"$kind\"}"; done >"$dir/in"
    command=("$build/troupe" run "$dir/flood.so" --data "$dir/data" --input "$dir/in" --output "$dir/out" --memory 256M
        --durability process --no-supervisor --until-idle)
    : >"$dir/log"
    (ulimit -s 1024 -d $limit && exec "${command[@]}" 2>>"$dir/log") &
    node=$!
    end=$((SECONDS + 60))
    until [ -e "$dir/out" ] && [ "$(grep -c flooded "$dir/out")" = 100 ]; do
        [ $SECONDS -lt $end ] || fail "$kind: not all was sent in a minute"
        kill -0 $node 2>/dev/null || fail "$kind: the node ended meanwhile"
        read -rt 0.05 <>"$dir/never" || true
    done
    kill -9 $node
    wait $node 2>/dev/null || true
    node=
    (ulimit -s 1024 -d $limit && exec timeout 120 "${command[@]}" 2>>"$dir/log") || fail "$kind: troupe run ended with status $?"
    waited=$(sed -n 's/.*node open.* \([0-9]*\) messages waiting.*/\1/p' "$dir/log" | tail -n 1)
    [ "$waited" -ge 4000000 ] || fail "$kind: only $waited messages waited after the kill"
    done=$(grep -c '"egress":"done".*"faults":0' "$dir/out" || true)
    [ "$done" = 1000 ] || fail "$kind: $done of 1000 actors got all, in order"
    [ "$(wc -l <"$dir/out")" = 1100 ] || fail "$kind: $(wc -l <"$dir/out") records, not 1100"
    echo "$kind: $waited messages waited at the kill; all of 5,000,000 came, in order"
done
