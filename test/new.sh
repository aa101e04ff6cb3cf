#!/bin/bash
# new.sh - a new project builds, runs and passes its test: against the build tree, and against what was installed.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build).
set -eu
. "$(dirname "$0")/preamble.sh"

root=$PWD
cd "$dir"

# refused STATUS TEXT ARGUMENTS..: `troupe new ARGUMENTS` ends with that status and text.
refused() {
    local wanted=$1 text=$2 status=0
    shift 2
    "$build/troupe" new "$@" >"$dir/log" 2>&1 || status=$?
    [ $status = "$wanted" ] || fail "troupe new $* ended with status $status, not $wanted"
    grep -q -- "$text" "$dir/log" || fail "troupe new $* does not say: $text"
}

ln -s "$root" "$dir/the root" # Where it was built there may be a space in the path.
ln -s "$build" "$dir/the build"
export MAKEFLAGS='' ASAN_OPTIONS=detect_leaks=0
"$build/troupe" new first >"$dir/log"
make -C first test CC="${CC:-cc}" CFLAGS="-Wall -Wextra -Werror -O1" TROUPE_DIR="$dir/the root" TROUPE_BUILD="$dir/the build" \
    >"$dir/log" 2>&1 || fail "the test of a new project"
grep -q '^passed$' "$dir/log" || fail "the new project's test says nothing"
make -C first run TROUPE_DIR="$dir/the root" TROUPE_BUILD="$dir/the build" >"$dir/log" 2>&1 || fail "make run"
[ "$(wc -l <first/out.jsonl)" = 3 ] || fail "make run put out $(wc -l <first/out.jsonl) records"
make -C first clean >/dev/null TROUPE_DIR="$root"
# Its test can fail.
sed -i 's/total += amount/total += 2 * amount/' first/first.c
! make -C first test TROUPE_DIR="$root" TROUPE_BUILD="$build" >"$dir/log" 2>&1 || fail "its test cannot fail"

# Whoever runs it says who may write its files.
(umask 027 && "$build/troupe" new third >"$dir/log")
[ "$(stat -c %a third/test.sh third/third.c | xargs)" = "750 640" ] || fail "modes: $(stat -c '%a %n' third/*)"

# Installed, and found by pkg-config and PATH alone.
make -C "$root" BUILD="$build" PREFIX="$dir/prefix" install >"$dir/log" 2>&1 || fail "make install"
export PATH=$dir/prefix/bin:$PATH PKG_CONFIG_PATH=$dir/prefix/lib/pkgconfig
troupe new second_1 >"$dir/log"
make -C second_1 test >"$dir/log" 2>&1 || fail "the test of a new project with an installed Troupe"
PKG_CONFIG_PATH=/nowhere PKG_CONFIG_LIBDIR=/nowhere make -C second_1 clean all >"$dir/log" 2>&1 && fail "built without Troupe"
grep -q 'Troupe is not installed' "$dir/log" || fail "make does not say that Troupe is missing"

refused 1 'is there already' first
[ -f first/Makefile ] || fail "refusing removed the directory"
for name in '' . .. a/b /tmp/x A 1a a-b 'a b' "$(printf 'x%.0s' {1..41})" ä; do
    refused 2 'a name is lower-case letters' "$name"
done
refused 2 'a name is missing'
refused 2 'one argument too many' a b
[ ! -e a ] || fail "a wrong command line left something behind"
mkdir closed
if [ "$(id -u)" != 0 ]; then
    chmod 555 closed
    (cd closed && refused 1 'Permission denied' x)
fi
echo "a new project builds and runs"
