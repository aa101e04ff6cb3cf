#!/bin/bash
# kept.sh - directories and snapshots in each format that was kept, and in today's, open, hold all they did, and go on.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh. test/fixtures/make.sh makes what is kept.
set -eu
. "$(dirname "$0")/preamble.sh"

deadline_s=60
pid=
# troupe ARGUMENT...: run the command, which must succeed.
troupe() { timeout $deadline_s "$build/troupe" "$@" >"$dir/stdout" 2>"$dir/log" || fail "$format: troupe $*: exit status $?"; }

# finish_node DATA OUTPUT: what waits is let go on; all that the node ever put out must be there, once and in order.
finish_node() {
    KEPT=finish troupe run "$dir/kept.so" --data "$1" --output "$2" --until-idle
    python3 - "$2" "$3" <<'P' || fail "$format: wrong records in $2"
import json, sys
records = []
for record in map(json.loads, open(sys.argv[1])):
    # Where the output stood goes by its path: a directory that was moved puts out again what was not known to be out.
    if sys.argv[2] != "moved" or record not in records:
        records.append(record)
by_egress = {}
for record in records:
    by_egress.setdefault(record["egress"], []).append(record)
for egress, of in by_egress.items():
    first = of[0]["seq"]
    assert first == 1 or sys.argv[2] == "restored", of
    assert [r["seq"] for r in of] == list(range(first, first + len(of))), of
stuck = [r["egress"] + str(r["body"]["n"]) for r in records if r["key"] == "stuck"]
assert stuck == ["stuck1", "after1", "after2", "after3"], stuck
assert by_egress["worked"][0]["body"] == {"said": "this"}, by_egress["worked"]
assert len(by_egress["worked"]) == 1
said = [r["body"]["n"] for r in by_egress.get("say", [])]
assert said == list(range(said[0], said[0] + len(said))) and len(said) > 0, said
P
}

has_lines() { [ "$(cat "$1".n? 2>/dev/null | wc -l)" -ge "$2" ]; }
# finish_troupe DATA OUTPUT WHOLE: every box passes three messages to every peer, in order; after a restore only some.
finish_troupe() {
    local end=$((SECONDS + deadline_s))
    "$build/troupe" run "$dir/kept.so" --nodes 2 --data "$1" --output "$2" >"$dir/stdout" 2>"$dir/log" &
    pid=$!
    if [ "$3" = whole ]; then
        until has_lines "$2" 192; do
            [ $SECONDS -lt $end ] && kill -0 $pid || fail "$format: not all is passed on"
            sleep 0.02
        done
    else
        until "$build/troupe" snapshot create --data "$1" --name end >/dev/null 2>&1 &&
            [ "$("$build/troupe" snapshot show end --data "$1" --json | grep -o '"\(mail\|outbox\)":[0-9]*' | cut -d: -f2 | awk "{ sum += \$1 } END { print sum + 0 }")" = 0 ]; do
            rm -rf "$1/snapshots"
            [ $SECONDS -lt $end ] && kill -0 $pid || fail "$format: not all is passed on"
            sleep 0.02
        done
        troupe snapshot verify end --data "$1" --module "$dir/kept.so"
    fi
    kill -TERM $pid
    wait $pid || fail "$format: exit status $?"
    pid=
    python3 - "$2" "$3" <<'P' || fail "$format: wrong records in $2"
import glob, json, sys
pairs = {}
for path in glob.glob(sys.argv[1] + ".n?"):
    for record in map(json.loads, open(path)):
        pairs.setdefault((record["body"]["from"], record["key"]), []).append(record["body"]["n"])
for pair, numbers in pairs.items():
    assert numbers == [1, 2, 3][-len(numbers):], (pair, numbers)
assert sys.argv[2] != "whole" or (len(pairs) == 64 and all(len(n) == 3 for n in pairs.values())), pairs
P
}

${CC:-cc} -std=c11 -D_GNU_SOURCE -Icore -shared -fPIC -o "$dir/kept.so" test/module/kept.c
BUILD=$build test/fixtures/make.sh "$dir/today" || fail "make.sh"
for kept in "$dir/today" test/fixtures/*.tar.gz; do
    [ -e "$kept" ] || continue
    format=$(basename "$kept" .tar.gz)
    at=$dir/$format
    if [ ! -d "$kept" ]; then
        mkdir "$at"
        tar -C "$at" -xzf "$kept"
    fi
    sed -i "s|@DIR@|$at|" "$at/troupe/cluster.yaml"
    for data in node troupe/n1 troupe/n2; do
        troupe doctor "$at/$data"
    done
    for snapshot in snapshot troupe-snapshot; do
        troupe snapshot verify "$at/$snapshot" --module "$dir/kept.so"
        troupe snapshot check-upgrade "$at/$snapshot" "$dir/kept.so"
    done
    troupe snapshot check-upgrade "$at/node" "$dir/kept.so"
    troupe snapshot check-upgrade "$at/troupe" "$dir/kept.so"
    cp -r "$at/node" "$at/copy"
    troupe snapshot create --data "$at/copy" --to "$at" --name again
    troupe snapshot verify "$at/again" --module "$dir/kept.so"
    finish_node "$at/node" "$at/node.out" "$([ -d "$kept" ] && echo whole || echo moved)"
    troupe restore "$at/snapshot" --data "$at/restored"
    finish_node "$at/restored" "$at/restored.out" restored
    finish_troupe "$at/troupe" "$at/troupe.out" whole
    troupe restore "$at/troupe-snapshot" --data "$at/troupe2"
    finish_troupe "$at/troupe2" "$at/troupe2.out" restored
    echo "ok: $format: directories and snapshots of a node and a troupe hold what they did, and go on"
done
