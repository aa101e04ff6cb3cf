#!/bin/bash
# stop.sh - Ctrl-C, which a terminal sends to a supervisor and its nodes alike, ends them cleanly at any moment.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh.
set -eu
. "$(dirname "$0")/preamble.sh"

module=$build/samples/greeter.so
pid=
at_exit() { [ -z "$pid" ] || kill -9 -- "-$pid" 2>/dev/null || true; }
# stopped DATA MARK OPTIONS..: run, interrupt the whole group when MARK is there, which says that something is to be
# taken away again.
stopped() {
    local data=$1 mark=$2 status=0
    shift 2
    set -m # A group of its own, as on a terminal.
    "$troupe" run "$module" --data "$data" --output "$dir/out" "$@" 2>"$dir/log" &
    pid=$!
    set +m
    wait_for -p $pid test -e "$mark"
    kill -INT -- "-$pid"
    wait $pid || status=$?
    pid=
    [ $status = 0 ] || fail "interrupted when there was $mark: exit status $status"
    ! grep -q 'level=error' "$dir/log" || fail "interrupted when there was $mark: an error was logged"
    [ -z "$(find "$data" -name socket -o -name endpoint)" ] || fail "interrupted when there was $mark: it left $(find "$data" -name socket -o -name endpoint)"
}
for ((round = 0; round < 12; round++)); do
    stopped "$dir/one" "$dir/one/socket"
    stopped "$dir/one" "$dir/one/endpoint"
done
for ((round = 0; round < 6; round++)); do
    stopped "$dir/three" "$dir/three/n$((RANDOM % 3 + 1))/socket" --nodes 3
done
ok "interrupted 24 times a node, 6 times a troupe of three, as soon as it listened: status 0, and nothing is left"
