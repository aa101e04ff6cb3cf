#!/bin/bash
# snapshot_kill.sh - snapshots of a bank at full load while its nodes are killed and disks fill up: each that completes is
# good to the cent, the others leave nothing, and the bank does not notice.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh; TROUPE_NODES (4), TROUPE_SNAPSHOT_KILLS (2), a kill during every second snapshot.
set -eu
. "$(dirname "$0")/preamble.sh"

nodes=${TROUPE_NODES:-4}
kills=${TROUPE_SNAPSHOT_KILLS:-2}
snapshots=$((2 * kills))
accounts=1000
# shellcheck disable=SC2034 # preamble.sh reads it
deadline_s=120
bank=$(dirname "$0")/../samples/bank
pid=
start() {
    "$build/troupe" run "$build/samples/bank.so" --nodes "$nodes" --data "$dir/one" --output "$dir/one.out" "$@" \
        >>"$dir/log" 2>&1 &
    pid=$!
}
bytes() { stat -c %s "$dir"/one.out.* 2>/dev/null | awk '{ sum += $1 } END { printf "%.0f", sum }'; } # mawk's %d ends at 2^31.
has_bytes() { [ "$(bytes)" -gt "$1" ]; }
goes_on() { wait_for -p "$pid" has_bytes "$(bytes)"; }
verify() {
    "$build/troupe" snapshot verify "$1" --module "$build/samples/bank.so" --data "$dir/one" >"$dir/said" 2>&1 ||
        fail "snapshot $1 is not good"
}
# Once all nodes are back, a snapshot comes about.
answers() { "$build/troupe" snapshot create --data "$dir/one" --to "$dir/probe" --name "$1" >"$dir/said" 2>&1; }
nothing_left() { # of a failed one
    [ ! -e "$1" ] && [ ! -e "$1.writing" ] || fail "it left $(ls -d "$1"*)"
}
at_exit() { umount "$dir/full" 2>/dev/null || true; }

mkfifo "$dir/in"
awk -v transfers=2000000000 -v accounts=$accounts -f "$bank/transfers.awk" >"$dir/in" &
start --input "$dir/in"
wait_for -p "$pid" has_bytes 10000
probes=0
good=0
failed=0
for ((i = 0; i < snapshots; i++)); do
    "$build/troupe" snapshot create --data "$dir/one" --name "s$i" >"$dir/said" 2>&1 &
    creator=$!
    if [ $((i % 2)) = 1 ]; then # At some moment before, at or after the cut. Not the first node: it has the input.
        for ((k = RANDOM % 400; k > 0; k--)); do :; done
        kill -9 "$(cat "$dir/one/n$((2 + i / 2 % (nodes - 1)))/lock")"
    fi
    if wait $creator; then
        verify "s$i"
        good=$((good + 1))
    else
        nothing_left "$dir/one/snapshots/s$i"
        failed=$((failed + 1))
    fi
    wait_for -p "$pid" answers "p$((probes++))"
done
goes_on
[ $good -ge $((snapshots - kills)) ] || fail "only $good snapshots of $snapshots came about"
echo "$good snapshots of $nodes nodes at full load, good to the cent, $failed ended by a kill, with nothing left"

# A target that is full, or goes away.
mkdir "$dir/full" "$dir/gone"
if mount -t tmpfs -o size=64k none "$dir/full" 2>/dev/null; then
    for i in 1 2 3; do
        ! "$build/troupe" snapshot create --data "$dir/one" --to "$dir/full" --name big >"$dir/said" 2>&1 ||
            fail "it fitted into 64 KiB"
        grep -qi 'no space\|disk full' "$dir/said" || fail "no reason"
        nothing_left "$dir/full/big"
    done
    echo "a full target: the snapshot fails with its reason"
else
    echo "not allowed to mount a small file system here: no full target"
fi
moved=
for i in $(seq 20); do # It may be done before its directory is moved away.
    "$build/troupe" snapshot create --data "$dir/one" --to "$dir/gone" --name "moved$i" >"$dir/said" 2>&1 &
    creator=$!
    until [ -e "$dir/gone/moved$i.writing" ] || ! kill -0 $creator 2>/dev/null; do :; done
    if mv "$dir/gone/moved$i.writing" "$dir/gone/elsewhere" 2>/dev/null; then
        ! wait $creator || fail "a snapshot of a directory that is gone"
        [ -s "$dir/said" ] || fail "no reason"
        nothing_left "$dir/gone/moved$i"
        moved=1
        break
    fi
    wait $creator || fail "no snapshot: exit status $?"
done
[ -n "$moved" ] || fail "no snapshot was slow enough to lose its directory"
echo "a target that goes away: the snapshot fails with its reason"
goes_on
answers last || fail "no snapshot any more"

# The money is all there, in the accounts and on its way.
"$build/troupe" snapshot create --data "$dir/one" --name last >"$dir/said" 2>&1 || fail "no snapshot at the end"
verify last
kill -TERM "$pid"
wait "$pid" || fail "exit status $? after SIGTERM"
pid=
echo "the bank went on all the while, and its money is all there"
