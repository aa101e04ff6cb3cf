#!/bin/bash
# directories.sh - whatever a command is given as a directory: it says what is wrong with it, where, and what to do, in one
# line and with a status; and leaves it as it was.
# SPDX-License-Identifier: Apache-2.0
# Environment: BUILD (build).
set -eu
. "$(dirname "$0")/preamble.sh"

greeter=$build/samples/greeter.so
echo '{"to":"demo/greeter/ada","type":"hello"}' >"$dir/in"
"$troupe" run "$greeter" --data "$dir/node" --input "$dir/in" --output "$dir/out" --until-idle 2>"$dir/log"
"$troupe" snapshot create --data "$dir/node" --name first >/dev/null
cp -r "$dir/node/snapshots" "$dir/snapshots"
echo hello >"$dir/file"
mkdir "$dir/empty" "$dir/other" "$dir/closed"
echo hello >"$dir/other/file"
cp "$dir/node/tables.mdb" "$dir/closed"
chmod 0 "$dir/closed"

# What stands in the place of a directory, and what is said of it.
places=(
    "none|No such file or directory; name the directory of a node or a troupe"
    "file|is a file, not the directory of a node or a troupe"
    "file/none|Not a directory; name the directory of a node or a troupe"
    "empty|is empty: no node has run there"
    "other|is not a node's directory: it has neither tables.mdb nor cluster.yaml"
    "snapshots|holds snapshots, not a node or a troupe: see troupe snapshot list --to, and troupe restore"
    "snapshots/first|is a snapshot, not the directory of a node: see troupe snapshot show, and troupe restore"
    "closed|cannot be looked into: it belongs to"
)
# The status, and the command; DIR is the place.
commands=(
    "1 wait --idle --timeout 20 --data DIR"
    "1 stats --data DIR"
    "1 stats --watch --data DIR"
    "1 actors --data DIR"
    "1 state demo/greeter/ada --data DIR"
    "1 mailbox demo/greeter/ada --data DIR"
    "1 timers --data DIR"
    "1 jobs --data DIR"
    "1 dead list --data DIR"
    "1 dead retry 1 --data DIR"
    "1 tail greetings --data DIR"
    "1 send demo/greeter/ada hello --data DIR"
    "1 ask demo/greeter/ada hello --data DIR"
    "1 cluster status --data DIR"
    "1 snapshot create --data DIR"
    "1 snapshot create --to - --data DIR"
    "1 snapshot list --data DIR"
    "1 snapshot cuts --data DIR"
    "1 snapshot show first --data DIR"
    "1 snapshot verify first --data DIR"
    "1 snapshot delete first --data DIR"
    "1 restore --at -1m --from DIR --data $dir/new"
    "3 doctor --data DIR"
    "3 doctor DIR"
)
as_user=()
if [ "$(id -u)" = 0 ]; then # Whom nothing is closed to.
    as_user=(setpriv --reuid=65534 --clear-groups)
    "${as_user[@]}" "$troupe" --version >/dev/null 2>&1 || as_user=() # It may stand where nobody else gets at it.
    chmod -R a+rX "$dir"
    chmod 0 "$dir/closed"
fi

: >"$dir/said"
state_of() { (cd "$dir" && find . -path ./said -o -printf '%p %m %s %T@\n' | sort); }
before=$(state_of)
count=0
for place in "${places[@]}"; do
    path=$dir/${place%%|*} text=${place#*|} prefix=()
    if [ "${place%%|*}" = closed ] && [ "$(id -u)" = 0 ]; then
        [ ${#as_user[@]} -gt 0 ] || continue
        prefix=("${as_user[@]}")
    fi
    for command in "${commands[@]}"; do
        status=0
        read -ra words <<<"${command#* }"
        "${prefix[@]}" "$troupe" "${words[@]//DIR/$path}" >"$dir/said" 2>&1 </dev/null || status=$?
        [ $status = "${command%% *}" ] || fail "troupe ${words[*]//DIR/$path}: status $status"
        grep -qF "$path $text" "$dir/said" || grep -qF "$path: $text" "$dir/said" ||
            fail "troupe ${words[*]//DIR/$path} does not say: $text"
        [ "$(wc -l <"$dir/said")" = 1 ] || fail "troupe ${words[*]//DIR/$path} says more than one line"
        count=$((count + 1))
    done
done
status=0
"$troupe" run "$greeter" --data "$dir/snapshots/first" >"$dir/said" 2>&1 || status=$?
[ $status = 2 ] && grep -q 'a snapshot is no place for a node' "$dir/said" || fail "run on a snapshot: status $status"
[ "$(state_of)" = "$before" ] || fail "something was changed: $(diff <(echo "$before") <(state_of))"
ok "${#commands[@]} commands on ${#places[@]} places that are none of a node: $count clear refusals, nothing changed"
