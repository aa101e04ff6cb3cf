#!/bin/bash
# tutorial.sh - the tutorial does what it says.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build).
set -eu
dir=$(mktemp -d "${TMPDIR:-/tmp}/troupe-tutorial.XXXXXX")
trap 'rm -rf "$dir"' EXIT
BUILD=$(realpath "${BUILD:-build}") ASAN_OPTIONS=handle_abort=0:detect_leaks=0
export BUILD ASAN_OPTIONS
python3 test/tutorial.py docs/tutorial.md "$PWD" "$dir"
