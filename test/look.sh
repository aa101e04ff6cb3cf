#!/bin/bash
# look.sh - the commands that look into a stopped node's directory say what is there, and what is damaged.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), TROUPE_KEEP=1 (keep the directory).
set -eu
. "$(dirname "$0")/preamble.sh"

data=$dir/data
holder=

# expect STATUS COMMAND..: run `troupe COMMAND..`, keep what it prints in out and err, compare its exit code.
expect() {
    local wanted=$1 status=0
    shift
    "$troupe" "$@" >"$dir/out" 2>"$dir/err" || status=$?
    [ $status = "$wanted" ] || fail "troupe $* ended with status $status, not $wanted"
}

# says PATTERN, complains PATTERN: a line of what was printed, or of stderr, is like this.
says() { grep -Eq -- "$1" "$dir/out" || fail "no line of the output is like: $1"; }
complains() { grep -Eq -- "$1" "$dir/err" || fail "no line of stderr is like: $1"; }
lines() { [ "$(wc -l <"$dir/out")" = "$1" ] || fail "the output has $(wc -l <"$dir/out") lines, not $1"; }
is_json() { python3 -c 'import json, sys
for line in sys.stdin: assert isinstance(json.loads(line), dict)' <"$dir/out" || fail "the output is not JSON lines"; }

bank() {
    "$troupe" run "$build/samples/bank.so" --data "$data" --input "$1" --output "$dir/records" --until-idle \
        >>"$dir/log" 2>&1 || fail "troupe run ended with status $?: $(tail -3 "$dir/log")"
}

cat >"$dir/input" <<'LINES'
{"to":"bank/transfer/T1","type":"transfer","body":{"from":"alice","to":"bob","amount":5}}
{"to":"bank/transfer/T2","type":"transfer","body":{"from":"bob","to":"alice","amount":2},"id":"once"}
{"to":"shop/order/o1","type":"buy","body":{"what":"tab\there"}}
this is no JSON
{"to":"bank/account/alice","type":"dance"}
LINES
bank "$dir/input"

# What is there.
expect 0 actors --data "$data"
says '^bank/account/alice	values 1, mail 0, timers 0$'
lines 2
expect 0 actors --data "$data" --type bank/transfer
lines 0
expect 0 actors --data "$data" --type bank/account --json
says '^\{"actor":"bank/account/bob","values":1,"mail":0,"timers":0\}$'
is_json
expect 0 state "$data" bank/account/alice
says '^balance	[0-9]+$'
balance=$(cut -f2 "$dir/out")
expect 0 state --data "$data" bank/account/alice --json
says "^\\{\"actor\":\"bank/account/alice\",\"state\":\\{\"balance\":$balance\\}\\}\$"
expect 0 state "$data" bank/account/nobody
lines 0
expect 0 mailbox --data "$data" bank/account/alice
lines 0
expect 0 timers --data "$data"
lines 0
expect 0 stats --data "$data"
says '^values	2$'
says '^dead	3$'
says '^egress/transfers	2$'
says '^input/.*	5$'
expect 0 stats --data "$data" --json
lines 1
is_json
expect 0 doctor "$data"
says '^result	good	'
expect 0 doctor "$data" --json
is_json

# Dead letters: an unknown type, a line that is no message, a refusal.
expect 0 dead list --data "$data"
lines 3
says "no actor type 'shop/order' in this module"
expect 0 dead list --data "$data" --json
is_json
says '"text":"this is no JSON"'
unknown=$(sed -n 's/^{"number":\([0-9]*\),.*shop\/order\/o1.*/\1/p' "$dir/out")
bad=$(sed -n 's/^{"number":\([0-9]*\),.*"text".*/\1/p' "$dir/out")
refused=$(sed -n 's/^{"number":\([0-9]*\),.*"type":"dance".*/\1/p' "$dir/out")
[ -n "$unknown" ] && [ -n "$bad" ] && [ -n "$refused" ] || fail "a dead letter has no number"
expect 0 dead show "$unknown" --data "$data"
says '\{"what":"tab\\there"\}'
expect 1 dead retry "$bad" --data "$data"
complains 'never was a message'
expect 1 dead show 999999 --data "$data"
complains 'no dead letter 999999'
expect 0 dead drop "$bad" --data "$data"
expect 1 dead drop "$bad" --data "$data"
expect 0 dead retry "$unknown" --data "$data"
says 'waits again, as message'
expect 0 dead list --data "$data"
lines 1
expect 0 mailbox --data "$data" shop/order/o1
lines 1
says '	from outside, failed 0$'
expect 0 mailbox "$data" shop/order/o1 --json
is_json
says '"to":"shop/order/o1","type":"buy".*"attempt":0,"body":\{"what":"tab\\there"\}\}$'
expect 0 actors --data "$data"
says '^shop/order/o1	values 0, mail 1, timers 0$'
expect 0 doctor --data "$data"
: >"$dir/nothing"
bank "$dir/nothing" # It is delivered again, and fails again: under a new number.
expect 0 mailbox --data "$data" shop/order/o1
lines 0
expect 0 dead list --data "$data"
lines 2
expect 0 dead drop "$refused" --data "$data" --json
is_json
expect 0 dead list --data "$data"
lines 1
expect 0 doctor "$data"
says '^result	good	'

# Killed while the journal is ahead of the tables: all is seen nevertheless, and more is in the journal.
mkfifo "$dir/pipe"
"$troupe" run "$build/samples/bank.so" --data "$data" --input - --output "$dir/records" --no-supervisor \
    <"$dir/pipe" >>"$dir/log" 2>&1 &
holder=$!
exec 3>"$dir/pipe"
before=$(wc -l <"$dir/records")
echo '{"to":"bank/transfer/T9","type":"transfer","body":{"from":"carol","to":"dave","amount":1}}' >&3
end=$((SECONDS + 30))
until [ "$(wc -l <"$dir/records")" -gt "$before" ]; do
    [ $SECONDS -lt $end ] || fail "no record came out in 30 s"
    sleep 0.01
done
expect 3 doctor "$data"
complains 'in use'
# While it runs, the others ask the node.
expect 0 stats --data "$data"
says '^deliveries	'
for figure in values egress response outbox; do says "^$figure	[0-9]+\$"; done
says '^sweeps	0$'
expect 0 state "$data" bank/account/dave
says '^balance	'
expect 1 dead drop 999999 --data "$data"
complains 'no dead letter'
# Dead letters are counted with what the journal has beyond the tables: added, retried (and dead again) and dropped.
dead_is() { [ "$("$troupe" stats --data "$data" --json | grep -o '"dead":[0-9]*')" = "\"dead\":$1" ]; }
dead_is 1 || fail "not one dead letter"
echo 'nor is this JSON' >&3
echo 'nor this' >&3
wait_for dead_is 3
expect 0 dead list --data "$data" --json
number=$(sed -n 's/^{"number":\([0-9]*\),.*"nor this".*/\1/p' "$dir/out")
expect 0 dead drop "$number" --data "$data"
dead_is 2 || fail "a dropped letter is counted"
order_letter() { "$troupe" dead list --data "$data" --json | sed -n 's/^{"number":\([0-9]*\),.*shop.order.*/\1/p'; }
number=$(order_letter)
[ -n "$number" ] || fail "the order is no dead letter"
expect 0 dead retry "$number" --data "$data"
is_dead_again() { [ -n "$(order_letter)" ] && [ "$(order_letter)" != "$number" ]; }
wait_for is_dead_again
dead_is 2 || fail "a letter that was retried, and is dead again, is not counted once"
kill -9 "$holder"
{ wait "$holder" || true; } 2>/dev/null
holder=
exec 3>&-
expect 0 state "$data" bank/account/dave
says '^balance	'
expect 0 doctor "$data"
says '^result	good	'

# Wrong arguments, and no directory.
for command in "state --data $data" "state --data $data nonsense" "state --data $data a/b/c d" "actors --data $data x y" \
    "actors --type x --data $data" "mailbox --data $data bank/account/" "timers --data $data --type a/b" "dead" \
    "dead list 5 --data $data" "dead show --data $data" "dead show x --data $data" "dead bury 1 --data $data" \
    "stats --wrong" "doctor a b" "nonsense" "send a/b hello" "ask a/b/ hello"; do
    # shellcheck disable=SC2086
    expect 2 $command
done
for command in "state --data $dir/none a/b/c" "actors --data $dir/none" "mailbox --data $dir/none a/b/c" \
    "timers --data $dir/none" "dead list --data $dir/none" "dead drop 1 --data $dir/none" "stats --data $dir/none"; do
    # shellcheck disable=SC2086
    expect 1 $command
    complains 'name the directory of a node or a troupe with --data'
done
expect 3 doctor "$dir/none"
complains 'name the directory of a node or a troupe with --data'
[ ! -e "$dir/none" ] || fail "looking made a directory"
for command in state actors mailbox timers dead stats doctor; do
    expect 0 $command --help
    says "^usage: troupe $command"
done

# flip WHERE: a changed byte behind each place in tables.mdb where the text stands; old pages may hold it too.
flip() {
    python3 - "$data/tables.mdb" "$1" <<'PYTHON'
import sys
path, text = sys.argv[1], sys.argv[2].encode().decode("unicode_escape").encode("latin-1")
with open(path, "r+b") as file:
    data, at = file.read(), -1
    assert text in data
    while (at := data.find(text, at + 1)) >= 0:
        file.seek(at + len(text))
        file.write(bytes([data[at + len(text)] ^ 0x01]))
PYTHON
}
bank "$dir/nothing" # Fold what the killed one left.
cp -r "$data" "$dir/copy"
flip 'bank/account\0alice\0balance'
expect 1 doctor "$data"
says '^damage	state	.*checksum'
says '^result	damaged	'
expect 1 state "$data" bank/account/alice
complains 'checksum'
expect 0 state "$data" bank/account/bob
rm -rf "$data" && cp -r "$dir/copy" "$data"
flip "no actor type"
expect 1 doctor "$data" --json
says '^\{"damage":"dead",'
is_json
rm -rf "$data" && cp -r "$dir/copy" "$data"
truncate -s 8192 "$data/tables.mdb" # Its pages are gone: the reader ends by a signal, or LMDB notices.
expect 1 doctor "$data"
says '^damage	'
echo "looked: state, actors, mailbox, timers, dead, stats, doctor"
