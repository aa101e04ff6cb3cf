#!/bin/bash
# nodes_keys.sh - a troupe with keys, and one that has come to rest: see nodes_clients.py.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

export ASAN_OPTIONS=detect_leaks=0
${CC:-cc} -shared -fPIC -Icore -o "$dir/talker.so" test/module/talker.c
# Debian's own: that is where python3-zmq and python3-msgpack are.
/usr/bin/python3 test/nodes_clients.py "$troupe" "$dir" \
    wait_and_status_know_what_is_under_way who_has_no_key_that_is_listed_gets_nothing \
    keys_are_taken_up_while_nodes_run without_keys_only_this_machine_is_let_in
