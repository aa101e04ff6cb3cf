#!/bin/bash
# rooms.sh - each folder includes only what docs/design.md (Rooms) lets it know.
# SPDX-License-Identifier: Apache-2.0
set -eu
failed=0

# includes FOLDER: FILE:LINE:PATH of each include of the files that stand in it, not deeper.
includes() {
    find "$1" -maxdepth 1 -name '*.[ch]' -exec grep -HnoE '^#include ["<][^">]+' {} + | sed 's/#include ["<]//'
}

# knows FOLDER KNOWN...: it includes of our own folders only itself and those.
knows() {
    local folder=$1 others
    [ -n "$(includes "$folder")" ] || { echo "FAILED: $folder includes nothing: is it there?"; failed=$((failed + 1)); }
    others=$(includes "$folder" | grep -E ':(core|mailbox|state|transport|runtime|samples|test)/' || true)
    for known in "$@"; do
        others=$(grep -vE ":$known/[^/]+\$" <<<"$others" || true)
    done
    if [ -n "$others" ]; then
        echo "FAILED: $folder knows only $*:"
        echo "$others"
        failed=$((failed + 1))
    fi
}

# only_in FOLDER HEADER: nobody else includes it.
only_in() {
    local others
    others=$(find core mailbox state transport runtime -name '*.[ch]' -not -path "$1/*" -exec grep -Hn "^#include <$2>" {} + || true)
    if [ -n "$others" ]; then
        echo "FAILED: only $1/ includes <$2>:"
        echo "$others"
        failed=$((failed + 1))
    fi
}

below="core mailbox state transport"
knows core
knows mailbox core
knows state core
knows transport core
# shellcheck disable=SC2086
{
    knows runtime $below
    knows runtime/machine $below runtime
    knows runtime/snapshot $below runtime runtime/machine
    knows runtime/node $below runtime runtime/machine runtime/snapshot
    knows runtime/sim $below runtime runtime/machine runtime/snapshot runtime/node
    knows runtime/cli $below runtime runtime/machine runtime/snapshot runtime/node runtime/sim
}
rooms=" machine snapshot node sim cli "
for room in runtime/*/; do
    case $rooms in
        *" $(basename "$room") "*) ;;
        *) echo "FAILED: nothing says what $room may know"; failed=$((failed + 1)) ;;
    esac
done
only_in state lmdb.h
only_in transport zmq.h
only_in runtime ev.h
[ "$failed" = 0 ] && echo "every folder knows only whom it may"
