#!/bin/bash
# reader.sh - a program that knows docs/snapshot-format.md alone reads snapshots as Troupe does: samples/python.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh.
set -eu
. "$(dirname "$0")/preamble.sh"

reader=$PWD/samples/python/troupe_snapshot.py
rows=0

# compare NAME READ EXPORTED: all rows are the same, in the same order.
compare() {
    /usr/bin/python3 "$reader" "$2" >"$dir/read" 2>"$dir/said" || fail "$1 cannot be read"
    "$troupe" snapshot export "$3" --table state --table mail --table timer --table dead --table egress --table job \
        --table outbox >"$dir/exported" 2>"$dir/said" || fail "$1 cannot be exported"
    python3 - "$dir/read" "$dir/exported" "$dir/tables" <<'P' || fail "$1 reads differently"
import json, sys
def rows(path):
    for row in map(json.loads, open(path)):
        for name in ("link", "to_node", "in_flight"): # One knows nodes by number, the other by name.
            row.pop(name, None)
        if "index" in row:
            row.pop("element") # Eight bytes, which are no text.
        yield row
read, exported = list(rows(sys.argv[1])), list(rows(sys.argv[2]))
assert len(read) == len(exported) > 0, (len(read), len(exported))
for one, other in zip(read, exported):
    assert one == other, (one, other)
open(sys.argv[3], "a").write(" ".join({row["table"] for row in read}) + " ")
P
    rows=$((rows + $(wc -l <"$dir/read")))
}

for fixture in test/fixtures/*.tar.gz; do
    rm -rf "$dir/kept"
    mkdir "$dir/kept"
    tar xzf "$fixture" -C "$dir/kept"
    for name in snapshot troupe-snapshot; do
        compare "$name of $fixture" "$dir/kept/$name" "$dir/kept/$name"
    done
done
ok "all $rows rows of the kept snapshots are read as they are exported"

# A line that is no text is a dead letter; the record is not known to be out when its node is killed at once.
printf '\377\376 broken\n{"to":"demo/greeter/ada","type":"hello"}\n' >"$dir/in"
"$troupe" run "$build/samples/greeter.so" --data "$dir/killed" --input "$dir/in" --output "$dir/records" --no-supervisor \
    2>"$dir/log" &
pid=$!
wait_for -p $pid grep -qs '"seq":1' "$dir/records"
{ kill -9 $pid && wait $pid || true; } 2>/dev/null
"$troupe" snapshot create --data "$dir/killed" --name now >"$dir/said" 2>&1 || fail "no snapshot"
compare "a letter that is no text" "$dir/killed/snapshots/now" "$dir/killed/snapshots/now"
grep -q '"text": "\\ufffd\\ufffd broken' "$dir/read" || fail "the letter is not there"
for table in state mail timer dead egress job outbox; do
    grep -qw "$table" "$dir/tables" || fail "no row of $table was read"
done
ok "so are a letter that is no text, and a record that is not known to be out"

"$troupe" snapshot create --data "$dir/kept/node" --name now >"$dir/said" 2>&1 || fail "no snapshot"
"$troupe" snapshot create --data "$dir/kept/node" --to - >"$dir/stream" 2>"$dir/said" || fail "no stream"
compare "a stream" "$dir/stream" "$dir/kept/node/snapshots/now"
ok "so is a stream of today's format"

size=$(wc -c <"$dir/stream")
damaged() {
    ! /usr/bin/python3 "$reader" "$dir/damaged" >"$dir/read" 2>"$dir/said" || fail "$1 is not noticed"
}
for place in 5 30 $((size / 2)) $((size - 5)); do
    cp "$dir/stream" "$dir/damaged"
    printf '\377\376' | dd of="$dir/damaged" bs=1 seek="$place" conv=notrunc 2>"$dir/said"
    damaged "damage at byte $place of $size"
done
head -c $((size - 1)) "$dir/stream" >"$dir/damaged"
damaged "a missing byte"
ok "damage is noticed"
