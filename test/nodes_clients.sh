#!/bin/bash
# nodes_clients.sh - clients of a running troupe of several nodes: see nodes_clients.py.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

export ASAN_OPTIONS=detect_leaks=0
${CC:-cc} -shared -fPIC -Icore -o "$dir/talker.so" test/module/talker.c
# Debian's own: that is where python3-zmq and python3-msgpack are.
/usr/bin/python3 test/nodes_clients.py "${BUILD:-build}/troupe" "$dir" \
    any_node_takes_any_ask all_of_a_troupe_is_looked_into asked_again_while_nodes_are_killed
