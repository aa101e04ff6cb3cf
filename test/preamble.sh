# preamble.sh - what every script of the tests begins with; sourced.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Environment: BUILD (build), TROUPE_SEED (of RANDOM), TROUPE_KEEP=1 (keep the directory; after a failure it is kept).
#
# Sets `build` (absolute), `troupe` (the command), `seed` and `dir`, a directory that is removed at the end, when
# what still runs of this script is killed. What else is to be undone then: a function `at_exit`.

build=${BUILD:-build}
case $build in /*) ;; *) build=$PWD/$build ;; esac
# shellcheck disable=SC2034
troupe=$build/troupe
seed=${TROUPE_SEED:-$((RANDOM + 1))}
RANDOM=$seed
dir=$(mktemp -d "${TMPDIR:-/tmp}/troupe-$(basename "$0" .sh).XXXXXX")

finish() {
    local status=$? running
    [ $BASHPID = $$ ] || return # A command that is killed before it has taken the shell's place.
    trap - EXIT
    running=$(jobs -p)
    # shellcheck disable=SC2086
    [ -z "$running" ] || { kill -9 $running; wait; } 2>/dev/null || true
    ! declare -F at_exit >/dev/null || at_exit
    if [ $status != 0 ] || [ -n "${TROUPE_KEEP:-}" ]; then
        echo "kept: $dir (TROUPE_SEED=$seed)"
    else
        rm -rf "$dir"
    fi
    exit $status
}
trap finish EXIT

# fail TEXT..: with the ends of the files where scripts keep what was said.
fail() {
    local file
    echo "FAILED: $* (TROUPE_SEED=$seed)"
    for file in "$dir"/log* "$dir"/said "$dir"/out "$dir"/err "$dir"/stdout "$dir"/error; do
        [ ! -f "$file" ] || tail -n 20 "$file" | sed 's/^/    /'
    done
    exit 1
}

# ok TEXT..: what was shown.
ok() { echo "ok: $*"; }

# wait_for [-p PID] COMMAND..: until it succeeds, for at most deadline_s (60) seconds, and only while the process is there.
wait_for() {
    local end=$((SECONDS + ${deadline_s:-60})) process=
    if [ "$1" = -p ]; then
        process=$2
        shift 2
    fi
    until "$@"; do
        [ $SECONDS -lt $end ] || fail "waited in vain for: $*"
        [ -z "$process" ] || kill -0 "$process" 2>/dev/null || fail "the process ended while it was waited for: $*"
        sleep 0.02
    done
}
