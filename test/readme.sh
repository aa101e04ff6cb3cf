#!/bin/bash
# readme.sh - the commands in the README do what it says, one after the other, in one directory.
# SPDX-License-Identifier: Apache-2.0
set -eu
. "$(dirname "$0")/preamble.sh"

sed -n '/^```sh$/,/^```$/p' README.md | grep -vE '^(```|make)' | sed 's/  *# .*//' >"$dir/commands"
mkdir "$dir/work"
ln -s "$build" "$dir/work/build"
cd "$dir/work"
# shellcheck disable=SC2086 # $1 may be a pattern: an actor lives on any of the nodes.
out_has() { cat $1 2>/dev/null | grep -q "$2"; }
# lives COMMAND FILE TEXT: what goes on until it is stopped puts that out, and ends well on Ctrl-C.
lives() {
    local pid status=0
    set -m # Else it would not be given SIGINT.
    : >"$dir/stdout"
    eval "exec $1" >>"$dir/stdout" 2>"$dir/log" &
    pid=$!
    set +m
    wait_for -p $pid out_has "$2" "$3"
    kill -INT -- -$pid
    wait $pid || status=$?
    [ $status = 0 ] || [ $status = 130 ] || fail "$1: exit status $status after Ctrl-C"
}
count=0
greet() { "$troupe" send demo/greeter/eve hello --data data || fail "a greeting"; }
while read -r line; do
    count=$((count + 1))
    case $line in
    *\&)
        eval "$line" 2>"$dir/log"
        node=$!
        wait_for -p $node test -S data/socket
        ;;
    *' tail '*)
        until out_has "$dir/stdout" eve; do greet; done & # A tail begins with the next record.
        greeter=$!
        lives "$line" "$dir/stdout" '"key":"eve"'
        wait $greeter
        ;;
    *--watch*) lives "$line" "$dir/stdout" '^deliveries' ;;
    *--nodes*) lives "$line" "out.n?" '"key":"ada"' ;;
    *)
        eval "$line" >"$dir/stdout" 2>"$dir/log" || fail "$line: exit status $?"
        case $line in *' ask '*) grep -q 'Hello, ada' "$dir/stdout" || fail "$line: no answer" ;; esac
        ;;
    esac
done <"$dir/commands"
[ $count -ge 7 ] || fail "only $count commands were found"
kill -TERM "$node"
wait "$node" || fail "the node: exit status $?"
grep -q '"seq":1,"key":"ada"' out.jsonl || fail "the first greeting is not in out.jsonl"
ok "$count commands of the README do what it says"
