#!/bin/bash
# snapshot.sh - a bank is stopped at full load and photographed; what is restored runs on to the same end.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), TROUPE_KEEP=1 (keep the directory).
set -eu
. "$(dirname "$0")/preamble.sh"

bank=$(dirname "$0")/../samples/bank
pid=
deadline_s=60

# troupe STATUS ARGUMENT...: run the command, demand its exit status.
troupe() {
    local want=$1 status=0
    shift
    timeout $deadline_s "$build/troupe" "$@" >"$dir/stdout" 2>"$dir/log" || status=$?
    [ $status = "$want" ] || fail "troupe $*: exit status $status, not $want"
}
says() { grep -q -e "$1" "$dir/log" || fail "the log does not say '$1'"; }

# run NAME: run the node in NAME to its end, then ask for every balance.
run() {
    troupe 0 run "$build/samples/bank.so" --data "$dir/$1" --input "$dir/transfers" --output "$dir/$1.out" --until-idle
    troupe 0 run "$build/samples/bank.so" --data "$dir/$1" --input "$dir/audit" --output "$dir/$1.out" --until-idle
}

transfers=20000
awk -v transfers=$transfers -v accounts=1000 -f "$bank/transfers.awk" >"$dir/transfers"
awk -v accounts=1000 -f "$bank/audit.awk" >"$dir/audit"

# Stopped in the middle: messages wait, the input is half read.
"$build/troupe" run "$build/samples/bank.so" --data "$dir/one" --input "$dir/transfers" --output "$dir/one.out" \
    --until-idle 2>"$dir/log" &
pid=$!
end=$((SECONDS + deadline_s))
until [ -s "$dir/one.out" ]; do [ $SECONDS -lt $end ] || fail "nothing came out"; done
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
pid=
at=$(wc -l <"$dir/one.out")

end=$((SECONDS + deadline_s)) # The node outlives its supervisor by a moment.
until "$build/troupe" snapshot create --data "$dir/one" --name half >"$dir/stdout" 2>"$dir/log"; do
    grep -qE 'in use|no node runs' "$dir/log" && [ $SECONDS -lt $end ] || fail "no snapshot"
done
snapshot=$(cat "$dir/stdout")
[ "$snapshot" = "$dir/one/snapshots/half" ] || fail "it stands at $snapshot"
troupe 0 snapshot verify half --data "$dir/one"
troupe 0 snapshot verify half --data "$dir/one" --module "$build/samples/bank.so"
grep -q 'nothing wrong says the check of bank' "$dir/stdout" || fail "the check was not run: $(cat "$dir/stdout")"
troupe 1 snapshot verify half --data "$dir/one" --module "$build/samples/greeter.so"
says 'has no check'
troupe 0 snapshot show half --data "$dir/one"
grep -q 'bank/account: [1-9]' "$dir/stdout" || fail "no accounts in: $(cat "$dir/stdout")"
troupe 0 snapshot show half --data "$dir/one" --json
python3 -m json.tool <"$dir/stdout" >/dev/null || fail "no JSON"
troupe 0 snapshot list --data "$dir/one" --json
python3 -m json.tool <"$dir/stdout" | grep -q '"name": "half"' || fail "not listed"
ok "a snapshot of a killed bank, at $at of $transfers records, is listed, shown and good"

troupe 1 snapshot create --data "$dir/one" --name half
says 'exists already'
troupe 1 snapshot create --data "$dir/nothing"
says 'nothing'
troupe 1 restore "$snapshot" --data "$dir/one"
says 'exists already'
troupe 1 restore "$dir/one" --data "$dir/two"
says 'no manifest'
troupe 2 snapshot create --name ../x
troupe 2 snapshot show
troupe 2 snapshot photograph
ok "names and directories that are taken, missing or wrong are refused"

run one
troupe 0 restore "$snapshot" --data "$dir/two"
run two
awk -v transfers=$transfers -v accounts=1000 -f "$bank/check.awk" "$dir/one.out" >"$dir/check" || fail "one: $(cat "$dir/check")"
# Accounts are asked one by one in both: the balances, records of the audit, are the same to the cent.
grep -h '"balance"' "$dir/one.out" | sed 's/"seq":[0-9]*,//' | sort >"$dir/one.balances"
grep -h '"balance"' "$dir/two.out" | sed 's/"seq":[0-9]*,//' | sort >"$dir/two.balances"
[ -s "$dir/one.balances" ] || fail "no balances"
total() { python3 -c 'import json,sys
print(sum(json.loads(line)["body"]["balance"] for line in open(sys.argv[1])))' "$1"; }
[ "$(total "$dir/one.balances")" = "$(total "$dir/two.balances")" ] || fail "money was lost or made"
# Together, what came out before the cut and after the restore has every number once.
python3 - "$dir/one.out" "$dir/two.out" <<'P' || fail "numbers are missing or differ"
import json, sys
def numbers(path):
    seen = {}
    for line in open(path):
        record = json.loads(line)
        assert seen.setdefault((record["egress"], record["seq"]), record) == record
    return seen
one, two = numbers(sys.argv[1]), numbers(sys.argv[2])
for egress in {name for name, _ in one}:
    last = {max(seq for name, seq in seen if name == egress) for seen in (one, two)}
    assert len(last) == 1, (egress, last)
    first = min(seq for name, seq in two if name == egress)
    assert all((egress, seq) in two for seq in range(first, last.pop()))
P
ok "the restored bank runs on to the same end: every number goes on, no money lost or made"

# Damage is found before anything is made.
cp -r "$snapshot" "$dir/bad"
size=$(stat -c %s "$dir/bad/node-node.part")
before=$(dd if="$dir/bad/node-node.part" bs=1 skip=$((size / 2)) count=1 status=none | od -An -tu1)
printf '%b' "\\0$(printf %o $((before ^ 1)))" | dd of="$dir/bad/node-node.part" bs=1 seek=$((size / 2)) conv=notrunc status=none
troupe 1 snapshot verify "$dir/bad"
says 'checksum'
troupe 1 restore "$dir/bad" --data "$dir/three"
[ ! -e "$dir/three" ] && [ ! -e "$dir/three.restoring" ] || fail "a damaged snapshot left a directory"
truncate -s $((size / 2)) "$dir/bad/node-node.part"
troupe 1 snapshot verify "$dir/bad"
rm "$dir/bad/node-node.part"
troupe 1 snapshot verify "$dir/bad"
says 'node-node.part'
ok "a changed, a cut off and a missing part are named, and nothing is restored from them"

# A bank that makes money: one transfer in a hundred gives one more than was taken.
sed 's/balance + amount)/balance + amount + (amount % 100 == 7))/' "$bank/bank.c" >"$dir/bad_bank.c"
! cmp -s "$bank/bank.c" "$dir/bad_bank.c" || fail "nothing was broken"
${CC:-cc} -std=c11 -Icore -shared -fPIC -o "$dir/bad_bank.so" "$dir/bad_bank.c"
troupe 0 run "$dir/bad_bank.so" --data "$dir/rich" --input "$dir/transfers" --output "$dir/rich.out" --until-idle
troupe 0 snapshot create --data "$dir/rich" --name rich
troupe 0 snapshot verify rich --data "$dir/rich"
troupe 1 snapshot verify rich --data "$dir/rich" --module "$dir/bad_bank.so"
says '1000 accounts were opened with 1000000, but hold 100'
ok "a bank that makes money is found by its own check"

troupe 0 snapshot delete half --data "$dir/one"
troupe 0 snapshot list --data "$dir/one"
[ ! -s "$dir/stdout" ] && [ ! -e "$snapshot" ] || fail "it is still there"
ok "a deleted snapshot is gone"

# What cannot be deleted whole is no snapshot any more either, and the next create clears it away.
troupe 0 snapshot create --data "$dir/rich" --name stuck
stuck=$dir/rich/snapshots/stuck
mkdir -p "$stuck/too/deep"
troupe 1 snapshot delete stuck --data "$dir/rich"
[ ! -e "$stuck" ] && [ -d "$stuck.deleted.writing/too/deep" ] || fail "half of it is left under its name"
rm -r "$stuck.deleted.writing/too"
troupe 0 snapshot list --data "$dir/rich"
says 'stuck.deleted.writing is no snapshot'
troupe 0 snapshot create --data "$dir/rich" --name next
[ ! -e "$stuck.deleted.writing" ] || fail "what was left is there for ever"
ok "what a deletion leaves is cleared away"
