#!/bin/bash
# bad_input.sh - wrong lines, modules, options and directories, a full disk, a signal: a clear text, nothing lost.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build), TROUPE_KEEP=1 (keep the directory). Each claim is printed; a failure shows the last output.
set -eu
. "$(dirname "$0")/preamble.sh"

mounted=
at_exit() { [ -z "$mounted" ] || umount "$mounted" 2>/dev/null || true; }
pid=
deadline_s=60 # for each wait; what hangs is a failure


# troupe STATUS ARGUMENT...: run the command, demand its exit status; its output is in log and stdout.
troupe() {
    local want=$1 status=0
    shift
    timeout $deadline_s "$build/troupe" "$@" >"$dir/stdout" 2>"$dir/log" || status=$?
    [ $status = "$want" ] || fail "troupe $*: exit status $status, not $want"
}

# greet NAME [ARGUMENT...]: run the greeter on NAME.jsonl until it is idle.
greet() {
    local name=$1
    shift
    troupe 0 run "$build/samples/greeter.so" --data "$dir/$name.data" --input "$dir/$name.jsonl" \
        --output "$dir/$name.out" --until-idle "$@"
}

says() { grep -q -e "$1" "$dir/log" || fail "the log does not say '$1'"; }
count() { grep -c -e "$1" "$2" || true; } # lines of a file that match

hello() { printf '{"to":"demo/greeter/%s","type":"hello"}\n' "$1"; }

# ---- wrong lines -----------------------------------------------------------------------------------------------------

# 1 good, 2 to 5 malformed, 6 unknown member, 7 key too long, 8 a nesting bomb, 9 no address, 10 blank, 11 not UTF-8,
# 12 unknown type, 13 unknown message, 14 another nesting bomb, 15 a key at the limit, 16 good
long_key=$(printf 'k%.0s' {1..256})
{
    hello ada
    echo '{"to":"demo/greeter/bob","type":"hello"'
    echo 'hello'
    echo '[]'
    echo '{"to":"demo/greeter/bob","type":"hello"}}'
    echo '{"to":"demo/greeter/bob","type":"hello","bodi":1}'
    hello "$long_key"
    printf '{"to":"demo/greeter/bob","type":"hello","body":%s}\n' "$(printf '[%.0s' {1..100000})"
    echo '{"to":"greeter","type":"hello"}'
    echo ''
    printf '{"to":"demo/greeter/\377","type":"hello"}\n'
    echo '{"to":"demo/nobody/x","type":"hello"}'
    echo '{"to":"demo/greeter/bob","type":"curse"}'
    printf '{"to":"demo/greeter/bob","type":"hello","body":%s1%s}\n' "$(printf '{"a":%.0s' {1..65})" \
        "$(printf '}%.0s' {1..65})"
    hello "${long_key:1}"
    hello ada
} >"$dir/lines.jsonl"
greet lines
for line in 2 3 4 5 6 7 8 9 11 14; do
    says "line $line: "
done
for line in 1 10 12 13 15 16; do
    ! grep -q "line $line: " "$dir/log" || fail "line $line was refused"
done
[ "$(count 'kept as a dead letter' "$dir/log")" = 10 ] || fail "not 10 lines were refused"
ok "10 malformed lines are named by number, the nesting bombs and the key of 256 bytes among them"
says "no actor type 'demo/nobody'"
says 'a greeter knows no message'
ok "an unknown actor type and an unknown message become dead letters"
[ "$(wc -l <"$dir/lines.out")" = 3 ] && [ "$(count 'Hello, ada!' "$dir/lines.out")" = 2 ] || fail "not 3 greetings"
ok "the other lines are processed, exit status 0"
greet lines
[ "$(wc -l <"$dir/lines.out")" = 3 ] || fail "a second run did something again"
! grep -q 'dead letter:\|kept as' "$dir/log" || fail "a second run refused lines again"
ok "a second run does none of it again"

# A file as Windows writes it, of which the last line is being written.
{
    printf '\357\273\277'
    hello bom | sed 's/$/\r/'
    printf '{"to":"demo/greeter/torn","ty'
} >"$dir/torn.jsonl"
for _ in 1 2; do
    greet torn
    says 'line 2: .*: left for the next start'
    ! grep -q 'kept as a dead letter' "$dir/log" || fail "half a line has become a dead letter"
done
printf 'pe":"hello"}' >>"$dir/torn.jsonl"
greet torn
echo >>"$dir/torn.jsonl"
hello whole >>"$dir/torn.jsonl"
greet torn
[ "$(grep -o '"key":"[a-z]*"' "$dir/torn.out" | xargs)" = "key:bom key:torn key:whole" ] || fail "not each line once, in order"
ok "a byte order mark is no error, and a line that is being written is taken in once it is whole"

# ---- an output that is somebody else's, too -------------------------------------------------------------------------

hello ada >"$dir/mine.jsonl"
hello bob >"$dir/theirs.jsonl"
greet mine
troupe 0 run "$build/samples/greeter.so" --data "$dir/theirs.data" --input "$dir/theirs.jsonl" --output "$dir/mine.out" \
    --until-idle
hello ada >>"$dir/mine.jsonl"
cp "$dir/mine.out" "$dir/both.out"
troupe 1 run "$build/samples/greeter.so" --data "$dir/mine.data" --input "$dir/mine.jsonl" --output "$dir/mine.out" \
    --until-idle
says 'behind the [0-9]* bytes that this node has written stand others'
cmp -s "$dir/mine.out" "$dir/both.out" || fail "what another node has written is overwritten"
head -n 1 "$dir/both.out" >"$dir/mine.out"
exec 9<"$dir/mine.out"
flock 9
troupe 1 run "$build/samples/greeter.so" --data "$dir/mine.data" --input "$dir/mine.jsonl" --output "$dir/mine.out" \
    --until-idle
says 'mine.out: another process writes to it'
exec 9<&-
greet mine
[ "$(wc -l <"$dir/mine.out")" = 2 ] || fail "not each record once"
ok "a node overwrites no records of another, and does not write beside it"

# ---- wrong modules and options ---------------------------------------------------------------------------------------

troupe 2 run "$dir/missing.so"
says 'cannot load module'
echo 'text' >"$dir/text.so"
troupe 2 run "$dir/text.so"
says 'cannot load module'
ok "a missing module, and one that is none, is told: exit status 2"
printf 'int nothing_to_see;\n' >"$dir/empty.c"
if ${CC:-cc} -shared -fPIC -o "$dir/empty.so" "$dir/empty.c" 2>/dev/null; then
    troupe 2 run "$dir/empty.so"
    says 'troupe_module'
    ok "a module without the symbol is told: exit status 2"
else
    echo "skipped: module without the symbol: no compiler"
fi

greeter=$build/samples/greeter.so
for options in "" "--nonsense $greeter" "$greeter --data" "$greeter $greeter" "$greeter --log loud" \
    "$greeter --durability maybe" "$greeter --until-idle=never"; do
    # shellcheck disable=SC2086
    troupe 2 run $options
    [ -s "$dir/log" ] || fail "troupe run $options: no text"
done
troupe 2 walk
troupe 2
troupe 0 --help
troupe 0 --version
ok "wrong options: a text, exit status 2"
troupe 1 run "$greeter" --data "$dir/x.data" --input "$dir/missing.jsonl" --until-idle
says 'missing.jsonl'
ok "a missing input is named: exit status 1"
for name in a b c; do hello $name; done >"$dir/anew.in"
again() { troupe "$1" run "$greeter" --data "$dir/anew.data" --input "$dir/anew.in" --output "$dir/anew.out" --until-idle; }
again 0
cp "$dir/anew.in" "$dir/kept.in"
for name in x y z last; do hello $name; done >"$dir/anew.in" # As long as before, and longer.
again 1
says 'anew.in: is not the file that .* bytes were taken from before'
hello d | cat "$dir/kept.in" - >"$dir/anew.in"
again 0
[ "$(wc -l <"$dir/anew.out")" = 4 ] || fail "what was appended to the old file did not come out"
head -n 2 "$dir/kept.in" >"$dir/anew.in"
again 1
says 'anew.in: is shorter than'
ok "an input that was written anew, or has become shorter, is named, and nothing is taken from it"
troupe 1 run "$greeter" --data "$dir/text.so" --until-idle
says 'text.so'
ok "a file for a data directory is named: exit status 1"

# With few descriptors something says so: ZeroMQ, which would abort, is not begun.
for files in 8 12 16 20 24; do
    status=0
    (ulimit -n $files && exec "$build/troupe" run "$greeter" --data "$dir/few.data" --output "$dir/few.out" --until-idle) 2>"$dir/log" ||
        status=$?
    [ $status = 1 ] || fail "with $files open files: exit status $status"
    grep -qi 'too many open files' "$dir/log" || fail "with $files open files: no reason"
done
ok "too few open files are told: exit status 1"

# ---- directories -----------------------------------------------------------------------------------------------------

mkdir "$dir/read-only"
chmod 555 "$dir/read-only"
if touch "$dir/read-only/probe" 2>/dev/null; then
    rm "$dir/read-only/probe" # This user may write all the same; a read-only mount comes below.
else
    troupe 1 run "$greeter" --data "$dir/read-only/data" --until-idle
    says 'read-only'
    ok "a read-only directory is named: exit status 1"
fi

mkfifo "$dir/pipe"
"$build/troupe" run "$greeter" --data "$dir/one.data" --input "$dir/pipe" --output "$dir/one.out" 2>"$dir/one.log" &
pid=$!
exec 9>"$dir/pipe"
hello ada >&9
greeted() { [ -s "$dir/$1.out" ] && [ "$(wc -l <"$dir/$1.out")" -ge "$2" ]; }
wait_for greeted one 1
troupe 1 run "$greeter" --data "$dir/one.data" --until-idle
says 'in use'
ok "a second process on the same directory is refused: exit status 1"
hello ada >&9
wait_for greeted one 2
ok "the first process goes on"

# ---- SIGTERM ---------------------------------------------------------------------------------------------------------

status=0
kill -TERM "$pid"
wait "$pid" || status=$?
pid=
exec 9>&-
[ $status = 0 ] || { cp "$dir/one.log" "$dir/log"; fail "after SIGTERM: exit status $status"; }
hello ada >"$dir/one.jsonl"
greet one
[ "$(count '"count":3' "$dir/one.out")" = 1 ] && [ "$(wc -l <"$dir/one.out")" = 3 ] || fail "it does not count on"
ok "SIGTERM while it waits: exit status 0, and a later run counts on"

for ((i = 0; i < 200000; i++)); do echo '{"to":"demo/greeter/ada","type":"hello"}'; done >"$dir/many.jsonl"
"$build/troupe" run "$greeter" --data "$dir/many.data" --input "$dir/many.jsonl" --output "$dir/many.out" \
    --until-idle 2>"$dir/log" &
pid=$!
wait_for greeted many 1
kill -TERM "$pid"
status=0
wait "$pid" || status=$?
pid=
[ $status = 0 ] || fail "after SIGTERM: exit status $status"
at=$(wc -l <"$dir/many.out")
greet many
[ "$(wc -l <"$dir/many.out")" = 200000 ] && tail -1 "$dir/many.out" | grep -q '"count":200000' ||
    fail "after SIGTERM at line $at the rest is not right"
ok "SIGTERM under load (after $at of 200000 records): exit status 0, and a later run does the rest"

# ---- a full disk -----------------------------------------------------------------------------------------------------

mkdir "$dir/small"
if ! mount -t tmpfs -o size=2m tmpfs "$dir/small" 2>"$dir/mount.log"; then
    echo "skipped: full disk: $(head -1 "$dir/mount.log")"
    exit 0
fi
mounted=$dir/small
bank=$(dirname "$0")/../samples/bank
transfers=60000
awk -v transfers=$transfers -v accounts=1000 -f "$bank/transfers.awk" >"$dir/transfers.jsonl"
awk -v accounts=1000 -f "$bank/audit.awk" >"$dir/audit.jsonl"

# bank STATUS INPUT: run the bank, its data on the small disk.
bank() {
    troupe "$1" run "$build/samples/bank.so" --data "$dir/small/data" --input "$dir/$2.jsonl" \
        --output "$dir/${out:-bank.out}" --until-idle
}
bank 1 transfers
says 'no space'
ok "a full disk ends the node: $(tail -1 "$dir/log")"
bank 1 transfers
says 'no space'
ok "it is still full: the same again"
# Not one block is left, and LMDB's lock files, which it writes through a map, are not there yet.
dd if=/dev/zero of="$mounted/filler" bs=4k 2>/dev/null || true
rm "$mounted"/data/*-lock
bank 1 transfers
says 'no space'
troupe 1 run "$greeter" --data "$mounted/new" --until-idle
says 'no space'
ok "no block is left for the lock files or for a new directory: the same, no signal"
rm -r "$mounted/filler" "$mounted/new"
mount -o remount,size=256m "$mounted"
bank 0 transfers
bank 0 audit
awk -v transfers=$transfers -v accounts=1000 -f "$bank/check.awk" "$dir/bank.out" >"$dir/check" ||
    { cat "$dir/check"; fail "the books are wrong"; }
ok "with more space it goes on, and the books are right: $(tail -1 "$dir/check")"

# The output's disk is full, not the data's.
umount "$mounted"
mount -t tmpfs -o size=1m tmpfs "$mounted"
output() {
    troupe "$1" run "$build/samples/bank.so" --data "$dir/data" --input "$dir/$2.jsonl" \
        --output "$mounted/out" --until-idle
}
output 1 transfers
says '[Nn]o space'
ok "a full disk under the output ends the node"
mount -o remount,size=256m "$mounted"
output 0 transfers
output 0 audit
awk -v transfers=$transfers -v accounts=1000 -f "$bank/check.awk" "$mounted/out" >"$dir/check" ||
    { cat "$dir/check"; fail "the books are wrong"; }
ok "with more space it goes on, and the books are right"

umount "$mounted"
mount -t tmpfs -o ro tmpfs "$mounted"
troupe 1 run "$greeter" --data "$mounted/data" --until-idle
says 'ead-only'
ok "a read-only file system is named: exit status 1"
