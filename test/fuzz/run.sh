#!/bin/bash
# run.sh - run each fuzz target named for FUZZ_SECONDS, side by side; a crash fails. The last line is `N passed, N failed`.
# SPDX-License-Identifier: Apache-2.0
# usage: test/fuzz/run.sh TARGET..    with BUILD, the directory that holds them; `make fuzz` calls it.
# Environment: FUZZ_SECONDS (60), FUZZ_MINIMISE=1 (instead: replace test/fuzz/corpus by the smallest that reaches as much),
# JOBS (as many as cores).
# New inputs stay in $BUILD/corpus, crashing ones in $BUILD/crash.
set -eu
cd "$(dirname "$0")/../.."
seconds=${FUZZ_SECONDS:-60}
mkdir -p "$BUILD/corpus" "$BUILD/crash"
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1} UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

run_one() {
    local name=$1 kept=test/fuzz/corpus/$1 found=$BUILD/corpus/$1
    mkdir -p "$kept" "$found"
    if [ -n "${FUZZ_MINIMISE:-}" ]; then
        local small=$BUILD/corpus/$name.small
        rm -rf "$small" && mkdir "$small"
        "$BUILD/fuzz/${name}_fuzz" -merge=1 -use_counters=0 "$small" "$kept" "$found" >"$BUILD/$name.log" 2>&1 || return 1
        find "$small" -type f -size -5 | while read -r file; do # of 512-byte blocks: what is large is not kept
            cp "$file" "$kept.new.$(basename "$file")"
        done
        rm -f "$kept"/*
        for file in "$kept".new.*; do
            [ -e "$file" ] && mv "$file" "$kept/${file##*.new.}"
        done
        return 0
    fi
    "$BUILD/fuzz/${name}_fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$BUILD/crash/$name-" "$found" "$kept" >"$BUILD/$name.log" 2>&1
}

# Says how it went; returns what it returned.
report() {
    local name=$1 status=0
    run_one "$name" || status=$?
    if [ $status = 0 ]; then
        echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$BUILD/$name.log" | tail -1) runs," \
            "$(find "test/fuzz/corpus/$name" -type f | wc -l) inputs kept"
    else
        echo "FAILED: $name (status $status, log $BUILD/$name.log):"
        grep -nE 'ERROR|SUMMARY|Assertion|Test unit written' "$BUILD/$name.log" | head -8
    fi
    return $status
}

passed=0 failed=0 running=0
for target in "$@"; do
    name=$(basename "$target" _fuzz)
    report "$name" &
    running=$((running + 1))
    if [ $running -ge "${JOBS:-$(nproc)}" ]; then
        if wait -n; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
        running=$((running - 1))
    fi
done
while [ $running -gt 0 ]; do
    if wait -n; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    running=$((running - 1))
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
