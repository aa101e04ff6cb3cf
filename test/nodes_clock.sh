#!/bin/bash
# nodes_clock.sh - nodes of a cluster file with keys are photographed by the clock, as the file says, over the wire.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh.
set -eu
. "$(dirname "$0")/preamble.sh"

bank=$(dirname "$0")/../samples/bank
cluster=$dir/cluster.yaml
declare -A pid=()
# troupe STATUS ARGUMENT...: run the command, demand its exit status.
troupe() {
    local want=$1 status=0
    shift
    "$build/troupe" "$@" >"$dir/said" 2>"$dir/error" || status=$?
    [ $status = "$want" ] || fail "troupe $*: exit status $status, not $want: $(cat "$dir/error")"
}
# start NODE [OPTION...]
start() {
    local node=$1
    shift
    "$build/troupe" run "$build/samples/bank.so" --cluster "$cluster" --node "$node" --data "$dir/$node" \
        --output "$dir/out.$node" "$@" >>"$dir/log.$node" 2>&1 &
    pid[$node]=$!
}
taken() { grep -c 'msg="snapshot auto-.* taken' "$dir/log.n2" || true; }
has_taken() { [ "$(taken)" -ge "$1" ]; }

# The second node takes them: the first would without `node`.
base=$((10000 + RANDOM % 15000))
troupe 0 cluster init --nodes 2 --tcp "127.0.0.1:$base" --tcp "127.0.0.1:$((base + 1))" --keys \
    --clients "127.0.0.1:$((base + 2))" --clients "127.0.0.1:$((base + 3))" --every 1s --keep 2 --check "$cluster"
sed -i 's/^  node: "n1"/  node: n2/' "$cluster"
troupe 2 run "$build/samples/bank.so" --cluster "$cluster" --node n1 --data "$dir/no" --every 1s
grep -q "'snapshots'" "$dir/error" || fail "it does not say where to say it: $(cat "$dir/error")"
troupe 2 run "$build/samples/bank.so" --cluster "$cluster" --node n2 --data "$dir/no" --no-supervisor
troupe 2 run "$build/samples/greeter.so" --cluster "$cluster" --node n2 --data "$dir/no"
grep -q "no check" "$dir/error" || fail "a check that the module does not have: $(cat "$dir/error")"
sed 's/ client_endpoint/ #/' "$cluster" >"$dir/deaf.yaml"
troupe 2 run "$build/samples/bank.so" --cluster "$dir/deaf.yaml" --node n2 --key "$dir/n2.key" --data "$dir/no"
grep -q "no client_endpoint of node n1" "$dir/error" || fail "$(cat "$dir/error")"
[ ! -e "$dir/no" ] || fail "something was begun"

awk -v transfers=5000 -v accounts=100 -f "$bank/transfers.awk" >"$dir/in"
start n1 --input "$dir/in" --keep-journal
start n2 --keep-journal
wait_for -p "${pid[n2]}" has_taken 2
kill -9 "$(cat "$dir/n2/lock")" # Its supervisor starts it again; who takes them is another process.
wait_for -p "${pid[n2]}" has_taken $(($(taken) + 3))
! grep -q 'snapshot auto-' "$dir/log.n1" || fail "both nodes take them"
! grep -q 'the check of module' "$dir/log.n2" || fail "the check found something"

kill -TERM "${pid[n1]}" "${pid[n2]}"
wait "${pid[n1]}" "${pid[n2]}" || fail "exit status $? after SIGTERM"
[ ! -e "$dir/n1/photograph" ] && [ ! -e "$dir/n2/photograph" ] || fail "parts are left in the nodes' directories"
mapfile -t left < <("$build/troupe" snapshot list --data "$dir/n2" | cut -f1)
[ ${#left[@]} -le 3 ] && [ ${#left[@]} -ge 1 ] || fail "${#left[@]} are left: ${left[*]}" # One may be too much for a moment.
newest=${left[-1]}
troupe 0 snapshot verify "$newest" --data "$dir/n2" --module "$build/samples/bank.so"
grep -q "is good: 2 nodes" "$dir/said" || fail "$(cat "$dir/said")"
troupe 0 restore "$dir/n2/snapshots/$newest" --data "$dir/two"
troupe 0 run "$build/samples/bank.so" --nodes 2 --data "$dir/two" --output "$dir/two.out" --until-idle
ok "$(taken) snapshots of two nodes with keys by the clock, the one that takes them fetches the others' parts"
