#!/bin/bash
# cxx.sh - troupe.h compiles as C++17 with g++ and clang++, without a warning, and an actor in C++ runs.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build).
set -eu
. "$(dirname "$0")/preamble.sh"

echo '{"to":"demo/greeter/ada","type":"greet","body":{"name":"Ada"}}' >"$dir/in"
for compiler in g++ clang++; do
    "$compiler" -std=c++17 -Wall -Wextra -Wpedantic -Werror -I. -shared -fPIC -o "$dir/greeter.so" \
        test/module/greeter.cpp
    rm -rf "$dir/data" "$dir/out"
    "$build/troupe" run "$dir/greeter.so" --data "$dir/data" --input "$dir/in" --output "$dir/out" --until-idle \
        >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
    grep -q '"text":"hello Ada"' "$dir/out" || { echo "FAILED: $compiler: no greeting"; cat "$dir/log" "$dir/out"; exit 1; }
    echo "$compiler: ok"
done
