#!/bin/bash
# man.sh - the manual page knows every command and every option that --help lists, and is well formed.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build).
set -eu
troupe=${BUILD:-build}/troupe
page=docs/troupe.1
missing=0
miss() {
    echo "FAILED: $page has no $1: add it"
    missing=1
}
for command in $("$troupe" help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    grep -q "^\.Cm $command" $page || miss "command $command"
    for option in $("$troupe" help "$command" | sed -n 's/^  --\([a-z-]*\).*/\1/p'); do
        grep -q "Fl -$option\b" $page || miss "option --$option of $command"
    done
done
if command -v mandoc >/dev/null; then
    mandoc -Tlint -Wwarning $page || missing=1
elif command -v man >/dev/null; then
    said=$(MANROFFSEQ='' LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z $page 2>&1 >/dev/null)
    [ -z "$said" ] || miss "well-formed text: $said"
fi
[ $missing = 0 ] && echo "the manual page is complete"
