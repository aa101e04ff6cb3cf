#!/bin/bash
# cuts.sh - a bank whose nodes keep their journals goes back to moments between snapshots, on all nodes consistently.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh; TROUPE_NODES (3), TROUPE_CUTS (2), how many are restored.
set -eu
. "$(dirname "$0")/preamble.sh"

nodes=${TROUPE_NODES:-3}
wanted=${TROUPE_CUTS:-2}
accounts=1000
deadline_s=60
bank=$(dirname "$0")/../samples/bank
pid=

# start NAME [OPTION...]: start the troupe in NAME.
start() {
    local name=$1
    shift
    "$build/troupe" run "$build/samples/bank.so" --nodes "$nodes" --data "$dir/$name" --output "$dir/$name.out" \
        --keep-journal "$@" >>"$dir/log" 2>&1 &
    pid=$!
}
stop() {
    kill -TERM "$pid"
    wait "$pid" || fail "exit status $? after SIGTERM"
    pid=
}
cuts() { "$build/troupe" snapshot cuts --data "$dir/one" --json >"$dir/cuts" 2>"$dir/said"; }
count_cuts() { python3 -c 'import json, sys; print(len(json.load(open(sys.argv[1]))))' "$dir/cuts"; }
has_cuts() { cuts && [ "$(count_cuts)" -ge "$1" ]; }
# Whether a snapshot shows nothing that waits or flies.
idle() {
    rm -rf "$dir/idle"
    "$build/troupe" snapshot create --data "$dir/$1" --to "$dir/idle" --name now >"$dir/said" 2>&1 || return 1
    "$build/troupe" snapshot show "$dir/idle/now" --json >"$dir/said" || fail "cannot show"
    ! grep -q '"mail":[1-9]\|"outbox":[1-9]' "$dir/said"
}
balances() { cat "$dir/$1".out.* 2>/dev/null | grep -c '"egress":"balances"' || true; }
has_balances() { [ "$(balances "$1")" -ge $accounts ]; }
total() {
    python3 -c 'import json, sys
print(sum(r["body"]["balance"] for p in sys.argv[1:] for r in map(json.loads, open(p)) if r["egress"] == "balances"))' \
        "$dir/$1".out.*
}

# As much as the load needs: transfers come until the end of the test.
mkfifo "$dir/in"
awk -v transfers=3000000 -v accounts=$accounts -f "$bank/transfers.awk" >"$dir/in" &
awk -v accounts=$accounts -f "$bank/audit.awk" >"$dir/audit"
start one --input "$dir/in"
wait_for -p "$pid" has_cuts 1
"$build/troupe" snapshot create --data "$dir/one" --name first >"$dir/said" 2>&1 || fail "no snapshot"
from_snapshot() { cuts && [ "$(grep -o '"from":"first"' "$dir/cuts" | wc -l)" -ge $((wanted + 1)) ]; }
wait_for -p "$pid" from_snapshot
kill -9 "$pid" # Nothing that the nodes could say at an end is needed.
wait "$pid" 2>/dev/null || true
pid=
end=$((SECONDS + deadline_s)) # The nodes outlive their supervisor by a moment.
until cuts; do [ $SECONDS -lt $end ] || fail "no cuts of a dead troupe"; done

python3 - "$dir/cuts" <<'P' || fail "cuts are not in order: $(cat "$dir/cuts")"
import json, sys
cuts = json.load(open(sys.argv[1]))
for before, after in zip(cuts, cuts[1:]):
    assert before["time_ms"] <= after["time_ms"], after
    assert all(before["epochs"][n] <= after["epochs"][n] for n in after["epochs"]), after
    assert before["epochs"] != after["epochs"], after
P
mapfile -t times < <(python3 -c 'import json, sys
print("\n".join(c["time"] for c in json.load(open(sys.argv[1])) if c["from"] == "first"))' "$dir/cuts")
for ((i = 0; i < wanted; i++)); do
    "$build/troupe" restore --at "${times[$((i + 1))]}" --from "$dir/one" --data "$dir/at$i" >"$dir/said" 2>&1 ||
        fail "cannot go back to ${times[$((i + 1))]}"
    [ ! -e "$dir/at$i.cut" ] && [ ! -e "$dir/at$i.cut.store" ] || fail "the snapshot of the cut is left"
    start "at$i"
    wait_for -p "$pid" idle "at$i"
    stop
    start "at$i" --input "$dir/audit"
    wait_for -p "$pid" has_balances "at$i"
    stop
    [ "$(total "at$i")" = $((accounts * 1000)) ] || fail "money was lost or made at ${times[$i]}: $(total "at$i")"
done
echo "$wanted moments between snapshots restored, of $(count_cuts) cuts; the money is all there"

for when in 2000-01-01T00:00:00Z -10000d; do
    ! "$build/troupe" restore --at $when --from "$dir/one" --data "$dir/never" 2>"$dir/said" || fail "went back to $when"
    grep -q 'no cut at or before' "$dir/said" || fail "no reason"
    [ ! -e "$dir/never" ] && [ ! -e "$dir/never.cut" ] || fail "something is left"
done
status=0
"$build/troupe" restore --at yesterday --from "$dir/one" --data "$dir/never" 2>"$dir/said" || status=$?
[ $status = 2 ] || fail "yesterday is a time"
echo "times before all cuts are refused, and nothing is left"

# All nodes go back together: the directories of those of other machines are brought to one place.
refuses() { # DIR TEXT
    for command in "restore --at -0s --from $1 --data $dir/never" "snapshot cuts --data $1"; do
        # shellcheck disable=SC2086
        ! "$build/troupe" $command >"$dir/out" 2>"$dir/said" || fail "troupe $command"
        grep -q "$2" "$dir/said" && grep -q 'bring copies of all their directories into one' "$dir/said" || fail "no reason"
        [ ! -s "$dir/out" ] && [ ! -e "$dir/never" ] && [ ! -e "$dir/never.cut" ] || fail "something is left"
    done
}
refuses "$dir/one/n1" 'one/n1 is the directory of one node of a troupe'
mkdir "$dir/together"
ln -s "$dir/one/n1" "$dir/one/snapshots" "$dir/one/cluster.yaml" "$dir/together"
refuses "$dir/together" 'node n2 of .*/together/cluster.yaml is not in that directory'
for ((i = 2; i <= nodes; i++)); do ln -s "$dir/one/n$i" "$dir/together"; done
"$build/troupe" snapshot cuts --data "$dir/together" --json | cmp - "$dir/cuts" || fail "other cuts of the same journals"
echo "one node of several is not gone back with alone"

# A directory that was put back is not gone back to from a snapshot that was taken in the meantime.
greet() { echo '{"to":"demo/greeter/'"$1"'","type":"hello"}' >>"$dir/$2"; }
alone() {
    "$build/troupe" run "$build/samples/greeter.so" --data "$dir/alone" --input "$dir/$1" --output "$dir/alone.out" \
        --keep-journal --until-idle 2>"$dir/said" || fail "exit status $?"
}
# There is a cut for each second that has epochs.
next_second() {
    local now
    now=$(date +%s)
    is_over() { [ "$(date +%s)" != "$now" ]; }
    wait_for is_over
}
greet ada names
alone names
cp -r "$dir/alone" "$dir/before"
cp "$dir/alone.out" "$dir/before.out"
cp "$dir/names" "$dir/others"
greet bob names
alone names
"$build/troupe" snapshot create --data "$dir/alone" --name between >"$dir/said" 2>&1 || fail "no snapshot"
greet cy names
next_second
alone names
"$build/troupe" snapshot cuts --data "$dir/alone" --json | grep -q '"from":"between"' || fail "no cut from the snapshot"
cp -r "$dir/alone/snapshots" "$dir/before/"
rm -rf "$dir/alone"
mv "$dir/before" "$dir/alone"
cp "$dir/before.out" "$dir/alone.out"
for name in dora eve fay gil; do
    greet $name others
    cp "$dir/others" "$dir/names"
    next_second
    alone names
done
"$build/troupe" snapshot cuts --data "$dir/alone" --json >"$dir/cuts"
! grep -q '"from":"between"' "$dir/cuts" || fail "a snapshot of another past is gone back from"
grep -q '"from":""' "$dir/cuts" || fail "no cuts from the beginning"
echo "a snapshot from before the directory was put back is left alone"

# Whoever looks after a directory that is at rest is not its node: what that keeps stays.
echo 'no JSON' >>"$dir/names"
alone names
cuts_of_alone() { "$build/troupe" snapshot cuts --data "$dir/alone"; }
cuts_of_alone >"$dir/cuts"
"$build/troupe" snapshot create --data "$dir/alone" --name later >"$dir/said" 2>&1 || fail "no snapshot"
letter=$("$build/troupe" dead list --data "$dir/alone" | cut -f 1)
"$build/troupe" dead drop "$letter" --data "$dir/alone" >"$dir/said" 2>&1 || fail "the dead letter is not dropped"
cuts_of_alone >"$dir/cuts.after"
[ "$(head -n "$(wc -l <"$dir/cuts")" "$dir/cuts.after")" = "$(cat "$dir/cuts")" ] || fail "cuts have gone"
"$build/troupe" restore --at "$(sed -n '2s/\t.*//p' "$dir/cuts")" --from "$dir/alone" --data "$dir/again" >"$dir/said" 2>&1 ||
    fail "cannot go back beyond a snapshot that was taken at rest"
echo "a snapshot and a dropped letter at rest leave the kept journal alone"
