#!/bin/bash
# bank_kill.sh - a bank that is killed at 50 random moments keeps its books right.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), TROUPE_KILLS (50), TROUPE_TRANSFERS (100000, per round), TROUPE_SEED (of the moments),
# TROUPE_KEEP=1 (keep the directory). A round ends when all transfers are done; rounds go on until there were enough
# kills. Each kill is told with its moment. Four of five hit the supervisor, which takes its node along; the fifth hits
# the node, which the supervisor starts again. Every second round has durability process: SIGKILL must not matter to it.
set -eu
. "$(dirname "$0")/preamble.sh"

kills=${TROUPE_KILLS:-50}
transfers=${TROUPE_TRANSFERS:-100000}
bank=$(dirname "$0")/../samples/bank
pid=
deadline_s=120 # per start; a process that hangs is a failure

start() {
    "$build/troupe" run "$build/samples/bank.so" --data "$dir/data" --input "$dir/$1.jsonl" --output "$dir/out.jsonl" \
        --durability "$durability" --until-idle >>"$dir/log" 2>&1 &
    pid=$!
}

# Wait for the end of the process; sets `status`.
await() {
    local end=$((SECONDS + deadline_s))
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -lt $end ] || { echo "FAILED: not finished after $deadline_s s"; exit 1; }
        sleep 0.01
    done
    status=0
    wait "$pid" 2>/dev/null || status=$?
    pid=
}

must_finish() {
    start "$1"
    await
    [ $status = 0 ] || { tail -20 "$dir/log"; echo "FAILED: troupe run ended with status $status"; exit 1; }
}

# Kill at a random moment; sets `done_with` when the node was quicker.
kill_once() {
    local ms=$((RANDOM % 90)) victim
    start transfers
    sleep "$(printf '0.%03d' $ms)"
    victim=$pid
    if [ $((RANDOM % 5)) = 0 ]; then
        victim=$(cut -d" " -f1 "/proc/$pid/task/$pid/children" 2>/dev/null || true) # It may have ended.
        victim=${victim:-$pid}
    fi
    kill -9 "$victim" 2>/dev/null || true
    if [ "$victim" != "$pid" ]; then
        ms=$ms+node # The supervisor starts it again: it is killed in the middle of that, or of what follows.
        sleep "$(printf '0.%03d' $((RANDOM % 200)))"
        kill -9 "$pid" 2>/dev/null || true
    fi
    status=0
    wait "$pid" 2>/dev/null || status=$?
    case $status in
        137) ;;
        0) done_with=1 ;;
        *) tail -20 "$dir/log"; echo "FAILED: troupe run ended with status $status"; exit 1 ;;
    esac
    pid=
    moments="$moments $ms"
}

awk -v transfers="$transfers" -v accounts=1000 -f "$bank/transfers.awk" >"$dir/transfers.jsonl"
awk -v accounts=1000 -f "$bank/audit.awk" >"$dir/audit.jsonl"
killed=0
round=0
while [ $killed -lt "$kills" ]; do
    round=$((round + 1))
    durability=disk
    [ $((round % 2)) = 1 ] || durability=process
    rm -rf "$dir/data" "$dir/out.jsonl"
    done_with=
    moments=
    before=$killed
    while [ $killed -lt "$kills" ] && [ -z "$done_with" ]; do
        kill_once
        [ -n "$done_with" ] || killed=$((killed + 1))
    done
    must_finish transfers
    must_finish audit
    awk -v transfers="$transfers" -v accounts=1000 -f "$bank/check.awk" "$dir/out.jsonl" >"$dir/check" ||
        { cat "$dir/check"; echo "FAILED: TROUPE_SEED=$seed, round $round ($durability)"; exit 1; }
    echo "round $round ($durability): $((killed - before)) kills, ms:$moments"
    [ $killed -gt "$before" ] || [ $round -lt 20 ] || { echo "FAILED: no kill comes in time"; exit 1; }
done
echo "$killed kills, seed $seed; $(tail -1 "$dir/check")"
