#!/bin/bash
# tail.sh - `troupe tail` follows a node that is killed and started again, by its supervisor or by somebody, at once.
# SPDX-License-Identifier: Apache-2.0
set -eu
build=${BUILD:-build}
troupe=$build/troupe
dir=$(mktemp -d "${TMPDIR:-/tmp}/troupe-tail.XXXXXX")
node=
tail=
finish() {
    status=$?
    for pid in $tail $node; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
    exit $status
}
trap finish EXIT
die() {
    echo "FAILED: $1"
    cat "$dir/tailed" "$dir/said" 2>/dev/null || true
    exit 1
}

# wait_for SECONDS COMMAND...
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" 2>/dev/null; do
        [ $SECONDS -lt $end ] || die "not within the time: $*"
        sleep 0.02
    done
}
start() {
    "$troupe" run "$build/samples/greeter.so" --data "$dir/data" </dev/null >/dev/null 2>>"$dir/log" &
    node=$!
}
greet() { "$troupe" send demo/greeter/ada hello --data "$dir/data" --id "$1" 2>/dev/null; }
has() { [ "$(wc -l <"$dir/tailed")" = "$1" ]; }
follows() { [ "$("$troupe" stats --data "$dir/data" | awk '$1 == "tails" { print $2 }')" = 1 ]; }

start
wait_for 20 greet one
"$troupe" tail greetings --data "$dir/data" --from 1 >"$dir/tailed" 2>"$dir/said" &
tail=$!
wait_for 20 has 1
kill -9 $node
{ wait $node || true; } 2>/dev/null
start
wait_for 15 follows # Long before it would be asked after a silence.
wait_for 20 greet two
wait_for 20 has 2
pkill -9 -P $node # The supervisor starts it again.
wait_for 15 follows
wait_for 20 greet three
wait_for 20 has 3
kill $tail
wait $tail 2>/dev/null || true
tail=
[ "$(sed 's/.*"seq":\([0-9]*\),.*/\1/' "$dir/tailed" | tr '\n' ' ')" = "1 2 3 " ] || die "other records than 1, 2, 3"
kill $node
wait $node
node=
echo "three records, two restarts"
