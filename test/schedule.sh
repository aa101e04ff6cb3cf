#!/bin/bash
# schedule.sh - snapshots by the clock go on whatever is killed; one as a stream is as good as one in a directory.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh.
set -eu
. "$(dirname "$0")/preamble.sh"

bank=$(dirname "$0")/../samples/bank
pid=
taken() { grep -c 'snapshot auto-.* taken' "$dir/log" || true; }
has_taken() { [ "$(taken)" -ge "$1" ]; }
# troupe STATUS ARGUMENT...: run the command, demand its exit status.
troupe() {
    local want=$1 status=0
    shift
    "$build/troupe" "$@" >"$dir/said" 2>"$dir/error" || status=$?
    [ $status = "$want" ] || fail "troupe $*: exit status $status, not $want: $(cat "$dir/error")"
}

# In the same directory stands one of another troupe, named like its own.
troupe 0 run "$build/samples/greeter.so" --nodes 2 --data "$dir/other" --output "$dir/other.out" --until-idle
foreign=auto-2000-01-01T00-00-00Z
mkdir -p "$dir/one/snapshots"
troupe 0 snapshot create --data "$dir/other" --to "$dir/one/snapshots" --name $foreign

mkfifo "$dir/in"
awk -v transfers=20000000 -v accounts=1000 -f "$bank/transfers.awk" >"$dir/in" &
"$build/troupe" run "$build/samples/bank.so" --nodes 2 --data "$dir/one" --output "$dir/out" --input "$dir/in" \
    --every 1s --keep 2 --check --keep-journal >>"$dir/log" 2>&1 &
pid=$!
wait_for -p "$pid" has_taken 2
# Who takes them is the one child that is no node.
mapfile -t children < <(pgrep -P $pid)
for child in "${children[@]}"; do
    [ "$child" = "$(cat "$dir/one/n1/lock")" ] || [ "$child" = "$(cat "$dir/one/n2/lock")" ] || taker=$child
done
kill -9 "${taker:?nobody takes snapshots}"
kill -9 "$(cat "$dir/one/n2/lock")"
wait_for -p "$pid" has_taken $(($(taken) + 1))
# While the clock's is being taken there is no other one.
create() { "$build/troupe" snapshot create --data "$dir/one" "$@" 2>"$dir/error"; }
by_hand() { create --name by-hand >/dev/null; }
wait_for -p "$pid" by_hand
[ "$(find "$dir/one/snapshots" -name 'auto-*.writing' | wc -l)" -le 1 ] || fail "what was begun is left"
wait_for -p "$pid" has_taken $(($(taken) + 2))
[ "$(taken)" -ge 5 ] || fail "too few for old ones to go"
mapfile -t left < <("$build/troupe" snapshot list --data "$dir/one" | cut -f1 | grep auto- | grep -v $foreign)
[ ${#left[@]} -le 3 ] && [ ${#left[@]} -ge 1 ] || fail "${#left[@]} are left: ${left[*]}" # One may be too much for a moment.
troupe 0 snapshot verify by-hand --data "$dir/one"
! grep -q 'the check of module' "$dir/log" || fail "the check found something: $(grep 'the check of module' "$dir/log")"
echo "$(taken) snapshots by the clock, over a kill of a node and of who takes them; old ones go, others stay"

# The journals go back as far as the oldest snapshot.
oldest=$("$build/troupe" snapshot list --data "$dir/one" --json | python3 -c 'import json, sys
print(min(s["taken_ms"] for s in json.load(sys.stdin) if s["name"] != "'$foreign'"))')
[ -e "$dir/one/snapshots/$foreign/manifest" ] || fail "a snapshot of another troupe is removed"
troupe 0 snapshot cuts --data "$dir/one" --json
python3 - "$dir/said" "$oldest" <<'P' || fail "cuts from before the oldest snapshot, or none"
import json, sys
cuts = json.load(open(sys.argv[1]))
assert cuts and all(cut["from"] for cut in cuts) and cuts[0]["time_ms"] >= int(sys.argv[2]) - 10000, (cuts[0], sys.argv)
P

piped() { create --to - --name piped >"$dir/stream"; }
wait_for -p "$pid" piped
[ ! -e "$dir/one/snapshots/piped" ] || fail "it is left beside the others"
kill -TERM "$pid"
wait "$pid" || fail "exit status $? after SIGTERM"
pid=
troupe 0 snapshot verify "$dir/stream"
troupe 0 snapshot verify - <"$dir/stream"
grep -q '^piped is good: 2 nodes' "$dir/said" || fail "$(cat "$dir/said")"
troupe 0 snapshot show - --json <"$dir/stream"
python3 - "$dir/said" <<'P' || fail "show: $(cat "$dir/said")"
import json, sys
shown = json.load(open(sys.argv[1]))
assert {part["node"] for part in shown["parts"]} == {"n1", "n2"}
assert all(0 < part["took_us"] < 60e6 and part["stall_us"] > 0 for part in shown["parts"]), shown
assert all(part["file_bytes"] > 0 and part["types"]["bank/account"]["actors"] > 0 for part in shown["parts"])
assert all(flight["messages"] > 0 and flight["from"] != flight["to"] for flight in shown["flights"])
P
troupe 0 restore - --data "$dir/two" <"$dir/stream"
[ -e "$dir/two/cluster.yaml" ] && [ ! -e "$dir/two.cut" ] || fail "it was not restored, or something is left"
size=$(stat -c %s "$dir/stream")
for part in 1 $((size / 2)) $((size - 1)); do
    head -c $part "$dir/stream" >"$dir/short"
    troupe 1 snapshot verify "$dir/short"
    troupe 1 restore - --data "$dir/three" <"$dir/short"
    [ ! -e "$dir/three" ] && [ ! -e "$dir/three.cut" ] && [ ! -e "$dir/three.cut.writing" ] || fail "something is left"
done
echo "a snapshot in a pipe is verified, shown and restored; one that is cut off is refused"

troupe 2 run "$build/samples/bank.so" --every 1s --no-supervisor
troupe 2 run "$build/samples/bank.so" --every soon
troupe 2 run "$build/samples/greeter.so" --every 1s --check

# A bank that makes money is found by its own check, which runs over what the clock takes.
sed 's/balance + amount)/balance + amount + (amount % 10 == 7))/' "$bank/bank.c" >"$dir/bad_bank.c"
${CC:-cc} -std=c11 -Icore -shared -fPIC -o "$dir/bad_bank.so" "$dir/bad_bank.c"
awk -v transfers=2000 -v accounts=100 -f "$bank/transfers.awk" >"$dir/transfers"
"$build/troupe" run "$dir/bad_bank.so" --data "$dir/rich" --output "$dir/rich.out" --input "$dir/transfers" \
    --every 1s --check >>"$dir/log" 2>&1 &
pid=$!
found() { grep -q "level=error .*snapshot auto-.*: the check of module 'bank' found 1 faults: .* accounts were opened" "$dir/log"; }
wait_for -p "$pid" found
kill -TERM "$pid"
wait "$pid" || fail "exit status $? after SIGTERM"
pid=
echo "the module's check runs over each snapshot by the clock"
