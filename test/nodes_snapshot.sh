#!/bin/bash
# nodes_snapshot.sh - a bank on several nodes is photographed while it runs; what is restored runs on, money conserved.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), TROUPE_NODES (4), TROUPE_TRANSFERS (30000), TROUPE_SNAPSHOTS (8), TROUPE_KEEP=1.
set -eu
. "$(dirname "$0")/preamble.sh"

nodes=${TROUPE_NODES:-4}
transfers=${TROUPE_TRANSFERS:-30000}
snapshots=${TROUPE_SNAPSHOTS:-8}
accounts=1000
bank=$(dirname "$0")/../samples/bank
pid=
lines() { cat "$dir/$1".out.* 2>/dev/null | wc -l; }

# start NAME [INPUT...]: start the troupe in NAME, the first nodes with these inputs.
start() {
    local name=$1 inputs=()
    shift
    for input in "$@"; do inputs+=(--input "$dir/$input"); done
    "$build/troupe" run "$build/samples/bank.so" --nodes "$nodes" --data "$dir/$name" --output "$dir/$name.out" \
        "${inputs[@]}" >"$dir/log" 2>&1 &
    pid=$!
    wait_for -p "$pid" all_listen
}
all_listen() { [ "$(grep -c "of $nodes listens at" "$dir/log")" = "$nodes" ]; }
stop() {
    local status=0
    kill -TERM "$pid"
    wait "$pid" || status=$?
    pid=
    [ $status = 0 ] || fail "exit status $status after SIGTERM"
}
has_lines() { [ "$(lines "$1")" -ge "$2" ]; }
snapshot() { "$build/troupe" snapshot "$@" --data "$dir/one" >"$dir/said" 2>&1; }
balances() { cat "$dir/$1".out.* | grep -c '"egress":"balances"' || true; }
has_balances() { [ "$(balances "$1")" -ge $accounts ]; }
# The money of all accounts, of the last audit.
total() {
    python3 -c 'import json, sys
print(sum(r["body"]["balance"] for p in sys.argv[1:] for r in map(json.loads, open(p)) if r["egress"] == "balances"))' \
        "$dir/$1".out.*
}

awk -v transfers="$transfers" -v accounts=$accounts -f "$bank/transfers.awk" >"$dir/transfers"
awk -v accounts=$accounts -f "$bank/audit.awk" >"$dir/audit"
split -n "l/$nodes" -d "$dir/transfers" "$dir/part."
mapfile -t parts < <(cd "$dir" && ls part.*)

start one "${parts[@]}"
wait_for -p "$pid" has_lines one 100
taken=0
flying=0
wait_for -p "$pid" snapshot create --name first
while [ $taken -lt "$snapshots" ]; do
    snapshot create --name "s$taken" || fail "no snapshot"
    snapshot verify "s$taken" --module "$build/samples/bank.so" || fail "snapshot s$taken is not good"
    snapshot show "s$taken" --json || fail "cannot show"
    flying=$((flying + $(grep -o '"outbox":[0-9]*\|"mail":[0-9]*' "$dir/said" | cut -d: -f2 | awk "{ sum += \$1 } END { print sum + 0 }")))
    taken=$((taken + 1))
done
echo "$taken snapshots of $nodes nodes at $(lines one) of $transfers transfers, $flying rows of messages waiting or flying in them"
wait_for -p "$pid" has_lines one "$((transfers / 2))"
mapfile -t running < <(cat "$dir"/one/n?/lock)
kill -9 "$pid" "${running[@]}" 2>/dev/null || true
wait "$pid" 2>/dev/null || true
# What they were killed in the middle of is a cut too, with what waits and flies in it.
at_rest() { snapshot create --name rest; }
wait_for at_rest # A supervisor's last child may still be ending.
snapshot verify rest --module "$build/samples/bank.so" || fail "the snapshot of a killed troupe is not good"
snapshot show rest --json && ! grep -q '"stall_us"' "$dir/said" || fail "a stall of nodes that do not run"
"$build/troupe" restore "$dir/one/snapshots/rest" --data "$dir/rest" --nodes 2 >"$dir/said" 2>&1 || fail "no restore of it"
"$build/troupe" run "$build/samples/bank.so" --cluster "$dir/one/cluster.yaml" --node n2 --data "$dir/one/n2" \
    --output "$dir/one.out.n2" >"$dir/log.n2" 2>&1 &
pid=$!
wait_for -p "$pid" grep -q 'listens at' "$dir/log.n2"
! snapshot create --name half || fail "a snapshot of one node of $nodes"
grep -q 'n1: no node runs' "$dir/said" || fail "which nodes do not run is not said"
stop
start one "${parts[@]}"
wait_for -p "$pid" has_lines one "$transfers"
stop
start one "${parts[@]:0:$((nodes - 1))}" audit
wait_for -p "$pid" has_balances one
stop

# Restored, the inputs go on where the cut was, and the outcome is the same to the cent.
"$build/troupe" restore "$dir/one/snapshots/s1" --data "$dir/two" >"$dir/said" 2>&1 || fail "no restore"
grep -q '^generation: 2$' "$dir/two/cluster.yaml" || fail "the restored troupe has the old generation"
before=$(cat "$dir"/one.out.* | grep -c '"egress":"transfers"')
start two "${parts[@]}"
first=$("$build/troupe" snapshot show s1 --data "$dir/one" --json |
    python3 -c 'import json, sys; print(len(json.load(sys.stdin)["parts"]))')
[ "$first" = "$nodes" ] || fail "the snapshot has $first parts"
# The numbers of each node's transfers end where they did in the first troupe, or the sum of all nodes' does. A node may
# have had none to do after the cut.
"$build/troupe" snapshot show s1 --data "$dir/one" --json >"$dir/shown"
last() {
    python3 - "$dir/shown" "$dir/$1.out." <<'END'
import json, sys
total = 0
for part in json.load(open(sys.argv[1]))["parts"]:
    numbers = [json.loads(line) for line in open(sys.argv[2] + part["node"])]
    numbers = [record["seq"] for record in numbers if record["egress"] == "transfers"]
    total += max(numbers + [part["egresses"].get("transfers", 0)])
print(total)
END
}
ended() { [ "$(last two)" = "$before" ]; }
wait_for -p "$pid" ended
stop
start two "${parts[@]:0:$((nodes - 1))}" audit
wait_for -p "$pid" has_balances two
stop
[ "$(total one)" = $((accounts * 1000)) ] || fail "money was lost or made: $(total one)"
[ "$(total two)" = $((accounts * 1000)) ] || fail "money was lost or made after the restore: $(total two)"
! "$build/troupe" restore "$dir/one/snapshots/s1" --data "$dir/two" 2>"$dir/said" || fail "restored over a troupe"
echo "restored and run on: as many transfers in all, and the money is all there"
