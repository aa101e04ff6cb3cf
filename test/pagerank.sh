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

# The same on three nodes: only asking all of them twice tells that the iteration has ended.
run_nodes() {
    timeout 100 "$build/troupe" run "$build/samples/pagerank.so" --nodes 3 --data "$dir/nodes" --input "$dir/$1" \
        --output "$dir/nodes.out" --until-idle 2>>"$dir/log" &
    pid=$!
}
run_nodes in
for _ in 1 2 3 4; do
    sleep "0.0$((RANDOM % 10))$((RANDOM % 10))"
    mapfile -t nodes < <(pgrep -P "$(pgrep -P $pid || echo 0)" || true)
    [ ${#nodes[@]} = 0 ] || kill -9 "${nodes[$((RANDOM % ${#nodes[@]}))]}" 2>/dev/null || true
done
wait $pid
[ "$(cat "$dir"/nodes.out.* | wc -l)" = 0 ] || { echo "FAILED: a rank before it was asked for"; exit 1; }
run_nodes reports
wait $pid
pid=
python3 samples/pagerank/check.py $graph "$dir"/nodes.out.*
"$build/troupe" doctor "$dir/nodes" >/dev/null
