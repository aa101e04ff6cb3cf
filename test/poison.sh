#!/bin/bash
# poison.sh - a message that crashes its handler costs one message, not the service.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

# Sanitizers catch the signals themselves: there the plain crash is what is tested.
export ASAN_OPTIONS=handle_segv=0:handle_abort=0:detect_leaks=0
${CC:-cc} -shared -fPIC -Icore -o "$dir/poison.so" test/module/poison.c
for n in 1 2 3; do echo "{\"to\":\"test/poison/a$n\",\"type\":\"fine\"}"; done > "$dir/in"
echo '{"to":"test/poison/x","type":"segv"}' >> "$dir/in"
echo '{"to":"test/poison/x","type":"behind"}' >> "$dir/in"
timeout 60 "$build/troupe" run "$dir/poison.so" --data "$dir/data" --input "$dir/in" --output "$dir/out" \
    --until-idle 2> "$dir/log" || fail "troupe run ended with status $?"
[ "$(wc -l < "$dir/out")" = 4 ] || fail "wanted 4 records, not $(wc -l < "$dir/out")"
grep -q '"seq":4,"key":"x","body":{"type":"behind"}' "$dir/out" || fail "the message behind the crash did not come"
[ "$(grep -c 'crashed the node: signal 11' "$dir/log")" = 3 ] || fail "it did not crash three times"
grep -q 'dead letter: test/poison/x .*crashed the node 3 times: signal 11' "$dir/log" || fail "no dead letter"
grep -q 'in poison.so+0x' "$dir/log" || fail "no backtrace"

# Many of them in a row: what was set aside stays so when the next one crashes, and each costs three crashes.
for n in 1 2 3 4 5; do echo "{\"to\":\"test/poison/m$n\",\"type\":\"segv\"}"; done >"$dir/many"
echo '{"to":"test/poison/m9","type":"behind"}' >>"$dir/many"
timeout 60 "$build/troupe" run "$dir/poison.so" --data "$dir/many.data" --input "$dir/many" --output "$dir/many.out" \
    --until-idle 2>"$dir/log" || fail "troupe run ended with status $?"
[ "$(grep -c 'crashed the node: signal 11' "$dir/log")" = 15 ] || fail "five did not crash three times each"
[ "$(grep -c 'dead letter: ' "$dir/log")" = 5 ] || fail "they were not set aside once each"
grep -q '"key":"m9"' "$dir/many.out" || fail "what came behind them did not come"
"$build/troupe" dead list --data "$dir/many.data" >"$dir/letters"
[ "$(grep -c 'crashed the node 3 times: signal 11 ([A-Za-z ]*)	message' "$dir/letters")" = 5 ] || fail "a list does not show each in one line"
"$build/troupe" dead show "$(head -n 1 "$dir/letters" | cut -f 1)" --data "$dir/many.data" | grep -q '^	at .* in poison.so+0x' || fail "no frames"

echo '{"to":"test/poison/y","type":"abort"}' > "$dir/in2"
status=0
timeout 60 "$build/troupe" run "$dir/poison.so" --data "$dir/data" --input "$dir/in2" --output "$dir/out" \
    --until-idle --no-supervisor 2> "$dir/log" || status=$?
[ $status = 134 ] || fail "without supervisor it should die of SIGABRT, not with $status"
echo "a poison message cost one message"
