#!/bin/bash
# upgrade.sh - a node goes from one version of its module to the next: what fails is told before, the rest is migrated.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh.
set -eu
. "$(dirname "$0")/preamble.sh"

deadline_s=60

# troupe STATUS ARGUMENT...: run the command, demand its exit status.
troupe() {
    local want=$1 status=0
    shift
    timeout $deadline_s "$build/troupe" "$@" >"$dir/stdout" 2>"$dir/log" || status=$?
    [ $status = "$want" ] || fail "troupe $*: exit status $status, not $want"
}
says() { cat "$dir/stdout" "$dir/log" | grep -q -e "$1" || fail "it does not say '$1'"; }
bytes_of() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum && find . -printf '%p %s %m %T@\n' | sort); }

for version in 1 2 3 4 5; do
    ${CC:-cc} -std=c11 -Wall -Wextra -DEVOLVE=$version -DEVOLVE_TEXT="\"$version\"" -Icore -shared -fPIC \
        -o "$dir/v$version.so" test/module/evolve.c
done
in=$dir/in
send() { printf '{"to":"test/%s","type":"%s","body":%s}\n' "$1" "$2" "${3:-null}" >>"$in"; }

for i in $(seq 1 2000); do send "box/b$i" add '{"count":1}'; done
send box/b7 fill
send odd/o add '{"count":5}'
send box/late later '{"ms":3600000,"count":4}'
troupe 0 run "$dir/v1.so" --data "$dir/one" --input "$in" --output "$dir/one.out" --until-idle
troupe 0 snapshot create --data "$dir/one" --name before
troupe 0 snapshot show before --data "$dir/one"
says 'written by module evolve 0.1'

# What is good is said to be, and nothing is touched.
bytes_of "$dir/one" >"$dir/bytes"
troupe 0 snapshot check-upgrade before "$dir/v2.so" --data "$dir/one"
says 'evolve 0.2 can go on here'
says '2002 migrated' # 2000 and one counts, and the message that is delayed
troupe 0 snapshot check-upgrade "$dir/one" "$dir/v2.so" --json
python3 - "$dir/stdout" <<'P' || fail "wrong JSON: $(cat "$dir/stdout")"
import json, sys
said = json.load(open(sys.argv[1]))
assert said["good"] and said["migrated"] == 2002 and said["messages"] == 1 and said["faults"] == [], said
P
bytes_of "$dir/one" | cmp - "$dir/bytes" || fail "the look at the directory changed it"
ok "an upgrade that works is said to, of a snapshot and of a directory"

# What would fail, and the first of each.
send box/bad add '{"count":13}'
send odd/bad add '{"count":13}'
send box/late later '{"ms":3600000,"count":13}'
troupe 0 run "$dir/v1.so" --data "$dir/one" --input "$in" --output "$dir/one.out" --until-idle
troupe 0 snapshot create --data "$dir/one" --name after
for what in after "$dir/one"; do
    troupe 1 snapshot check-upgrade $what "$dir/v3.so" --data "$dir/one"
    says "migrate-fails: type 'test/box': value 'count': value 'count': migrate from version 0 to 1: no luck with 13 (1 rows, .*test/box/bad)"
    says "migrate-fails: type 'test/odd': value 'count'"
    says "migrate-fails: type 'test/box': message 'add': message 'add': migrate from version 0 to 1: no luck .*test/box/late"
    troupe 1 snapshot check-upgrade $what "$dir/v4.so" --data "$dir/one"
    says "type-gone: type 'test/odd'"
    says "value-gone: type 'test/box': value 'label': .*test/box/b7"
    says "kind-changed: type 'test/box': value 'items': .*test/box/b7 element a"
    troupe 1 snapshot check-upgrade $what "$dir/v5.so" --data "$dir/one" --json
    python3 - "$dir/stdout" <<'P' || fail "wrong JSON: $(cat "$dir/stdout")"
import json, sys
said = json.load(open(sys.argv[1]))
faults = {(f["problem"], f["type"], f["name"]): f for f in said["faults"]}
assert not said["good"] and len(faults) == 2, said
assert faults["kind-changed", "test/box", "count"]["rows"] == 2001, said
assert faults["kind-changed", "test/odd", "count"]["rows"] == 2, said
P
done
troupe 2 snapshot check-upgrade after
troupe 1 snapshot check-upgrade nothing "$dir/v2.so" --data "$dir/one"
says 'no snapshot'
ok "migrations that fail, and what is gone or of another kind, are named with their first rows"

# A module that cannot read the data does not start, and touches nothing.
bytes_of "$dir/one" >"$dir/bytes"
troupe 1 run "$dir/v5.so" --data "$dir/one" --until-idle
says "cannot read what is here: type 'test/box': value 'count': it is stored as another kind"
bytes_of "$dir/one" | cmp - "$dir/bytes" || fail "a refused module changed the directory"
ok "a module with another kind of value is refused, and not a byte is changed"

# The good one goes on; values and messages are what they were, in its units. Two more wait, as v1 would have sent them.
for count in 4 13; do
    echo '{"do":"send","to":"test/box/late","type":"add","body":{"count":'$count'}}'
done >"$dir/changes"
troupe 0 snapshot edit after mailed --data "$dir/one" --changes "$dir/changes"
troupe 0 restore "$dir/one/snapshots/mailed" --data "$dir/two"
in=$dir/in2
send box/b1 add '{"hundredths":50}'
troupe 0 run "$dir/v2.so" --data "$dir/two" --input "$in" --output "$dir/two.out" --until-idle
grep -q '"key":"b1","body":{"hundredths":150}' "$dir/two.out" || fail "b1: $(cat "$dir/two.out")"
grep -q '"key":"late","body":{"hundredths":400}' "$dir/two.out" || fail "late: $(cat "$dir/two.out")"
grep -q '"key":"late","body":{"hundredths":1700}' "$dir/two.out" || fail "late: $(cat "$dir/two.out")"
ok "values and waiting messages of the older version are migrated as they are met"

# Back again it cannot go: some values are of the newer version by now.
bytes_of "$dir/two" >"$dir/bytes"
troupe 1 run "$dir/v1.so" --data "$dir/two" --until-idle
says "evolve' 0.1 cannot read what is here: type 'test/box': value 'count': it is stored in version 1, the module knows 0 (2 rows"
bytes_of "$dir/two" | cmp - "$dir/bytes" || fail "a refused older module changed the directory"
troupe 1 snapshot check-upgrade "$dir/two" "$dir/v1.so"
says "newer: type 'test/box': value 'count'"
troupe 0 run "$dir/v2.so" --data "$dir/two" --until-idle
in=$dir/in3
send box/b1 add '{"count":1}'
for version in 1 2 1; do # It has only looked.
    troupe 0 run "$dir/v$version.so" --data "$dir/three" --input "$in" --output "$dir/three.out" --until-idle
done
ok "an older module is refused once the newer one has written, and not before"

# A message that is newer than the module waits: refused as well.
send box/late later '{"ms":3600000,"count":1}'
troupe 0 run "$dir/v2.so" --data "$dir/three" --input "$in" --output "$dir/three.out" --until-idle
troupe 1 run "$dir/v1.so" --data "$dir/three" --until-idle
says "the module knows 0"
ok "all of it for messages, too"

# Nodes of a troupe are asked before one of them is started.
in=$dir/in4
for i in 1 2 3 4 5 6 7 8; do send "box/b$i" add '{"hundredths":1}'; done
troupe 0 run "$dir/v2.so" --nodes 2 --data "$dir/four" --input "$in" --output "$dir/four.out" --until-idle
bytes_of "$dir/four" >"$dir/bytes"
troupe 1 run "$dir/v1.so" --nodes 2 --data "$dir/four" --output "$dir/four.out" --until-idle
says "n[12]: module 'evolve' 0.1 cannot read what is here: type 'test/box': value 'count'"
bytes_of "$dir/four" | cmp - "$dir/bytes" || fail "a refused module changed the directory of a troupe"
troupe 1 snapshot check-upgrade "$dir/four" "$dir/v1.so"
says "newer: type 'test/box': value 'count': .*(8 rows"
ok "a troupe refuses as its nodes do"
