#!/bin/bash
# put_back.sh - two real nodes: a backlog for a node that is down waits on disk, and an older copy of a node's directory
# that is put back is noticed: the link stays down, and the log names the repair.
# SPDX-License-Identifier: Apache-2.0
set -u
. "$(dirname "$0")/preamble.sh"

pids=()

# start NODE INPUT
start() {
    "$build/troupe" run "$build/samples/bank.so" --cluster "$dir/cluster.yaml" --node "n$1" --data "$dir/n$1" \
        --input "$dir/$2" --output "$dir/out.n$1" --no-supervisor >>"$dir/log.n$1" 2>&1 &
    pids+=($!)
}

stop() {
    kill "${pids[@]}"
    wait "${pids[@]}" || fail "a node ended with $?"
    pids=()
}

records() {
    cat "$dir"/out.n? 2>/dev/null | wc -l
}

# until TEXT COMMAND...: try the command until it succeeds, for at most a minute.
until_true() {
    local what=$1 end=$((SECONDS + 60))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "$what"
        sleep 0.02
    done
}

has_records() {
    [ "$(records)" -ge "$1" ]
}

says_lost() {
    grep -q "is down and stays down: .*put the newest one back" "$dir"/log.n?
}

awk -v transfers=200 -v accounts=40 -f samples/bank/transfers.awk >"$dir/first.jsonl"
sed 's/bank\/transfer\/T/bank\/transfer\/U/' "$dir/first.jsonl" >"$dir/second.jsonl"
: >"$dir/none.jsonl"
"$build/troupe" cluster init --nodes 2 "$dir/cluster.yaml" >/dev/null || fail "cluster init"

# n2 is down: what is for it waits in n1's outbox.
start 1 first.jsonl
until_true "n1 read its input" grep -sq "ended after line 200" "$dir/log.n1"
stop
outbox=$("$build/troupe" stats --data "$dir/n1" | sed -n 's/^outbox\t//p')
[ "$outbox" -gt 0 ] || fail "nothing waits for n2"
"$build/troupe" doctor --data "$dir/n1" >"$dir/doctor" || fail "$(cat "$dir/doctor")"

start 1 first.jsonl
start 2 none.jsonl
until_true "all transfers of the first input ended" has_records 200
stop
cp -r "$dir/n2" "$dir/old"
cp "$dir/out.n2" "$dir/old.out"
start 1 second.jsonl
start 2 none.jsonl
until_true "all transfers of the second input ended" has_records 400
stop
for n in n1 n2; do
    "$build/troupe" doctor --data "$dir/$n" >"$dir/doctor" || fail "$(cat "$dir/doctor")"
done
[ "$(cat "$dir"/out.n? | grep -o '"transfer":"[TU][0-9]*"' | sort -u | wc -l)" = 400 ] || fail "not 400 different records"
grep -h "stays down" "$dir"/log.n? && fail "a link is down without a reason"

mv "$dir/n2" "$dir/newest" && mv "$dir/old" "$dir/n2" && mv "$dir/out.n2" "$dir/newest.out"
# Already its own records tell that it is older; put back with those of then, it is for its peers to notice.
cp "$dir/newest.out" "$dir/out.n2"
status=0
"$build/troupe" run "$build/samples/bank.so" --cluster "$dir/cluster.yaml" --node n2 --data "$dir/n2" --output "$dir/out.n2" \
    2>"$dir/said" || status=$?
[ $status = 1 ] && grep -q 'or an older copy of its directory was put back' "$dir/said" || fail "it goes on with newer records"
cmp -s "$dir/out.n2" "$dir/newest.out" || fail "newer records are gone"
cp "$dir/old.out" "$dir/out.n2"
start 1 none.jsonl
start 2 none.jsonl
until_true "the loss is noticed" says_lost
stop

rm -rf "$dir/n2" && mv "$dir/newest" "$dir/n2" && mv "$dir/newest.out" "$dir/out.n2" && rm -f "$dir"/log.n?
start 1 none.jsonl
start 2 none.jsonl
until_true "the newest directory is good" grep -sq "is up" "$dir/log.n1"
stop
[ "$(grep -c "stays down" "$dir"/log.n? | awk -F: '{ n += $2 } END { print n }')" = 0 ] || fail "the repair did not help"
echo "$outbox rows of messages waited on disk; the older directory was noticed, the newest one is good"
