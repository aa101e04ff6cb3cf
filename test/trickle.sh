#!/bin/bash
# trickle.sh - messages that go round for ever do not keep new lines of the input out.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

node=

# More tokens than a node wants to have waiting, each with hops for years; behind them one that ends at once.
for ((n = 0; n < 1000; n++)); do
    echo "{\"to\":\"demo/ring/$n\",\"type\":\"token\",\"body\":{\"hops\":1000000000000,\"size\":1000}}"
done > "$dir/in"
echo '{"to":"demo/ring/7","type":"token","body":{"hops":0,"size":1000}}' >> "$dir/in"
"$build/troupe" run "$build/samples/ring.so" --data "$dir/data" --input "$dir/in" --output "$dir/out" \
    2> "$dir/log" &
node=$!
for ((tries = 0; tries < 600; tries++)); do
    ! grep -qs '"egress":"finished","seq":1,"key":"7"' "$dir/out" || break
    kill -0 "$node" 2>/dev/null || break
    sleep 0.1
done
if ! grep -qs '"egress":"finished","seq":1,"key":"7"' "$dir/out"; then
    echo "FAILED: the last line was not taken in within a minute"
    tail -20 "$dir/log" | sed 's/^/    /'
    exit 1
fi
kill "$node"
wait "$node" || { echo "FAILED: troupe run ended with status $?"; exit 1; }
node=
echo "the input was read beside 1,000 messages without end"

# Nobody writes to the pipe that is its input yet: the node serves meanwhile, and takes in what comes later to the end.
mkfifo "$dir/pipe"
"$build/troupe" run "$build/samples/greeter.so" --data "$dir/piped" --input "$dir/pipe" --output "$dir/piped.out" \
    2> "$dir/log" &
node=$!
serves() { "$build/troupe" send demo/greeter/ada hello --id one --data "$dir/piped" 2>"$dir/error"; }
wait_for -p "$node" serves
[ "$(grep -c 'ended after line' "$dir/log")" = 0 ] || fail "the input has ended before it began"
echo '{"to":"demo/greeter/bob","type":"hello"}' >"$dir/pipe"
has_ended() { grep -q 'ended after line 1' "$dir/log"; }
wait_for -p "$node" has_ended
both() { [ "$(wc -l <"$dir/piped.out")" = 2 ]; }
wait_for -p "$node" both
kill "$node"
wait "$node" || fail "exit status $?"
echo "a node serves while nobody writes to the pipe that is its input"
