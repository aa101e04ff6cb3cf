#!/bin/bash
# later.sh - hundreds of thousands of delayed messages, to as many actors, wait in a node that may have little memory; it
# is killed meanwhile. Each comes once.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), TROUPE_FLOODS (30) times 10,000 delayed messages; of a million (100) the node may have
# 256 MiB, of fewer 128. See test/backlog.sh for the limit.
set -eu
. "$(dirname "$0")/preamble.sh"

export TROUPE_FLOODS=${TROUPE_FLOODS:-30}
node=

if [ "$TROUPE_FLOODS" -gt 30 ]; then mib=256; else mib=128; fi
case $build in *address* | *thread*) limit=unlimited ;; *) limit=$((mib * 1024)) ;; esac # sanitizers map much more
${CC:-cc} -O2 -shared -fPIC -Icore -o "$dir/flood.so" test/module/flood.c
for i in $(seq 0 $((TROUPE_FLOODS - 1))); do echo "{\"to\":\"test/flood/$i\",\"type\":\"later\"}"; done >"$dir/in"
command=("$build/troupe" run "$dir/flood.so" --data "$dir/data" --input "$dir/in" --output "$dir/out" --memory "${mib}M"
    --durability process --no-supervisor --until-idle=timers)
: >"$dir/log"
(ulimit -s 1024 -d $limit && exec "${command[@]}" 2>>"$dir/log") &
node=$!
end=$((SECONDS + 60))
until [ -e "$dir/out" ] && [ "$(grep -c flooded "$dir/out")" = "$TROUPE_FLOODS" ]; do
    [ $SECONDS -lt $end ] || fail "not all was set in a minute"
    kill -0 $node 2>/dev/null || fail "the node ended meanwhile"
    sleep 0.05
done
kill -9 $node
{ wait $node; } 2>/dev/null || true
node=
left=$("$build/troupe" stats --data "$dir/data" | awk '$1 == "timers" { print $2 }')
(ulimit -s 1024 -d $limit && exec timeout 120 "${command[@]}" 2>>"$dir/log") || fail "troupe run ended with status $?"
done=$(grep -c '"egress":"done".*"faults":0' "$dir/out" || true)
[ "$done" = 1000 ] || fail "$done of 1000 tallies were full, without a repeat"
rows=$("$build/troupe" stats --data "$dir/data" | awk '$1 == "timers" { print $2 }')
[ "$rows" = 0 ] || fail "$rows that came would come again"
"$build/troupe" doctor "$dir/data" >/dev/null || fail "doctor finds damage"
echo "$left delayed messages were waiting at the kill; all of ${TROUPE_FLOODS}0,000 came once"
