#!/bin/bash
# run.sh - run the tests named, as many side by side as there are cores; a failure shows the end of what it printed.
# SPDX-License-Identifier: Apache-2.0
# usage: test/run.sh TEST..    `make test` calls it. Environment: JOBS (cores), VERBOSE=1 (show what passing ones print),
# TROUPE_TEST_MINUTES (60): a test that takes longer hangs, and is killed with all it has started.
# What each test printed stays in $BUILD/log. The last line is `N passed, N failed`.
set -u
export BUILD=${BUILD:-build} VERBOSE=${VERBOSE:-} minutes=${TROUPE_TEST_MINUTES:-60}
export logs=$BUILD/log
mkdir -p "$logs" && rm -f "$logs"/*.failed "$logs"/*.passed

run_one() {
    local log started status=0
    log=$logs/$(basename "$1")
    started=$(date +%s)
    timeout --kill-after=10 "${minutes}m" "$1" >"$log.log" 2>&1 </dev/null || status=$?
    [ $status != 124 ] && [ $status != 137 ] || echo "killed: it hangs, or took more than $minutes minutes" >>"$log.log"
    if [ $status = 0 ]; then
        : >"$log.passed"
        echo "passed: $1 ($(($(date +%s) - started)) s)"
        [ -z "$VERBOSE" ] || sed 's/^/    /' "$log.log"
    else
        : >"$log.failed"
        echo "FAILED: $1 (status $status, log $log.log):" && tail -n 60 "$log.log" | sed 's/^/    /'
    fi
}
export -f run_one

# The long ones first, so that none of them runs alone at the end.
long='/(sim_test|nodes_slow\.sh|nodes_kill\.sh|states_test|backlog\.sh|models\.sh|mutants\.sh|damage_test|snapshot_kill\.sh|cuts\.sh)$'
{
    printf '%s\n' "$@" | grep -E "$long"
    printf '%s\n' "$@" | grep -vE "$long"
} >"$logs/order"
xargs -r -P "${JOBS:-$(nproc)}" -I{} bash -c 'run_one {}' <"$logs/order"
count() { find "$logs" -name "*.$1" | wc -l; }
failed=$(count failed)
echo "$(count passed) passed, $failed failed"
[ "$failed" = 0 ] && [ "$(count passed)" = "$(wc -l <"$logs/order")" ]
