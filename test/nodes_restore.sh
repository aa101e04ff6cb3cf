#!/bin/bash
# nodes_restore.sh - a bank on four nodes is photographed at full load and restored to 1, 3 and 8 nodes, which run on;
# restoring that is killed, or finds a full disk or a damaged snapshot, leaves nothing.
# SPDX-License-Identifier: Apache-2.0
# Environment: see preamble.sh; TROUPE_TRANSFERS (20000).
set -eu
. "$(dirname "$0")/preamble.sh"

nodes=4
transfers=${TROUPE_TRANSFERS:-20000}
accounts=1000
bank=$(dirname "$0")/../samples/bank
pid=
mounted=
at_exit() { [ -z "$mounted" ] || umount "$mounted" || true; }
lines() { cat "$dir/$1".out.* 2>/dev/null | wc -l; }
troupe() { # troupe STATUS ARGUMENTS...: run it, and expect that status.
    local expected=$1 status=0
    shift
    "$build/troupe" "$@" >"$dir/said" 2>&1 || status=$?
    [ "$status" = "$expected" ] || fail "troupe $*: status $status, not $expected"
}

# start NAME NODES [INPUT...]: start what is in NAME; NODES 1: a node that is alone.
start() {
    local name=$1 count=$2 inputs=()
    shift 2
    for input in "$@"; do inputs+=(--input "$dir/$input"); done
    if [ "$count" = 1 ]; then
        "$build/troupe" run "$build/samples/bank.so" --data "$dir/$name" --output "$dir/$name.out.n1" "${inputs[@]}" \
            --until-idle >>"$dir/log" 2>&1 &
    else
        "$build/troupe" run "$build/samples/bank.so" --nodes "$count" --data "$dir/$name" --output "$dir/$name.out" \
            "${inputs[@]}" >>"$dir/log" 2>&1 &
    fi
    pid=$!
}
stop() {
    local status=0
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" || status=$?
    pid=
    [ $status = 0 ] || fail "exit status $status"
}
all_listen() { [ "$(ls "$dir/$1"/n*/endpoint 2>/dev/null | wc -l)" = "$nodes" ]; }
has_lines() { [ "$(lines "$1")" -ge "$2" ]; }
balances() { cat "$dir/$1".out.* | grep -c '"egress":"balances"' || true; }
has_balances() { [ "$(balances "$1")" -ge $accounts ]; }
left() { # how many transfers were not done at the cut
    python3 -c 'import json, sys
print(int(sys.argv[2]) - sum(p["egresses"].get("transfers", 0) for p in json.load(open(sys.argv[1]))["parts"]))' \
        "$dir/shown" "$transfers"
}
has_transfers() { [ "$(cat "$dir/$1".out.* | grep -c '"egress":"transfers"')" -ge "$2" ]; }
# Of the photographed run what the snapshot says was emitted; of the restored one all: each transfer once, money whole.
check() {
    python3 - "$dir" "$1" "$transfers" $((accounts * 1000)) <<'END'
import collections, glob, json, subprocess, sys
dir, name, transfers, money = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
parts = json.load(open(f"{dir}/shown"))["parts"]
seen = collections.Counter()
total = before = 0
for part in parts:
    last = part["egresses"].get("transfers", 0)
    for line in open(f"{dir}/one.out.{part['node']}"):
        record = json.loads(line)
        if record["egress"] == "transfers" and record["seq"] <= last:
            seen[record["key"]] += 1
            before += 1
for path in glob.glob(f"{dir}/{name}.out.*"):
    numbers = collections.defaultdict(int)
    old = next((p["egresses"] for p in parts if path.endswith(".out." + p["node"])), {})
    for line in open(path):
        record = json.loads(line)
        egress = record["egress"]
        due = (numbers[egress] or old.get(egress, 0)) + 1
        assert record["seq"] == due, f"{path}: {egress} {record['seq']}, not {due}"
        numbers[egress] = due
        if egress == "transfers":
            seen[record["key"]] += 1
        elif egress == "balances":
            total += record["body"]["balance"]
wrong = [(key, n) for key, n in seen.items() if n != 1]
assert not wrong, f"{len(wrong)} transfers came not once, as {wrong[:3]}"
assert len(seen) == transfers, f"{len(seen)} of {transfers} transfers"
assert total == money, f"{total} of {money}"
print(f"{before} of {transfers} transfers were done at the cut")
END
}

awk -v transfers="$transfers" -v accounts=$accounts -f "$bank/transfers.awk" >"$dir/transfers"
awk -v accounts=$accounts -f "$bank/audit.awk" >"$dir/audit"
split -n l/3 -d "$dir/transfers" "$dir/part."
mapfile -t parts < <(cd "$dir" && ls part.*)

start one $nodes "${parts[@]}"
wait_for -p "$pid" all_listen one
wait_for -p "$pid" has_lines one $((transfers / 10))
troupe 0 snapshot create --data "$dir/one" --name cut
troupe 0 snapshot show cut --data "$dir/one" --json
cp "$dir/said" "$dir/shown"
troupe 1 restore "$dir/one/snapshots/cut" --data "$dir/one" --nodes 3
grep -q 'exists already' "$dir/said" || fail "it does not say why"
troupe 1 restore "$dir/one/snapshots/cut" --data "$dir/one/n1" --nodes 3
grep -q 'a node runs on' "$dir/said" || fail "it does not say that a node runs there"
stop
cp -r "$dir/one/snapshots/cut" "$dir/cut"
ok "photographed at full load; a directory in use is refused"

for count in 1 3 8; do
    name=to$count
    troupe 0 restore "$dir/cut" --data "$dir/$name" --nodes $count
    said=$(cat "$dir/said")
    if [ $count = 1 ]; then
        for input in "${parts[@]}" audit; do
            start $name 1 "$input"
            wait "$pid" || fail "exit status $?"
        done
        pid=
        troupe 0 doctor --data "$dir/$name"
    else
        for d in "$dir/$name"/n*; do troupe 0 doctor --data "$d"; done
        start $name $count "${parts[@]}"
        wait_for -p "$pid" has_transfers $name "$(left)"
        stop
        start $name $count audit
        wait_for -p "$pid" has_balances $name
        stop
    fi
    check $name >"$dir/checked" 2>&1 || { cat "$dir/checked"; fail "$count nodes: another outcome"; }
    ok "$said: $(cat "$dir/checked")"
done

# To the nodes of a cluster file, which must not be the photographed ones.
troupe 1 restore "$dir/cut" --data "$dir/file" --cluster "$dir/one/cluster.yaml"
grep -q 'says generation 1' "$dir/said" || fail "nodes of the same generation were made"
troupe 0 cluster init --nodes 2 "$dir/cluster.yaml"
troupe 0 restore "$dir/cut" --data "$dir/file" --cluster "$dir/cluster.yaml"
for node in n1 n2; do troupe 0 doctor --data "$dir/file/$node"; done
[ ! -e "$dir/file/cluster.yaml" ] || fail "there is a second cluster file"
ok "to the nodes of a cluster file, of another cluster or generation only"

# A part is missing, cut off, changed; there is no manifest.
refused() { # refused WHAT TEXT: of $dir/bad, with nothing left
    troupe 1 restore "$dir/bad" --data "$dir/none" --nodes 2
    grep -q "$2" "$dir/said" || fail "$1 is not named: $(cat "$dir/said")"
    [ ! -e "$dir/none" ] && [ ! -e "$dir/none.restoring" ] || fail "$1 left a directory"
    rm -r "$dir/bad"
}
damage() { rm -rf "$dir/bad"; cp -r "$dir/cut" "$dir/bad"; }
damage
rm "$dir/bad/node-n3.part"
refused "a missing part" 'node-n3.part is missing'
damage
truncate -s -100 "$dir/bad/node-n4.part"
refused "a part that was cut off" 'node-n4.part'
damage
printf 'xxxxxxxxxxxxxxxx' | dd of="$dir/bad/node-n2.part" bs=1 seek=$(($(stat -c %s "$dir/bad/node-n2.part") / 2)) conv=notrunc 2>/dev/null
refused "a changed part" 'node-n2.part'
damage
rm "$dir/bad/manifest"
refused "a snapshot without manifest" 'has no manifest'
mkdir "$dir/taken"
touch "$dir/taken/file"
troupe 1 restore "$dir/cut" --data "$dir/taken" --nodes 2
grep -q 'exists already' "$dir/said" || fail "restored into a directory that is not empty"
rm "$dir/taken/file"
troupe 0 restore "$dir/cut" --data "$dir/taken" --nodes 2
ok "a missing, cut off or changed part and a missing manifest are named, a directory that is not empty is refused"

# Killed while it writes, at several places: the next one makes all of it.
killed=0
for node in n1 n2 n3 n5 n8; do
    for _ in 1 2 3 4 5 6 7 8; do
        rm -rf "$dir/killed"
        "$build/troupe" restore "$dir/cut" --data "$dir/killed" --nodes 8 >/dev/null 2>&1 &
        pid=$!
        until [ -e "$dir/killed.restoring/$node" ] || ! kill -0 "$pid" 2>/dev/null; do :; done
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        pid=
        if [ ! -e "$dir/killed" ]; then
            [ -e "$dir/killed.restoring" ] || fail "a killed restore left nothing to look at"
            killed=$((killed + 1))
            break
        fi
    done
done
[ $killed -ge 2 ] || fail "only $killed of 5 were killed in time"
rm -rf "$dir/killed"
troupe 0 restore "$dir/cut" --data "$dir/killed" --nodes 8
[ ! -e "$dir/killed.restoring" ] || fail "what the killed one left is still there"
for d in "$dir/killed"/n*; do troupe 0 doctor --data "$d"; done
ok "killed $killed times while it wrote there was no troupe; the next restore made one"

mkdir "$dir/small"
if ! mount -t tmpfs -o size=$(($(du -sk "$dir/killed" | cut -f1) / 2))k tmpfs "$dir/small" 2>"$dir/mount.log"; then
    echo "skipped: full disk: $(head -1 "$dir/mount.log")"
    exit 0
fi
mounted=$dir/small
troupe 1 restore "$dir/cut" --data "$dir/small/full" --nodes 8
grep -q 'no space left' "$dir/said" || fail "a full disk is not named: $(cat "$dir/said")"
[ -z "$(ls "$dir/small")" ] || fail "a full disk left something"
ok "a full disk is named, and nothing is left: $(cat "$dir/said")"
