#!/bin/bash
# pagerank.sh - an asynchronous iteration ends by itself and is right, killed on the way or not.
# SPDX-License-Identifier: Apache-2.0
# Environment: see sample.sh.
set -eu
. "$(dirname "$0")/sample.sh"
graph=samples/pagerank/depends.txt
awk -f samples/pagerank/graph.awk $graph >"$dir/in"
awk -v report=1 -f samples/pagerank/graph.awk $graph >"$dir/reports"
kills=0
for _ in 1 2 3 4 5 6; do
    "$build/troupe" run "$build/samples/pagerank.so" --data "$dir/data" --input "$dir/in" --output "$dir/out" \
        --until-idle 2>>"$dir/log" &
    pid=$!
    sleep "0.0$((RANDOM % 5))$((RANDOM % 10))" # A moment of the start, of the iteration, or after it.
    if kill -9 $pid 2>/dev/null; then kills=$((kills + 1)); fi
    wait $pid 2>/dev/null || true
    pid=
done
run pagerank data in out
[ ! -s "$dir/out" ] || { echo "FAILED: a rank before it was asked for"; exit 1; }
run pagerank data reports out
python3 samples/pagerank/check.py $graph "$dir/out"
"$build/troupe" doctor "$dir/data" >/dev/null
echo "$kills kills, seed $seed"
