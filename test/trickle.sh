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
