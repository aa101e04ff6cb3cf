#!/bin/bash
# endpoint.sh - clients of a running node: see endpoint.py.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

export ASAN_OPTIONS=detect_leaks=0
${CC:-cc} -shared -fPIC -Icore -o "$dir/talker.so" test/module/talker.c
# Debian's own: that is where python3-zmq and python3-msgpack are.
/usr/bin/python3 test/endpoint.py "${BUILD:-build}/troupe" "$dir"
