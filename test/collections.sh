#!/bin/bash
# collections.sh - maps, lists and values that expire on a real node: killed, looked at, cleared, swept from the disk.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), CC (cc), TROUPE_KEEP=1 (keep the directory).
set -eu
. "$(dirname "$0")/preamble.sh"

data=$dir/data
node=

start() {
    "$troupe" run "$dir/collections.so" --data "$data" --input - --output "$dir/records" --no-supervisor \
        <"$dir/pipe" >>"$dir/log" 2>&1 &
    node=$!
    exec 3>"$dir/pipe"
}

# give TYPE [BODY]: a message for the box x.
give() { echo "{\"to\":\"test/box/x\",\"type\":\"$1\",\"body\":${2:-null}}" >&3; }

counted() { grep -Eq "\"seq\":$1,.*$2" "$dir/records" 2>/dev/null; }

stop() {
    kill "-$1" "$node"
    { wait "$node" || true; } 2>/dev/null
    exec 3>&-
    node=
}

look() { "$troupe" state --data "$data" test/box/x "$@" >"$dir/out" || fail "troupe state $*"; }
says() { grep -Eq -- "$1" "$dir/out" || fail "no line of the output is like: $1"; }
figure() { "$troupe" stats --data "$data" | sed -n "s/^$1	//p"; }

${CC:-cc} -std=c11 -Wall -Wextra -I. -shared -fPIC -o "$dir/collections.so" test/module/collections.c
mkfifo "$dir/pipe"
touch "$dir/records"

# Killed when it was durable: all of it is there, in order, and the doctor is content.
start
give add '{"key":"pear","value":{"price":3}}'
give add '{"key":"apple","value":[1,2]}'
give add '{"key":"apple","value":"red"}'
give count
wait_for counted 1 '"elements":2,"sum":0,"length":3'
stop KILL
look
[ "$(cat "$dir/out")" = "$(printf 'list\t0\t{"price":3}\nlist\t1\t[1,2]\nlist\t2\t"red"\nmap\t"apple"\t"red"\nmap\t"pear"\t{"price":3}')" ] ||
    fail "troupe state prints something else"
look --json
[ "$(cat "$dir/out")" = '{"actor":"test/box/x","state":{"list":[{"price":3},[1,2],"red"],"map":{"apple":"red","pear":{"price":3}}}}' ] ||
    fail "troupe state --json prints something else"
"$troupe" doctor "$data" >"$dir/out" || fail "the doctor finds damage"

# A large map is cleared at once, and its rows leave the disk while the node does nothing else.
start
give clear
give fill '{"count":20000}'
give count
wait_for counted 2 '"elements":20000,"sum":199990000,"length":20000'
stop TERM
[ "$(figure values)" = 40001 ] || fail "there are $(figure values) rows of state, not 40001"
start
give clear
give add '{"key":"new","value":1}'
give brief
give count
wait_for counted 3 '"elements":1,"sum":1,"length":1'
stop KILL
look
says '^map	"new"	1$'
says '^brief	1	expires [0-9T:.-]+Z$'
[ "$(wc -l <"$dir/out")" = 3 ] || fail "troupe state shows what was cleared"
"$troupe" doctor "$data" >"$dir/out" || fail "the doctor finds damage"
start
swept() { [ "$(figure sweeps)" = 0 ]; }
wait_for swept
few() { [ "$(figure values)" = 4 ]; } # It is told what is folded.
wait_for few
stop TERM
[ "$(figure values)" = 4 ] || fail "there are $(figure values) rows of state, not 4: two heads, two elements"
look
says '^map	"new"	1$'
! grep -q brief "$dir/out" || fail "what has expired is still there"
"$troupe" doctor "$data" >"$dir/out" || fail "the doctor finds damage"
echo "collections: killed, cleared, swept"
