#!/bin/bash
# tutorial.sh - the tutorial does what it says, and the actor in the README works.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build).
set -eu
. "$(dirname "$0")/preamble.sh"

BUILD=$(realpath "${BUILD:-build}") ASAN_OPTIONS=handle_abort=0:detect_leaks=0
export BUILD ASAN_OPTIONS
python3 test/tutorial.py docs/tutorial.md "$PWD" "$dir"

sed -n '/^```c$/,/^```$/p' README.md | grep -v '^```' >"$dir/readme.c"
${CC:-cc} -std=c11 -Wall -Wextra -Werror -shared -fPIC -Icore -o "$dir/readme.so" "$dir/readme.c"
for _ in 1 2; do echo '{"to":"demo/greeter/ada","type":"hello"}'; done >"$dir/readme.in"
"$BUILD/troupe" run "$dir/readme.so" --data "$dir/readme" --input "$dir/readme.in" --until-idle --log error >"$dir/readme.out"
grep -q '"seq":2,"key":"ada","body":{"count":2}' "$dir/readme.out" || { echo "FAILED: README.md's actor"; exit 1; }
