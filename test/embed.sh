#!/bin/bash
# embed.sh - a program with a node in it: its own loop, its actors linked in.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

timeout 30 "$build/samples/embed" "$dir/data" a b a > "$dir/out" || fail "the first run ended with status $?"
printf 'a: 1\nb: 1\na: 2\n' | cmp - "$dir/out" || fail "the first run counted wrong"
timeout 30 "$build/samples/embed" "$dir/data" b > "$dir/out" || fail "the second run ended with status $?"
printf 'b: 2\n' | cmp - "$dir/out" || fail "the second run did not go on from the first, or gave a record twice"
"$build/troupe" stats --data "$dir/data" | grep -q '^egress	0$' || fail "rows of records that were handed out are left"
long=$(printf 'k%.0s' $(seq 300))
timeout 30 "$build/samples/embed" "$dir/data" "$long" c > "$dir/out" 2> "$dir/err" || fail "a wrong key ended it"
grep -q 'over its limit' "$dir/err" || fail "a wrong key is not explained"
printf 'c: 1\n' | cmp - "$dir/out" || fail "what stands behind a wrong key did not come"
status=0
timeout 30 "$build/samples/embed" /proc/none a 2> "$dir/err" || status=$?
[ $status = 1 ] && grep -q /proc/none "$dir/err" || fail "a wrong directory is not explained"
echo "a program with a node in it counts on"
