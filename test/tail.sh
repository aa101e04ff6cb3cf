#!/bin/bash
# tail.sh - `troupe tail` follows a node that is killed and started again, by its supervisor or by somebody, at once.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

node=
tail=
start() {
    "$troupe" run "$build/samples/greeter.so" --data "$dir/data" </dev/null >/dev/null 2>>"$dir/log" &
    node=$!
}
greet() { "$troupe" send demo/greeter/ada hello --data "$dir/data" --id "$1" 2>/dev/null; }
has() { [ "$(wc -l <"$dir/tailed")" = "$1" ]; }
follows() { [ "$("$troupe" stats --data "$dir/data" | awk '$1 == "tails" { print $2 }')" = 1 ]; }

start
wait_for greet one
"$troupe" tail greetings --data "$dir/data" --from 1 >"$dir/tailed" 2>"$dir/said" &
tail=$!
wait_for has 1
kill -9 $node
{ wait $node || true; } 2>/dev/null
start
wait_for follows # Long before it would be asked after a silence.
wait_for greet two
wait_for has 2
pkill -9 -P $node # The supervisor starts it again.
wait_for follows
wait_for greet three
wait_for has 3
kill $tail
wait $tail 2>/dev/null || true
tail=
[ "$(sed 's/.*"seq":\([0-9]*\),.*/\1/' "$dir/tailed" | tr '\n' ' ')" = "1 2 3 " ] || fail "other records than 1, 2, 3"
kill $node
wait $node
node=
echo "three records, two restarts"
