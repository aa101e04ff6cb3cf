# sample.sh - runs a sample from a file to a file, killed on the way; sourced by the tests of samples.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Environment: that of preamble.sh, which it sources; TROUPE_SEED is of the moments of the kills, too.
# Sets `killed`, the number of kills that came in time.

. "$(dirname "$0")/preamble.sh"
killed=0
pid=

# run SAMPLE DATA INPUT OUTPUT: to the end, until neither message nor timer is left.
run() {
    timeout 100 "$build/troupe" run "$build/samples/$1.so" --data "$dir/$2" --input "$dir/$3" --output "$dir/$4" \
        --until-idle=timers 2>>"$dir/log"
}

# run_killed SAMPLE DATA INPUT OUTPUT LINES: killed with SIGKILL soon after the output has LINES lines.
run_killed() {
    local end=$((SECONDS + 60))
    "$build/troupe" run "$build/samples/$1.so" --data "$dir/$2" --input "$dir/$3" --output "$dir/$4" \
        --until-idle=timers 2>>"$dir/log" &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ "$(cat "$dir/$4" 2>/dev/null | wc -l)" -lt "$5" ]; do
        if [ $SECONDS -ge $end ]; then
            echo "FAILED: not $5 lines after 60 s"
            exit 1
        fi
        sleep "0.00$((RANDOM % 10))"
    done
    if kill -9 $pid 2>/dev/null; then killed=$((killed + 1)); fi
    wait $pid 2>/dev/null || true
    pid=
}
