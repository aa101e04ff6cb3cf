#!/bin/bash
# demo.sh - transfers money in a bank, kills the process with SIGKILL on the way, and checks the books at the end.
# SPDX-License-Identifier: Apache-2.0
#
# Environment: BUILD (build), TROUPE_TRANSFERS (100000), TROUPE_ACCOUNTS (1000), TROUPE_KILLS (2), TROUPE_SEED (of the
# moments of the kills), TROUPE_KEEP=1 (keep the directory). Exits 0 only if the books are right.
set -eu

build=${BUILD:-build}
transfers=${TROUPE_TRANSFERS:-100000}
accounts=${TROUPE_ACCOUNTS:-1000}
kills=${TROUPE_KILLS:-2}
seed=${TROUPE_SEED:-$((RANDOM + 1))}
RANDOM=$seed
deadline_s=300 # per start; a process that hangs is a failure

here=$(dirname "$0")
dir=$(mktemp -d "${TMPDIR:-/tmp}/troupe-bank.XXXXXX")
pid=
finish() {
    status=$?
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
    if [ $status != 0 ] || [ -n "${TROUPE_KEEP:-}" ]; then
        echo "kept: $dir (seed $seed)"
    else
        rm -rf "$dir"
    fi
}
trap finish EXIT

lines() {
    if [ -f "$dir/out.jsonl" ]; then wc -l <"$dir/out.jsonl"; else echo 0; fi
}

# run INPUT [LINES]: run the bank on INPUT until it is idle; with LINES, kill it soon after that many lines came out.
# Sets `outcome` to "killed" or "finished".
run() {
    "$build/troupe" run "$build/samples/bank.so" --data "$dir/data" --input "$dir/$1" --output "$dir/out.jsonl" \
        --until-idle >>"$dir/log" 2>&1 &
    pid=$!
    outcome=finished
    local end=$((SECONDS + deadline_s))
    while kill -0 "$pid" 2>/dev/null; do
        if [ -n "${2:-}" ] && [ "$(lines)" -ge "$2" ]; then
            sleep "0.0$((RANDOM % 5))$((RANDOM % 10))"
            if kill -9 "$pid" 2>/dev/null; then outcome=killed; fi
            break
        fi
        if [ $SECONDS -ge $end ]; then
            echo "FAILED: not finished after $deadline_s s"
            exit 1
        fi
        sleep 0.01
    done
    local status=0
    wait "$pid" 2>/dev/null || status=$?
    pid=
    if [ $status = 137 ] && [ $outcome = killed ]; then
        return 0
    fi
    outcome=finished # It was quicker than the kill.
    if [ $status != 0 ]; then
        tail -20 "$dir/log"
        echo "FAILED: troupe run ended with status $status"
        exit 1
    fi
}

awk -v transfers="$transfers" -v accounts="$accounts" -f "$here/transfers.awk" >"$dir/transfers.jsonl"
awk -v accounts="$accounts" -f "$here/audit.awk" >"$dir/audit.jsonl"
echo "$transfers transfers between $accounts accounts, $kills kills, seed $seed"

killed=0
for ((i = 1; i <= kills; i++)); do
    run transfers.jsonl $((transfers * i / (kills + 1)))
    if [ $outcome = finished ]; then
        echo "start $i: finished before it could be killed"
        break
    fi
    killed=$((killed + 1))
    echo "start $i: kill -9 after $(lines) lines"
done
if [ "$kills" -gt 0 ] && [ $killed = 0 ]; then
    echo "FAILED: no kill came in time, so nothing is shown; raise TROUPE_TRANSFERS"
    exit 1
fi
run transfers.jsonl
echo "last start: ran to the end, $(lines) lines"
run audit.jsonl
echo "audit: every account was asked for its balance"
awk -v transfers="$transfers" -v accounts="$accounts" -f "$here/check.awk" "$dir/out.jsonl"
