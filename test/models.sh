#!/bin/bash
# models.sh - the protocols' models (test/models), each checked exhaustively, and each rule shown to be needed: a mutant
# that leaves it out must be found.
# SPDX-License-Identifier: Apache-2.0
set -eu
if ! command -v spin >/dev/null; then
    echo "skipped: spin is not installed (Debian: apt-get install spin)"
    exit 0
fi
. "$(dirname "$0")/preamble.sh"

models=$PWD/test/models
cd "$dir"
failed=0

# check holds|violated MODEL OPTIONS...
check() {
    local expected=$1 model=$2 errors optimize=-O1
    shift 2
    [ "$expected" = holds ] || optimize=-O0 # it is found soon: compiling takes longer
    spin -a "$@" "$models/$model.pml" >/dev/null && ${CC:-cc} $optimize -w -DSAFETY -DHC4 -o pan pan.c &&
        ./pan -m5000 >out 2>&1 || true
    errors=$(sed -n 's/.*errors: \([0-9]*\).*/\1/p' out)
    case $expected-${errors:-none} in
    holds-0 | violated-1) ;;
    *)
        echo "$model $*: must be: $expected; errors found: ${errors:-none, it did not run}"
        failed=1
        ;;
    esac
    rm -f pan pan.c out ./*.trail
}

# Exactly-once links and cuts by colour: any released frame arrives any time, any number of times, or never.
two=(-DN=2 -DMAXM=2 -DMAXS=1 -DMAXC=1)
check holds snapshot "${two[@]}" -DNOPAY
check holds snapshot "${two[@]}" -DNOPAY -DMAXR=1
check holds snapshot -DN=3 -DMAXM=1 -DMAXS=1 -DMAXC=0 -DNOPAY
for rule in UNCOL_ACK UNCOL_DATA VOLCOL RECUT EARLYREL EARLYACK NOGAP NODURCOL; do
    check violated snapshot "${two[@]}" -D$rule
done
check violated snapshot "${two[@]}" -DMAXR=1 -DNOTIMELINE

# An older copy of a node's directory, put back: it is noticed before either side builds on what the other does not have.
check holds rollback -DM=1 -DROLLA
check holds rollback -DM=1 -DROLLA -DSA=2 -DSB=2
check holds rollback -DM=1 -DROLLB -DSA=1 -DSB=3
for rule in SENT START LATE; do
    check violated rollback -DM=1 -DROLLA -D$rule
done

# Why not markers: they hold only on connections that never break.
check holds snapshot_fifo -DNODISC
check violated snapshot_fifo
check violated snapshot_fifo -DRESEND
check violated snapshot_fifo -DSEQMARK

# A node's directory has one owner: only a fence in the store itself is safe.
check holds fence -DSHARED -DTXNCHECK
check holds fence -DSEAL
check violated fence -DSHARED
check violated fence -DRXFENCE

# Moving a slot as messages.
check holds migrate -DK=4
check violated migrate -DK=4 -DNOCLOSE
check violated migrate -DK=4 -DUNCOL
check violated migrate -DK=4 -DSIDE
[ $failed = 0 ] && echo "all models hold, all mutants are found"
exit $failed
