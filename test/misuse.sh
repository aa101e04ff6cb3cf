#!/bin/bash
# misuse.sh - handlers and jobs that do what they must not cost their own message, which says why; all others go on.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

node=
logged() { grep -Eq -- "$1" "$dir/log"; }

# Sanitizers catch signals and double frees themselves: there the plain crash is what is tested.
export ASAN_OPTIONS=handle_segv=0:handle_abort=0:detect_leaks=0:abort_on_error=1
export TSAN_OPTIONS=handle_segv=0:handle_abort=0:abort_on_error=1:${TSAN_OPTIONS:-}
export MISUSE_GATE=$dir/gate
mkfifo "$dir/never"
${CC:-cc} -std=c11 -D_GNU_SOURCE -O0 -w -shared -fPIC -Icore -o "$dir/misuse.so" test/module/misuse.c
# message KEY TYPE
message() { echo "{\"to\":\"test/misuse/$1\",\"type\":\"$2\"}"; }
command=("$build/troupe" run "$dir/misuse.so" --data "$dir/data" --input "$dir/in" --output "$dir/out")

# Each wrong call fails its delivery, though the handler returns TROUPE_OK; its text is in the dead letter.
wrong='negative:a delay of -1 ms is not within 0 and ten years
century:a delay of [0-9]* ms is not within 0 and ten years
no-timeout:a timeout of 0 ms is not at least 1
open-format:troupe_pack: .*[{].*
wrong-letter:troupe_pack: .*q
unpack-letter:.*column 2: not a letter
stranger:value .stranger. is not declared by type .test/misuse.
other-kind:value .number. is declared as another kind than it is set as
no-name:message name .. must have 1 to 63 bytes
no-slash:type .misuse. is not namespace/name of at most 63 bytes
no-key:key .* has 0 bytes and must have 1 to 255
no-egress:egress .. must have 1 to 63 bytes
odd-result:the handler returned 99, which is no enum troupe_error'
echo "$wrong" | while IFS=: read -r type _; do message "k-$type" "$type"; done >"$dir/in"
message after fine >>"$dir/in"
timeout 60 "${command[@]}" --until-idle 2>"$dir/log" || fail "wrong calls: status $?"
"$build/troupe" dead list --data "$dir/data" >"$dir/dead"
echo "$wrong" | while IFS=: read -r type text; do
    logged "dead letter: test/misuse/k-$type .*: $text" || fail "$type: the log does not say: $text"
    grep -q "k-$type" "$dir/dead" || fail "$type: no dead letter"
done
[ "$(cat "$dir/out")" = '{"egress":"out","seq":1,"key":"after","body":null}' ] || fail "the message behind all these: $(cat "$dir/out")"
echo "$(echo "$wrong" | wc -l) wrong calls, each with its text"

# Each of these ends the process, three times, and then only its message.
for type in write-const:'signal 11' recurse:'signal 11' double-free:'signal 6' exit:'it called exit'; do
    text=${type#*:} type=${type%%:*}
    case $(nm -D "$build/libtroupe.so" | grep -o '__[at]san_init' || true):$type in
    ?*:double-free | __tsan_init:recurse) continue ;; # the sanitizer's own malloc and stack
    esac
    message "k-$type" "$type" >>"$dir/in"
    message "after-$type" fine >>"$dir/in"
    timeout 60 "${command[@]}" --until-idle 2>"$dir/log" || fail "$type: status $?"
    [ "$(grep -c "handler of test/misuse/k-$type message '$type' crashed the node: $text" "$dir/log")" = 3 ] ||
        fail "$type: it did not crash three times"
    logged "dead letter: test/misuse/k-$type .*crashed the node 3 times: $text" || fail "$type: no dead letter"
    grep -q "\"key\":\"after-$type\"" "$dir/out" || fail "$type: what stood behind it did not come"
    echo "$type: $text"
done

# Jobs: one that ends the process, one that packs wrong.
message job job-exit >>"$dir/in"
message job job-format >>"$dir/in"
timeout 60 "${command[@]}" --until-idle 2>"$dir/log" || fail "jobs: status $?"
[ "$(grep -c "job [0-9]* 'exits' of test/misuse/job crashed the node: it called exit" "$dir/log")" = 3 ] || fail "exit of a job"
grep -q '"key":"job","body":{"job":"exits","reason":"crashed the node 3 times: it called exit' "$dir/out" ||
    fail "the actor was not told of its job's exit"
grep -q '"key":"job","body":{"job":"format","reason":"troupe_job_pack: ' "$dir/out" || fail "a job's wrong format has no text"
echo "jobs: exit and a wrong format are told to the actor"

# What does not return is reported while it runs. A handler stops everything, so only the second signal ends it.
message j job-forever >>"$dir/in"
"${command[@]}" --slow 0.4 2>"$dir/log" &
node=$!
wait_for -p "$node" logged "job [0-9]* 'forever' of test/misuse/j has been running for"
message h forever >"$dir/in2"
touch "$dir/gate"
kill -TERM $node
wait $node || fail "SIGTERM: status $?"
rm "$dir/gate"
command[6]=$dir/in2
"${command[@]}" --slow 0.4 2>"$dir/log" &
node=$!
wait_for -p "$node" logged "handler of test/misuse/h message 'forever' has been running for"
kill -TERM $node
wait_for -p "$node" logged "has been running for 0.8 s"
kill -TERM $node
status=0
wait $node || status=$?
node=
[ $status = 1 ] && logged "told to stop again" || fail "the second SIGTERM: status $status"
touch "$dir/gate"
timeout 60 "${command[@]}" --until-idle 2>"$dir/log" || fail "after that: status $?"
"$build/troupe" doctor --data "$dir/data" >"$dir/log" || fail "doctor"
echo "what does not return is reported, and ended by a second signal"
