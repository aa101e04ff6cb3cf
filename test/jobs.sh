#!/bin/bash
# jobs.sh - jobs of a real node: killed while they run, they run again, and each result comes once; one that crashes the
# process fails; a node that stops does not wait for long ones.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

node=

# traced ATTEMPT COUNT: so many jobs have begun that often.
traced() { [ "$(grep -c " $1\$" "$dir/trace")" -ge "$2" ]; }

command=("$build/troupe" run "$dir/jobs.so" --data "$dir/data" --input "$dir/in" --output "$dir/out" --workers 4)
start() {
    "${command[@]}" 2>>"$dir/log" &
    node=$!
}
run() { timeout 120 "${command[@]}" --until-idle 2>>"$dir/log" || fail "troupe run ended with status $?"; }

# Sanitizers catch the signals themselves: there the plain crash is what is tested.
export ASAN_OPTIONS=handle_segv=0:handle_abort=0:detect_leaks=0 TSAN_OPTIONS=handle_segv=0:${TSAN_OPTIONS:-}
export JOBS_TRACE=$dir/trace JOBS_GATE=$dir/gate
mkfifo "$dir/never"
: >"$dir/trace"
${CC:-cc} -shared -fPIC -Icore -o "$dir/jobs.so" test/module/jobs.c

count=40
for n in $(seq $count); do echo "{\"to\":\"test/jobs/a$((n % 7))\",\"type\":\"square\",\"body\":{\"n\":$n}}"; done >"$dir/in"

# Killed twice while four jobs run and the others wait; stopped once.
for attempt in 1 2; do
    start
    wait_for -p "$node" traced $attempt 4
    kill -9 $node
    wait $node 2>/dev/null || true
done
start
wait_for -p "$node" traced 3 4
kill -TERM $node
wait $node || fail "stopped by SIGTERM it ended with status $?"
node=
[ ! -s "$dir/out" ] || fail "a result came out of a job that had not ended"
touch "$dir/gate"
run
for n in $(seq $count); do
    [ "$(grep -c "\"message\":\"squared\",\"attempts\":[0-9]*,\"body\":{\"n\":$n,\"square\":$((n * n))}" "$dir/out")" = 1 ] ||
        fail "no or more than one square of $n"
done
[ "$(wc -l <"$dir/out")" = $count ] || fail "wanted $count records, not $(wc -l <"$dir/out")"
grep -q '"attempts":4,' "$dir/out" || fail "no result says that its job was begun four times"
"$build/troupe" stats --data "$dir/data" | grep -Pq '^jobs\t0$' || fail "jobs are left: $("$build/troupe" stats --data "$dir/data")"

# A poison job costs one job; one that fails is tried again, then its actor is told.
{
    echo '{"to":"test/jobs/x","type":"crash"}'
    echo '{"to":"test/jobs/y","type":"fail"}'
    echo '{"to":"test/jobs/z","type":"square","body":{"n":9}}'
} >>"$dir/in"
: >"$dir/log"
run
[ "$(grep -c "job [0-9]* 'crash' of test/jobs/x crashed the node: signal 11" "$dir/log")" = 3 ] || fail "it did not crash three times"
grep -q 'in jobs.so+0x' "$dir/log" || fail "no backtrace"
grep -q '"key":"x","body":{"message":"troupe.job-failed",.*"job":"crash","reason":"crashed the node 3 times: signal 11' "$dir/out" ||
    fail "the actor was not told of the crash"
grep -q '"key":"y","body":{"message":"troupe.job-failed",.*"reason":"attempt [0-9]* failed as told"' "$dir/out" ||
    fail "the actor was not told of the failure"
grep -q '"square":81' "$dir/out" || fail "the job beside the crash did not come back"
[ "$(wc -l <"$dir/out")" = $((count + 3)) ] || fail "wanted $((count + 3)) records, not $(wc -l <"$dir/out")"
echo "$count jobs, killed twice and stopped once, came back once each; a poison job cost one job"
