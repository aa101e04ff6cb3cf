#!/bin/bash
# nodes_idle.sh - several nodes end by themselves when nothing is left anywhere, killed on the way or not; one input that
# the nodes split among them, and two that two of them read, are each taken in exactly once.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), TROUPE_NODES (3), TROUPE_TRANSFERS (12000), TROUPE_KILLS (8, of each run), TROUPE_SEED (of who is
# killed when), TROUPE_KEEP=1 (keep the directory).
set -eu
. "$(dirname "$0")/preamble.sh"

# shellcheck disable=SC2034
deadline_s=100
nodes=${TROUPE_NODES:-3}
transfers=${TROUPE_TRANSFERS:-12000}
kills=${TROUPE_KILLS:-8}
accounts=400
bank=$(dirname "$0")/../samples/bank
pid=

# start NAME INPUT...: start the troupe in NAME, the first nodes with these inputs; it ends by itself.
start() {
    local name=$1 inputs=()
    shift
    for input in "$@"; do inputs+=(--input "$dir/$input"); done
    "$troupe" run "$build/samples/bank.so" --nodes "$nodes" --data "$dir/$name" --output "$dir/$name.out" \
        "${inputs[@]}" --until-idle >>"$dir/log" 2>&1 &
    pid=$!
}
has_ended() { ! kill -0 "$pid" 2>/dev/null; }
# await: sets `status`.
await() {
    wait_for has_ended
    status=0
    wait "$pid" || status=$?
    pid=
}
await_good() {
    await
    [ $status = 0 ] || fail "it ended with status $status"
}
# Kill processes of the troupe at random, the one that looks whether it is idle too.
harass() {
    local killed=0 victim
    while [ $killed -lt "$kills" ] && kill -0 "$pid" 2>/dev/null; do
        sleep "0.$(printf %03d $((RANDOM % 50)))"
        mapfile -t children < <(pgrep -P "$pid" || true)
        [ ${#children[@]} -gt 0 ] || continue
        victim=${children[$((RANDOM % ${#children[@]}))]}
        kill -9 "$victim" 2>/dev/null || continue
        killed=$((killed + 1))
    done
    harassed=$((${harassed:-0} + killed))
}
# await_harassed NAME INPUT...: a node that is killed while all are told to end makes it status 1; then once more.
await_harassed() {
    harass
    await
    [ $status != 0 ] || return 0
    [ $status = 1 ] || fail "it ended with status $status"
    start "$@"
    await_good
}
# books NAME: ask for all balances, and check the books.
books() {
    start "$1" audit
    await_good
    awk -v transfers="$transfers" -v accounts=$accounts -f "$bank/check.awk" "$dir/$1".out.* >"$dir/check" ||
        fail "the books of $1 are wrong: $(cat "$dir/check")"
}

awk -v transfers="$transfers" -v accounts=$accounts -f "$bank/transfers.awk" >"$dir/all"
awk -v accounts=$accounts -f "$bank/audit.awk" >"$dir/audit"
half=$((transfers / 2))
head -$half "$dir/all" >"$dir/first"
tail -n +$((half + 1)) "$dir/all" >"$dir/second"

start calm all
await_good
[ "$(cat "$dir"/calm.out.* | wc -l)" = "$transfers" ] || fail "it ended before all was done"
for node in "$dir"/calm/n*/; do
    [ "$("$troupe" stats --data "$node" | grep -cE '^(mail|outbox|jobs)	0$')" = 3 ] || fail "something waits in $node"
done
books calm

start one all
await_harassed one all
books one
start two first second
await_harassed two first second
books two
grep -q 'signal 9' "$dir/log" || fail "the log does not tell of any node that was killed"

status=0
"$troupe" run "$build/samples/bank.so" --nodes 2 --data "$dir/none" --listen none --until-idle 2>"$dir/log" || status=$?
[ $status = 2 ] && grep -q 'leave out' "$dir/log" || fail "without sockets it cannot be known: status $status"
echo "$transfers transfers from one file and from two, ${harassed:-0} kills, seed $seed: each once, and the nodes end by themselves"

# A file is read on by the node that has read it before, wherever it stands on the command line.
hello() { for ((i = $2; i <= $3; i++)); do echo '{"to":"demo/greeter/'"$1$i"'","type":"hello"}'; done; }
read_by() { # STATUS INPUT...
    local want=$1 inputs=() status=0
    shift
    for input in "$@"; do inputs+=(--input "$dir/$input"); done
    timeout "$deadline_s" "$troupe" run "$build/samples/greeter.so" --nodes 2 --data "$dir/named" \
        --output "$dir/named.out" "${inputs[@]}" --until-idle 2>"$dir/log" || status=$?
    [ $status = "$want" ] || fail "inputs $*: status $status"
}
hello a 1 5 >"$dir/a"
hello b 1 5 >"$dir/b"
hello c 1 5 >"$dir/c"
read_by 0 a b
hello b 6 6 >>"$dir/b"
read_by 0 b
hello a 6 6 >>"$dir/a"
read_by 0 b a
read_by 0 c
read_by 2 a c
grep -q 'the node that has read it before is to read another one now' "$dir/log" || fail "no reason"
read_by 0 c b
read_by 1 missing
grep -q 'input .*/missing: No such file' "$dir/log" || fail "no reason"
read_by 1 a .
grep -q 'is a directory' "$dir/log" || fail "no reason"
output_is_wrong() { # PATH TEXT: it ends at once, instead of starting its nodes again and again.
    local status=0
    timeout 60 "$troupe" run "$build/samples/greeter.so" --nodes 2 --data "$dir/named" --output "$1" --input "$dir/a" \
        2>"$dir/log" || status=$?
    [ $status = 1 ] && grep -q "output $1.n[12]: $2" "$dir/log" || fail "no reason: status $status"
}
output_is_wrong "$dir/none/out" 'No such file'
mkdir "$dir/taken.n2"
output_is_wrong "$dir/taken" 'Is a directory'
# What a node has read whose rows cannot be read is not given to another one.
cp "$dir/named/n2/tables.mdb" "$dir/tables"
dd if=/dev/zero of="$dir/named/n2/tables.mdb" bs=4096 count=2 conv=notrunc 2>/dev/null
hello d 1 1 >"$dir/d"
read_by 2 b d
grep -q 'input .*/d: node n2 may have read it before, and its rows cannot be read: mend that' "$dir/log" || fail "no reason"
hello a 7 7 >>"$dir/a"
hello b 7 7 >>"$dir/b"
"$troupe" run "$build/samples/greeter.so" --nodes 2 --data "$dir/named" --output "$dir/named.out" --input "$dir/b" \
    2>"$dir/log" &
pid=$!
wait_for -p $pid grep -q 'n2: .*damaged' "$dir/log"
kill -TERM $pid
wait $pid || true
pid=
cp "$dir/tables" "$dir/named/n2/tables.mdb"
read_by 0 b a
read_by 0 d
keys=$(cat "$dir"/named.out.n? | grep -o '"key":"[a-z0-9]*"' | sort | uniq -c | awk '{ print $1 }' | sort -u)
[ "$keys" = 1 ] && [ "$(cat "$dir"/named.out.n? | wc -l)" = 20 ] || fail "not each line once"
echo "in whatever order inputs are named, and with a node that is damaged, each line is taken in once"
