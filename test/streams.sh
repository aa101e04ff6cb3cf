#!/bin/bash
# streams.sh - a command that could not print says so, and no file of a node takes the place of a stream that is closed.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

module=$build/samples/greeter.so
for _ in 1 2 3; do echo '{"to":"demo/greeter/ada","type":"hello"}'; done >"$dir/in"
"$build/troupe" run "$module" --data "$dir/data" --input "$dir/in" --output "$dir/records" --until-idle 2>"$dir/log" ||
    fail "the run: exit status $?"
"$build/troupe" snapshot create --data "$dir/data" --name one >"$dir/said" 2>&1 || fail "snapshot create"
"$build/troupe" snapshot create --data "$dir/data" --to - >"$dir/stream" || fail "snapshot create --to -"

# What is printed and does not arrive is a failure, of each command.
declare -A wanted=([doctor]=3) # For 1 is damage.
full=0
while read -r line; do
    [ -n "$line" ] || continue
    status=0
    line=${line//DIR/$dir}
    line=${line//MODULE/$module}
    # shellcheck disable=SC2086
    "$build/troupe" $line >/dev/full 2>"$dir/log" </dev/null || status=$?
    [ $status = "${wanted[${line%% *}]:-1}" ] || fail "troupe $line, with a full disk for what it prints: exit status $status"
    grep -Eq '^troupe.*(cannot write the output|No space left)' "$dir/log" || fail "troupe $line does not say why"
    full=$((full + 1))
done <<'L'
--help
--version
help run
snapshot create --help
state demo/greeter/ada --data DIR/data
actors --data DIR/data
stats --data DIR/data --json
doctor DIR/data
keygen DIR/key
cluster init --nodes 2 DIR/cluster.yaml
sim MODULE --input DIR/in --seeds 1..2
snapshot list --data DIR/data
snapshot show one --data DIR/data
snapshot verify one --data DIR/data
snapshot export one --data DIR/data
snapshot create --data DIR/data --name two
snapshot create --data DIR/data --to -
snapshot check-upgrade one MODULE --data DIR/data
restore DIR/data/snapshots/one --data DIR/restored
L
ok "what cannot be printed is told by $full commands: exit status 1"

# A stream that is closed stays closed: the next file that is opened does not become it.
# is_whole DATA: nothing of what was printed or logged is in its files.
is_whole() {
    "$build/troupe" doctor "$1" >"$dir/said" 2>&1 || fail "$1 after a run with a closed stream"
    ! grep -qe '"egress":' -e 'level=info' "$1"/*lock* "$1"/journal.* "$1"/tables.mdb || fail "a file of $1 was written to"
}
# closed NAME STATUS TEXT: what ran with it closed ended so, and said that.
closed() {
    [ "$status" = "$2" ] || fail "a run with $1 closed: exit status $status"
    [ -z "$3" ] || grep -q "$3" "$dir/log" || fail "a run with $1 closed says no '$3'"
    is_whole "$dir/$1"
}
run() { "$build/troupe" run "$module" --until-idle --data "$dir/$1" "${@:2}"; }
status=0
run output --input "$dir/in" >&- 2>"$dir/log" || status=$?
closed output 1 'output -: Bad file descriptor; the records are safe'
status=0
run input --input - --output "$dir/none" <&- 2>"$dir/log" || status=$?
closed input 1 'input -: .*Bad file descriptor'
[ ! -s "$dir/none" ] && [ -z "$("$build/troupe" dead list --data "$dir/input")" ] || fail "there was something to read"
status=0
run error --input "$dir/in" --output "$dir/records2" 2>&- || status=$?
closed error 0 ''
cmp -s "$dir/records" "$dir/records2" || fail "the records of a run without a log"
status=0
run all --input "$dir/in" <&- >&- 2>&- || status=$?
closed all 1 ''
run output --output - 2>"$dir/log" >"$dir/records3" || fail "the next start: exit status $?"
cmp -s "$dir/records" "$dir/records3" || fail "the records did not come out at the next start"
ok "with any of the streams closed, or all, no file of the node is written to, and nothing is lost"

# A body may come from the standard input: an argument has at most 128 KiB.
"$build/troupe" run "$module" --data "$dir/data" --output "$dir/records" 2>"$dir/log" &
node=$!
wait_for -p $node test -S "$dir/data/socket"
{ printf '{"long":"%01000000d",' 0; echo '"last":5}'; } >"$dir/body"
"$build/troupe" send no/type/x keep - --data "$dir/data" <"$dir/body" || fail "send -: exit status $?"
"$build/troupe" dead list --data "$dir/data" --json >"$dir/letters"
grep -q '"type":"keep".*"body":{"long":"0000*","last":5}' "$dir/letters" || fail "send - sent another body"
[ "$("$build/troupe" ask demo/greeter/bob hello - --data "$dir/data" <"$dir/body")" = '{"text":"Hello, bob!","count":1}' ] || fail "ask -"
status=0
"$build/troupe" ask demo/greeter/bob hello - --data "$dir/data" <&- 2>"$dir/err" || status=$?
[ $status = 1 ] && grep -q 'the body, from the standard input: Bad file descriptor' "$dir/err" || fail "ask - without an input: status $status"
kill $node
wait $node || fail "the node: exit status $?"
ok "a body of a megabyte comes from the standard input"

# Several nodes write to one stream, which is read in pieces: whole lines, each with its node, which numbers its own.
awk -v transfers=6000 -v accounts=100 -f "$(dirname "$0")/../samples/bank/transfers.awk" >"$dir/transfers"
"$build/troupe" run "$build/samples/bank.so" --nodes 3 --data "$dir/several" --input "$dir/transfers" --until-idle \
    2>"$dir/log" | python3 -c '
import json, os
text = b"".join(iter(lambda: os.read(0, 999), b""))
last = {}
for record in map(json.loads, text.splitlines()):
    of = record["node"], record["egress"]
    last[of] = last.get(of, 0) + 1
    assert record["seq"] == last[of], record
assert sum(last.values()) == 6000 and len({node for node, _ in last}) == 3, last
' 2>"$dir/err" || fail "records of several nodes: $(tail -n 1 "$dir/err")"
ok "what several nodes write to one stream are whole lines, in the order of each"
