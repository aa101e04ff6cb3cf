#!/bin/bash
# snapshot_tools.sh - snapshots are compared, exported for jq, and edited into new ones that are good and go on.
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
send() { printf '{"to":"keep/box/%s","type":"%s","body":{"n":%d}}\n' "$1" "$2" "$3" >>"$in"; }
snapshot() {
    troupe 0 run "$dir/kept.so" --data "$dir/one" --input "$in" --output "$dir/one.out" --until-idle
    troupe 0 snapshot create --data "$dir/one" --name "$1"
}

${CC:-cc} -std=c11 -D_GNU_SOURCE -Icore -shared -fPIC -o "$dir/kept.so" test/module/kept.c
in=$dir/in
send full fill 1
send a refuse 1
send a refuse 2
send a later 1
snapshot a
troupe 0 snapshot diff a a --data "$dir/one"
says 'actors: 0 added, 0 gone, 0 changed, 1 the same'
ok "a snapshot is the same as itself"

# ---- edit -----------------------------------------------------------------------------------------------------------

cat >"$dir/changes" <<'J'
{"do":"set","actor":"keep/box/full","value":"integer","data":5}
{"do":"set","actor":"keep/box/full","value":"real","data":7}

{"do":"set","actor":"keep/box/full","value":"bytes","data":{"$bin":"YQBi/w=="}}
{"do":"set","actor":"keep/box/full","value":"version_2","data":9}
{"do":"set","actor":"keep/box/full","value":"map","element":"key1","data":"other"}
{"do":"set","actor":"keep/box/full","value":"map","element":"raw","data":{"$raw":"ff00"}}
{"do":"set","actor":"keep/peer/new","value":"integer","data":-1}
{"do":"set","actor":"keep/box/full","value":"map","element":"gone","data":1}
{"do":"clear","actor":"keep/box/full","value":"list"}
{"do":"clear","actor":"keep/box/full","value":"map","element":"gone"}
{"do":"set","actor":"keep/box/full","value":"list","append":true,"data":"zero"}
{"do":"set","actor":"keep/box/full","value":"list","append":true,"data":"one"}
{"do":"set","actor":"keep/box/full","value":"list","index":0,"data":"first"}
{"do":"set","actor":"keep/box/lists","value":"list","append":true,"data":7}
{"do":"clear","actor":"keep/box/full","value":"text"}
{"do":"send","to":"keep/box/b","type":"after","from":"keep/box/a","body":{"n":8}}
{"do":"send","to":"keep/box/b","type":"say","body":{"n":9}}
{"do":"drop","table":"dead","to":"keep/box/a","type":"refuse"}
{"do":"drop","table":"timer","number":1024,"node":"node"}
J
troupe 0 snapshot edit a b --data "$dir/one" --changes "$dir/changes"
troupe 0 snapshot verify b --data "$dir/one"
troupe 1 snapshot diff a b --data "$dir/one"
grep -qP '^\+ keep/peer/new$' "$dir/stdout" || fail "the new actor"
grep -qP '^~ keep/box/full$' "$dir/stdout" || fail "the changed actor"
grep -qP '^    integer\t-9223372036854775808\t5$' "$dir/stdout" || fail "the integer"
grep -qP '^    map\["key1"\]\t49\t"other"$' "$dir/stdout" || fail "the element"
grep -qP '^    map\["raw"\]\t-\t{"\$raw":"ff00"}$' "$dir/stdout" || fail "the new element"
grep -qP '^    list\[0\]\t{"\$raw":"66726f6e74"}\t"first"$' "$dir/stdout" || fail "the list"
grep -qP '^    list\[1\]\t.*\t"one"$' "$dir/stdout" || fail "what is appended to a list"
says 'actors: 2 added, 0 gone, 1 changed, 0 the same'
says 'waiting 0 -> 2; delayed 1 -> 0; dead 2 -> 0; jobs 0 -> 0; in_flight 0 -> 0'
troupe 1 snapshot diff b a --data "$dir/one" --json
python3 - "$dir/stdout" <<'P' || fail "wrong JSON: $(cat "$dir/stdout")"
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
by_actor = {line["actor"]: line for line in lines[:-1]}
assert by_actor["keep/peer/new"]["change"] == "gone"
values = {(v["value"], v.get("element", v.get("position"))): v for v in by_actor["keep/box/full"]["values"]}
assert values["version_2", None]["a"] == 9 and values["version_2", None]["b"] == 2
assert "a" not in values["list", 3] and values["text", None]["b"] == "grüße"
assert lines[-1]["waiting"] == [2, 0], lines[-1]
P
troupe 1 snapshot export "$dir/one/snapshots/nothing" --json
troupe 0 snapshot export b --data "$dir/one" --table state --table mail --json
python3 - "$dir/stdout" <<'P' || fail "wrong export: $(cat "$dir/stdout")"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
values = {(r["actor"], r["value"], r.get("element")): r for r in rows if r["table"] == "state" and "data" in r}
assert values["keep/box/full", "bytes", None]["data"] == {"$bin": "YQBi/w=="}
assert values["keep/box/full", "real", None]["data"] == 7.0
heads = {(r["actor"], r["value"]): r["head"] for r in rows if "head" in r}
assert heads["keep/box/full", "list"]["count"] == 2, heads
assert ("keep/box/full", "map", "gone") not in values
assert values["keep/box/full", "version_2", None]["version"] == 2
mail = [r["message"] for r in rows if r["table"] == "mail"]
assert mail[0] == {"to": "keep/box/b", "from": "keep/box/a", "type": "after", "version": 4, "body": {"n": 8}}, mail
assert mail[1] == {"to": "keep/box/b", "type": "say", "body": {"n": 9}}, mail
P
ok "a snapshot is edited, compared and exported"

troupe 0 restore "$dir/one/snapshots/b" --data "$dir/two"
troupe 0 doctor "$dir/two"
troupe 0 run "$dir/kept.so" --data "$dir/two" --output "$dir/two.out" --until-idle
[ "$(grep -c . "$dir/two.out")" = 2 ] || fail "wrong records: $(cat "$dir/two.out")"
grep -q '"egress":"after","seq":1,"key":"b","body":{"n":8}' "$dir/two.out" || fail "the message with a sender and a version"
troupe 0 state keep/box/full --data "$dir/two"
says 'other'
troupe 0 state keep/box/lists --data "$dir/two"
says 'list.*7'
ok "it is restored and goes on: what was sent is handled, what was set is read"

# Where it goes on: behind line 2 of 4 of its input, with record 41; and a message that failed, by hand, tried again.
cat >"$dir/changes" <<J
{"do":"set","input":"$in","line":2}
{"do":"set","egress":"say","next":41,"node":"node"}
{"do":"send","to":"keep/box/d","type":"say","body":{"n":1},"dead":"by hand"}
J
troupe 0 snapshot edit a behind --data "$dir/one" --changes "$dir/changes"
says '3 rows changed'
troupe 0 snapshot verify behind --data "$dir/one"
troupe 0 snapshot export behind --data "$dir/one" --table meta
grep -qF '"input":"'"$in"'","line":2,"offset":'"$(head -n 2 "$in" | wc -c)}" "$dir/stdout" || fail "the position"
says '"egress":"say","next":41}'
troupe 0 restore "$dir/one/snapshots/behind" --data "$dir/six"
troupe 0 doctor "$dir/six"
number=$("$build/troupe" dead list --data "$dir/six" --json | sed -n 's/.*"number":\([0-9]*\),.*"reason":"by hand".*/\1/p')
troupe 0 dead retry "$number" --data "$dir/six"
troupe 0 run "$dir/kept.so" --data "$dir/six" --input "$in" --output "$dir/six.out" --until-idle
troupe 0 dead list --data "$dir/six"
[ "$(grep -c 'as was asked for' "$dir/stdout")" = 3 ] || fail "not line 3 alone came again: $(cat "$dir/stdout")"
troupe 0 state keep/box/full --data "$dir/six"
says 'integer.*-9223372036854775808'
grep -qF '"egress":"say","seq":41,"key":"d","body":{"n":1}' "$dir/six.out" || fail "the letter, or its record's number"
# The file is known again by what stands before the position; one whose bytes were said is not.
sed 's/refuse/REFUSE/' "$in" >"$dir/other"
# By way of a link too, which is not what a node knows it by.
ln -s . "$dir/link"
echo '{"do":"set","input":"'"$dir"'/link/in","line":2,"offset":'"$(head -n 2 "$in" | wc -c)"'}' >"$dir/changes"
troupe 0 snapshot edit behind unknown --data "$dir/one" --changes "$dir/changes"
troupe 0 snapshot export unknown --data "$dir/one" --table meta
[ "$(grep -cF '"input":"' "$dir/stdout")" = 1 ] && says '"input":"'"$in"'","line":2' || fail "the position is under the path of a link"
for name in behind unknown; do
    troupe 0 restore "$dir/one/snapshots/$name" --data "$dir/$name"
done
cp "$in" "$dir/kept"
cat "$dir/other" >"$in"
troupe 1 run "$dir/kept.so" --data "$dir/behind" --input "$in" --output "$dir/behind.out" --until-idle
says 'is not the file'
troupe 0 run "$dir/kept.so" --data "$dir/unknown" --input "$in" --output "$dir/behind.out" --until-idle
cat "$dir/kept" >"$in"
# A cleared position is the beginning.
troupe 0 snapshot create --data "$dir/six" --name six
echo '{"do":"clear","input":"'"$dir/link/in"'"}' >"$dir/changes"
troupe 0 snapshot edit six again --data "$dir/six" --changes "$dir/changes"
troupe 0 restore "$dir/six/snapshots/again" --data "$dir/seven"
troupe 0 run "$dir/kept.so" --data "$dir/seven" --input "$in" --output "$dir/seven.out" --until-idle
troupe 0 dead list --data "$dir/seven"
[ "$(grep -c 'as was asked for' "$dir/stdout")" = 5 ] || fail "not all lines came again: $(cat "$dir/stdout")"
ok "a node goes on behind another line, with another number; a dead letter is added"

# A node that was killed before it could note that its records are out: their numbers are not changed, those of another
# egress are, up and down.
"$build/troupe" run "$dir/kept.so" --data "$dir/six" --output "$dir/six.out" --no-supervisor >"$dir/stdout" 2>"$dir/log" &
pid=$!
wait_for -p $pid "$build/troupe" send keep/box/d say '{"n":2}' --data "$dir/six" >/dev/null 2>&1
wait_for -p $pid grep -q '"seq":42' "$dir/six.out"
kill -9 $pid
wait $pid 2>/dev/null || true
troupe 0 snapshot create --data "$dir/six" --name killed
echo '{"do":"set","egress":"say","next":50}' >"$dir/changes"
troupe 1 snapshot edit killed bad --data "$dir/six" --changes "$dir/changes"
says "records that are not known to be out, up to 42"
from=killed
for next in 100 7 1; do
    echo '{"do":"set","egress":"after","next":'$next'}' >"$dir/changes"
    troupe 0 snapshot edit $from next$next --data "$dir/six" --changes "$dir/changes"
    says '1 rows changed'
    troupe 0 restore "$dir/six/snapshots/next$next" --data "$dir/next$next"
    troupe 0 doctor "$dir/next$next"
    from=next$next
    "$build/troupe" run "$dir/kept.so" --data "$dir/next$next" --output "$dir/next$next.out" >"$dir/stdout" 2>"$dir/log" &
    pid=$!
    wait_for -p $pid "$build/troupe" send keep/box/d after '{"n":3}' --data "$dir/next$next" >/dev/null 2>&1
    wait_for -p $pid grep -q '"egress":"after","seq":'$next, "$dir/next$next.out"
    grep -q '"egress":"say","seq":42,' "$dir/next$next.out" || fail "the record that waited"
    kill -TERM $pid
    wait $pid || fail "the node ended with $?"
    troupe 0 doctor "$dir/next$next"
done
ok "numbers of an egress are moved up and down beside records that wait"

# The same of a troupe, each change on the node where its actor lives.
"$build/troupe" run "$dir/kept.so" --nodes 3 --data "$dir/three" --output "$dir/three.out" >"$dir/stdout" 2>"$dir/log" &
pid=$!
end=$((SECONDS + deadline_s))
until "$build/troupe" snapshot create --data "$dir/three" --name empty >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] && kill -0 $pid || fail "no snapshot of the troupe"
    sleep 0.02
done
kill -TERM $pid
wait $pid || fail "the troupe ended with $?"
for i in $(seq 1 500); do
    echo '{"do":"set","actor":"keep/peer/p'$i'","value":"integer","data":'$((i - 1))'}'
    echo '{"do":"send","to":"keep/peer/p'$i'","from":"keep/box/b","type":"pass","body":{"n":'$i'}}'
done >"$dir/seed"
troupe 0 snapshot edit empty seeded --data "$dir/three" --changes "$dir/seed"
says '1000 rows changed'
troupe 0 snapshot verify seeded --data "$dir/three"
troupe 0 restore "$dir/three/snapshots/seeded" --data "$dir/four"
"$build/troupe" run "$dir/kept.so" --nodes 3 --data "$dir/four" --output "$dir/four.out" >"$dir/stdout" 2>"$dir/log" &
pid=$!
until [ "$(cat "$dir"/four.out.n? 2>/dev/null | wc -l)" -ge 500 ]; do
    [ $SECONDS -lt $end ] && kill -0 $pid || fail "not all was handled"
    sleep 0.02
done
troupe 0 snapshot create --data "$dir/four" --name after
kill -TERM $pid
wait $pid || fail "the troupe ended with $?"
troupe 0 snapshot export after --data "$dir/four" --table state
python3 - "$dir/stdout" <<'P' || fail "wrong values"
import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
assert {r["actor"]: r["data"] for r in rows} == {f"keep/peer/p{i}": i for i in range(1, 501)}
assert len({r["node"] for r in rows}) == 3
P
ok "a troupe of three nodes begins with a history"

# Between nodes: added behind what flies, some of it dropped again; numbers have no gaps, so it is a cut and is delivered.
for i in $(seq 1 60); do
    echo '{"do":"send","to":"keep/peer/f'$i'","from":"keep/box/b","type":"pass","body":{"n":'$i'},"in_flight":true}'
done >"$dir/seed"
troupe 1 snapshot edit empty flying --data "$dir/three" --changes "$dir/seed"
says 'in_flight is between two nodes: .* of another node than n[123]'
# Those that live on the sender's node are left out.
{
    for i in $(seq 1 60); do echo '{"do":"set","actor":"keep/peer/f'$i'","value":"integer","data":1}'; done
    echo '{"do":"set","actor":"keep/box/b","value":"integer","data":1}'
} >"$dir/changes"
troupe 0 snapshot edit empty where --data "$dir/three" --changes "$dir/changes"
troupe 0 snapshot export where --data "$dir/three" --table state
python3 - "$dir/stdout" "$dir/seed" "$dir/drop" <<'P'
import json, sys
node = {r["actor"]: r["node"] for r in map(json.loads, open(sys.argv[1]))}
lines = [line for line in open(sys.argv[2]) if node[json.loads(line)["to"]] != node["keep/box/b"]]
open(sys.argv[2], "w").writelines(lines)
to = [json.loads(line)["to"] for line in lines]
assert len(to) > 20, to
with open(sys.argv[3], "w") as drop:
    for actor in to[0:20:2] + to[-1:]:
        print(json.dumps({"do": "drop", "table": "outbox", "node": node["keep/box/b"], "to": actor}), file=drop)
P
troupe 0 snapshot edit empty flying --data "$dir/three" --changes "$dir/seed"
troupe 0 snapshot edit flying fewer --data "$dir/three" --changes "$dir/drop"
echo '{"do":"send","to":"keep/peer/late","type":"pass","from":"keep/box/b","body":{"n":99},"due_ms":1}' >"$dir/changes"
troupe 0 snapshot edit fewer last --data "$dir/three" --changes "$dir/changes"
troupe 0 snapshot verify last --data "$dir/three"
left=$(($(wc -l <"$dir/seed") - 11))
flying=$("$build/troupe" snapshot show last --data "$dir/three" --json | grep -o '"messages":[0-9]*' | cut -d: -f2 | paste -sd+)
[ $((flying)) = $left ] || fail "$flying messages fly, not $left"
troupe 0 restore "$dir/three/snapshots/last" --data "$dir/five"
for data in "$dir/five"/n?; do troupe 0 doctor "$data"; done
"$build/troupe" run "$dir/kept.so" --nodes 3 --data "$dir/five" --output "$dir/five.out" >"$dir/stdout" 2>"$dir/log" &
pid=$!
until [ "$(cat "$dir"/five.out.n? 2>/dev/null | wc -l)" -ge $((left + 1)) ]; do
    [ $SECONDS -lt $end ] && kill -0 $pid || fail "not all that flew was handled"
    sleep 0.02
done
kill -TERM $pid
wait $pid || fail "the troupe ended with $?"
python3 - "$dir/seed" "$dir/drop" "$dir"/five.out.n? <<'P' || fail "wrong records"
import json, sys
sent = {json.loads(line)["to"].split("/")[2]: json.loads(line)["body"]["n"] for line in open(sys.argv[1])}
for line in open(sys.argv[2]):
    del sent[json.loads(line)["to"].split("/")[2]]
sent["late"] = 99
got = [json.loads(line) for path in sys.argv[3:] for line in open(path)]
assert sorted((r["key"], r["body"]["n"]) for r in got) == sorted(sent.items()), (got, sent)
P
ok "messages on their way between nodes are added and dropped, and a delayed one is added"

# ---- what is wrong leaves nothing -----------------------------------------------------------------------------------

refuses() {
    echo "$1" >"$dir/changes"
    troupe 1 snapshot edit a bad --data "$dir/one" --changes "$dir/changes"
    says "$2"
    says "changes:1: "
    [ ! -e "$dir/one/snapshots/bad" ] && [ ! -e "$dir/one/snapshots/bad.writing" ] || fail "a wrong change left something"
}
refuses '{"do":"set","actor":"keep/box/full","value":"integer","data":"five"}' 'another kind'
refuses '{"do":"set","actor":"keep/box/full","value":"count","data":5}' "no value 'count' in module kept 1"
refuses '{"do":"set","actor":"keep/box/full","value":"list","element":"a","data":5}' 'say index or append'
refuses '{"do":"set","actor":"keep/box/full","value":"map","data":5}' 'name an element'
refuses '{"do":"set","actor":"keep/box/full","value":"list","index":99,"data":5}' "list 'list' has [0-9]* elements"
refuses '{"do":"set","actor":"keep/box/full","value":"list","index":0,"append":true,"data":5}' 'say one of'
refuses '{"do":"clear","actor":"keep/box/full","value":"map","element":"none"}' 'has no value'
refuses '{"do":"set","actor":"full","value":"map","data":5}' 'no address'
refuses '{"do":"clear","actor":"keep/box/none"}' 'has no value'
refuses '{"do":"drop","table":"mail","to":"keep/box/full"}' 'no such message'
refuses '{"do":"drop","table":"state","number":1}' 'mail, outbox, timer, dead or job'
refuses '{"do":"drop","table":"outbox","number":1}' 'no such message'
refuses '{"do":"send","to":"keep/box/b","type":"say","due_ms":1,"in_flight":true}' 'one of these'
refuses '{"do":"send","to":"keep/box/b","type":"say","dead":"","in_flight":true}' 'one of these'
refuses '{"do":"drop","table":"mail","number":1,"node":"n7"}' "no node 'n7', but node"
refuses '{"do":"set","input":"in","line":1}' 'no absolute path'
refuses '{"do":"set","input":"'"$in"'"}' "say 'line'"
refuses '{"do":"set","input":"'"$in"'","line":5}' "$in has 4 lines"
refuses '{"do":"set","input":"'"$dir"'","line":1}' 'is a directory'
refuses '{"do":"set","input":"/nowhere/in","line":1}' "give 'offset' too"
refuses '{"do":"set","input":"/nowhere/in","line":9,"offset":8}' '9 lines do not end at byte 8'
refuses '{"do":"set","input":"'"$in"'","line":1,"egress":"say","next":1}' 'one of actor, input and egress'
refuses '{"do":"clear","input":"/nowhere/in"}' 'node node knows no position'
refuses '{"do":"set","egress":"say"}' "say 'next'"
refuses '{"do":"set","egress":"say","next":0}' "say 'next'"
refuses '{"do":"drop","table":"mail"}' 'say which'
refuses '{"do":"make"}' 'set, clear, send or drop'
refuses '{"do":' 'column'
troupe 1 snapshot edit a b --data "$dir/one" --changes /dev/null
says 'exists already'
ok "a change that is wrong is named with its line, and leaves nothing"
