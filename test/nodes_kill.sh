#!/bin/bash
# nodes_kill.sh - a bank on several nodes, killed one by one with SIGKILL, stopped by SIGSTOP; the books are right.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), TROUPE_NODES (4), TROUPE_TRANSFERS (1000 for each), TROUPE_NODE_KILLS (20), TROUPE_SEED (of who is
# killed when), TROUPE_KEEP=1 (keep the directory).
set -eu
. "$(dirname "$0")/preamble.sh"

nodes=${TROUPE_NODES:-4}
kills=${TROUPE_NODE_KILLS:-20}
transfers=${TROUPE_TRANSFERS:-$((kills * 1000))}
accounts=1000
deadline_s=120 # for the whole of it to come to its end; what hangs is a failure
bank=$(dirname "$0")/../samples/bank
pid=
lines() { cat "$dir"/out.* 2>/dev/null | wc -l; }

# start [INPUT...]: start the troupe, the first nodes with these inputs.
start() {
    local inputs=()
    for input in "$@"; do inputs+=(--input "$dir/$input"); done
    "$build/troupe" run "$build/samples/bank.so" --nodes "$nodes" --data "$dir/data" --output "$dir/out" \
        "${inputs[@]}" >>"$dir/log" 2>&1 &
    pid=$!
}
stop() {
    local status=0
    kill -TERM "$pid"
    wait "$pid" || status=$?
    pid=
    [ $status = 0 ] || fail "exit status $status after SIGTERM"
}
# wait_lines COUNT: until so many records are out.
wait_lines() {
    local end=$((SECONDS + deadline_s))
    until [ "$(lines)" -ge "$1" ]; do
        [ $SECONDS -lt $end ] || fail "$(lines) records after $deadline_s s, not $1"
        kill -0 "$pid" 2>/dev/null || fail "the troupe has ended"
        sleep 0.05
    done
}

awk -v transfers="$transfers" -v accounts=$accounts -f "$bank/transfers.awk" >"$dir/transfers"
awk -v accounts=$accounts -f "$bank/audit.awk" >"$dir/audit"
half=$((transfers / 2))
head -$half "$dir/transfers" >"$dir/first"
tail -n +$((half + 1)) "$dir/transfers" >"$dir/second"

echo "$transfers transfers, $nodes nodes, $kills kills, seed $seed"
start first second
killed=0
while [ $killed -lt "$kills" ]; do
    sleep "0.$(printf %03d $((RANDOM % 150)))"
    kill -0 "$pid" 2>/dev/null || fail "the troupe has ended"
    mapfile -t children < <(pgrep -P "$pid" || true)
    [ ${#children[@]} -gt 0 ] || continue
    victim=${children[$((RANDOM % ${#children[@]}))]}
    if [ $((RANDOM % 5)) = 0 ]; then
        kill -STOP "$victim" 2>/dev/null || continue # A node that is away for a while comes back to the same links.
        sleep "0.$(printf %03d $((RANDOM % 500)))"
        kill -CONT "$victim" 2>/dev/null || true
    else
        kill -9 "$victim" 2>/dev/null || continue
        killed=$((killed + 1))
    fi
done
before=$(lines)
wait_lines "$transfers"
end=$((SECONDS + deadline_s)) # Those killed last may not be back yet: their end would be no clean one.
until [ "$(pgrep -c -P "$pid")" = "$nodes" ]; do
    [ $SECONDS -lt $end ] || fail "not all nodes came back"
    sleep 0.05
done
[ "$before" -lt "$transfers" ] || echo "note: all was done before the last kill"
stop

start first second audit
wait_lines $((transfers + accounts))
stop
awk -v transfers="$transfers" -v accounts=$accounts -f "$bank/check.awk" "$dir"/out.* || fail "the books are wrong"
came_back=$(grep -c 'signal 9' "$dir/log" || true)
[ "$came_back" -gt 0 ] || fail "the log does not tell of any node that was killed"
echo "$came_back nodes were killed and came back"
