#!/bin/bash
# two.sh - two of a command at a time: one of them does it, the other is refused and says so, and nothing is harmed.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

module=$build/samples/greeter.so
pids=()
at_exit() { for pid in "${pids[@]}"; do kill -9 "$pid" 2>/dev/null; done; }
for i in 1 2 3; do echo "{\"to\":\"demo/greeter/u$i\",\"type\":\"hello\"}"; done >"$dir/in"
"$troupe" run "$module" --data "$dir/one" --input "$dir/in" --output "$dir/records" --until-idle 2>"$dir/log" || fail "the run"
"$troupe" snapshot create --data "$dir/one" --name base >"$dir/said" || fail "the snapshot"

# both TEXT COMMAND..: two at a time, twenty times. `DIR` is a new directory each time. One is done, the other one says
# TEXT or, having come later, that it exists already.
both() {
    local text=$1 round done_count status i
    shift
    for ((round = 0; round < 20; round++)); do
        rm -rf "$dir/new"
        mkdir "$dir/new"
        pids=()
        for i in 1 2; do
            "$troupe" "${@//DIR/$dir/new}" <"$dir/changes" >"$dir/said$i" 2>"$dir/err$i" &
            pids+=($!)
        done
        done_count=0
        for i in 1 2; do
            status=0
            wait "${pids[i - 1]}" || status=$?
            [ $status != 0 ] || { done_count=$((done_count + 1)); continue; }
            [ $status = 1 ] && grep -Eq "$text|exists already" "$dir/err$i" || { cp "$dir/err$i" "$dir/log"; fail "$1 $2, round $round: status $status"; }
        done
        pids=()
        [ $done_count = 1 ] || fail "$1 $2, round $round: $done_count of two were done"
    done
}
echo '{"do":"set","actor":"demo/greeter/u1","value":"count","data":7}' >"$dir/changes"
both 'another process is writing' snapshot edit "$dir/one/snapshots/base" DIR/edited
"$troupe" snapshot verify "$dir/new/edited" >"$dir/said" 2>&1 || fail "what one of two wrote"
both 'another process is writing' restore "$dir/one/snapshots/base" --data DIR/restored
"$troupe" doctor "$dir/new/restored" >"$dir/said" 2>&1 || fail "what one of two restored"
both 'another process is writing|process .* uses it|does not listen' snapshot create --data "$dir/one" --to DIR --name once
"$troupe" snapshot verify "$dir/new/once" >"$dir/said" 2>&1 || fail "what one of two photographed"
both 'exists already' cluster init --nodes 3 --keys DIR/cluster.yaml
both 'exists already' keygen DIR/key
ok "edit, restore, create, cluster init, keygen: one of two at a time does it, and all of it"

# hold PATH: lock the directory, as a process that writes it does.
hold() {
    : >"$dir/holds"
    python3 -c 'import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)' "$1" >"$dir/holds" &
    pids=($!)
    wait_for -p $! grep -q held "$dir/holds"
}
let_go() {
    { kill -9 "${pids[0]}" && wait "${pids[0]}" || true; } 2>/dev/null
    pids=()
}

# A snapshot that is being written is not thrown away by another one of its name; what a crash left is.
mkdir "$dir/new/held.writing"
hold "$dir/new/held.writing"
status=0
"$troupe" snapshot edit "$dir/one/snapshots/base" "$dir/new/held" <"$dir/changes" >"$dir/said" 2>"$dir/err" || status=$?
[ $status = 1 ] && grep -q 'another process is writing .*held.writing: wait for it' "$dir/err" || fail "it is being written"
[ -d "$dir/new/held.writing" ] || fail "it was thrown away"
# Others that a crash left are told of, and removed by the next create; never one that somebody writes.
mkdir "$dir/new/dead.writing" && echo part >"$dir/new/dead.writing/node-node.part"
echo half >"$dir/new/dead.writing/manifest.new"
mkdir "$dir/new/letter.writing" && echo dear >"$dir/new/letter.writing/draft" # Of somebody else.
"$troupe" snapshot list --to "$dir/new" >"$dir/said" 2>"$dir/err" || fail "a list"
grep -q 'list: held.writing is no snapshot: it is being written' "$dir/err" || fail "one that is being written is not told"
grep -q 'list: dead.writing is no snapshot: what made or deleted it was killed' "$dir/err" || fail "one that is left is not told"
! grep -q writing "$dir/said" || fail "they are listed"
[ -e "$dir/new/dead.writing/node-node.part" ] || fail "a list removes something"
"$troupe" snapshot create --data "$dir/one" --to "$dir/new" --name next >"$dir/said" 2>"$dir/err" || fail "a create beside them"
grep -q 'create: dead.writing is removed: what made or deleted it was killed' "$dir/err" || fail "what is removed is not told"
[ ! -e "$dir/new/dead.writing" ] && [ -d "$dir/new/held.writing" ] || fail "the wrong one was removed"
! grep -q letter "$dir/said" "$dir/err" && [ -e "$dir/new/letter.writing/draft" ] || fail "what is no snapshot was meddled with"
status=0
"$troupe" snapshot create --data "$dir/one" --to "$dir/new" --name a.writing >"$dir/said" 2>"$dir/err" || status=$?
[ $status = 2 ] || fail "a snapshot is called as one that is being written"
status=0
"$troupe" snapshot edit "$dir/one/snapshots/base" "$dir/new/b.writing" <"$dir/changes" >"$dir/said" 2>"$dir/err" || status=$?
[ $status = 1 ] && grep -q "nor ending in .writing" "$dir/err" || fail "it does not say how a snapshot may be called"
let_go
"$troupe" snapshot edit "$dir/one/snapshots/base" "$dir/new/held" <"$dir/changes" >"$dir/said" 2>"$dir/err" || fail "it was left by a crash"
ok "what is being written is left alone; what a crash left is not in the way"

# What is being deleted is left alone as well: by another deletion of it, by one of a newer one with its name, and by a
# create, which would take what is half deleted for what a crash left.
refused() { # TEXT COMMAND...
    local text=$1 status=0
    shift
    "$troupe" "$@" >"$dir/said" 2>"$dir/err" || status=$?
    [ $status = 1 ] && grep -q "$text" "$dir/err" || fail "$*: status $status, without '$text'"
}
going=$dir/new/next.deleted.writing
hold "$dir/new/next"
refused 'another process makes or deletes .*next: wait for it' snapshot delete "$dir/new/next"
let_go
cp -r "$dir/new/next" "$going"
hold "$going"
refused 'another process is writing .*next.deleted.writing' snapshot delete "$dir/new/next"
[ -e "$going/manifest" ] && [ -e "$dir/new/next/manifest" ] || fail "one of two deletions took what the other had"
let_go
"$troupe" snapshot delete "$dir/new/next" 2>"$dir/err" || fail "what a crash left keeps it from being deleted"
[ ! -e "$dir/new/next" ] && [ ! -e "$going" ] || fail "something is left"
# delete_half: begin to delete a snapshot and hold that up, unless it was too quick.
delete_half() {
    "$troupe" snapshot create --data "$dir/one" --to "$dir/new" --name next >"$dir/said" 2>"$dir/err" || fail "a create"
    (cd "$dir/new/next" && seq -f 'node-%.0f.part' 2000 | xargs touch) # It takes a moment to be gone.
    "$troupe" snapshot delete "$dir/new/next" 2>"$dir/log" &
    pids=($!)
    until [ -e "$going" ] || ! kill -0 $!; do :; done 2>/dev/null
    kill -STOP $! 2>/dev/null || true
    [ -e "$going" ]
}
wait_for delete_half
"$troupe" snapshot create --data "$dir/one" --to "$dir/new" --name beside >"$dir/said" 2>"$dir/err" || fail "a create beside a deletion"
! grep -q 'is removed' "$dir/err" || fail "a deletion that goes on is taken for a dead one"
kill -CONT "${pids[0]}"
wait "${pids[0]}" || fail "a deletion beside a create: status $?"
pids=()
[ ! -e "$going" ] || fail "something is left"
ok "so is what is being deleted"

# A troupe in one directory: made and run by one supervisor, and by the next one as soon as that is dead.
"$troupe" run "$module" --nodes 2 --data "$dir/troupe" --output "$dir/out" 2>"$dir/log" &
pids=($!)
wait_for -p $! test -S "$dir/troupe/n2/socket"
status=0
"$troupe" run "$module" --nodes 2 --data "$dir/troupe" --output "$dir/out" 2>"$dir/err" || status=$?
[ $status = 1 ] && grep -q "process ${pids[0]} runs a troupe there: stop that one first" "$dir/err" || fail "the second of two supervisors"
kill -TERM "${pids[0]}"
wait "${pids[0]}" || fail "the first of two supervisors: status $?"
pids=()
"$troupe" run "$module" --nodes 2 --data "$dir/troupe" --output "$dir/out" --until-idle 2>"$dir/log" || fail "the next supervisor"
ok "a troupe has one supervisor"
