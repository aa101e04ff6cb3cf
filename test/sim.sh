#!/bin/bash
# sim.sh - `troupe sim`: a sample survives every fault, and what a module does wrong is found.
# SPDX-License-Identifier: Apache-2.0
set -u
. "$(dirname "$0")/preamble.sh"

seeds=${TROUPE_CLI_SEEDS:-200}
failed=0

# expect CODE TEXT COMMAND...: the command exits with CODE and says TEXT (a basic regular expression).
expect() {
    local code=$1 text=$2 got=0
    shift 2
    "$@" >"$dir/out" 2>&1 || got=$?
    if [ "$got" != "$code" ] || ! grep -q -- "$text" "$dir/out"; then
        echo "FAILED: $*: exit code $got, expected $code and '$text':"
        head -5 "$dir/out"
        failed=1
    fi
}

sim() {
    "$build/troupe" sim "$@"
}

line() {
    echo "{\"to\":\"test/moody/$1\",\"type\":\"$2\"}"
}

# Every transfer is answered once, whatever fails, and money is conserved by the accounts' own rules.
awk -v transfers=40 -v accounts=6 -f samples/bank/transfers.awk >"$dir/transfers.jsonl"
expect 0 "^$seeds seeds, each twice: 0 failed;.* 0 dead letters" \
    sim "$build/samples/bank.so" --input "$dir/transfers.jsonl" --seeds "1..$seeds" --same-records=keys --no-dead \
    --output "$dir/records.jsonl"
[ "$(sort -u "$dir/records.jsonl" | wc -l)" = 40 ] || { echo "FAILED: not 40 different records"; failed=1; }

cc=${CC:-cc}

# The bank's check sees each snapshot; one that makes money in one of ten deposits is found by it.
expect 0 '[1-9][0-9]* snapshots checked$' \
    sim "$build/samples/bank.so" --input "$dir/transfers.jsonl" --seeds 1..20
sed 's/balance + amount)/balance + amount + (amount % 10 == 7))/' samples/bank/bank.c >"$dir/bad_bank.c"
$cc -std=c11 -shared -fPIC -Icore -o "$dir/bad_bank.so" "$dir/bad_bank.c" || exit 1
expect 1 "snapshot .*the check of module 'bank' found 1 faults: .* accounts were opened with" \
    sim "$dir/bad_bank.so" --input "$dir/transfers.jsonl" --seeds 1..20
$cc -std=c11 -shared -fPIC -Icore -o "$dir/moody.so" test/module/moody.c || exit 1
for i in 1 2 3 4; do line $i hello; done >"$dir/hello.jsonl"
line 1 count >"$dir/count.jsonl"
line 1 reject >"$dir/reject.jsonl"
line 1 abort >"$dir/abort.jsonl"
echo '{"to":"test/moody/1"' >"$dir/broken.jsonl"

expect 0 "^5 seeds, each twice: 0 failed" sim "$dir/moody.so" --input "$dir/hello.jsonl" --seeds 1..5 --same-records
expect 1 "seed 3 FAILED: a second run of it differs" sim "$dir/moody.so" --input "$dir/count.jsonl" --seeds 3
expect 1 "seed 1 FAILED: 1 dead letters" sim "$dir/moody.so" --input "$dir/reject.jsonl" --seeds 1 --no-dead
expect 0 "1 seeds, each twice: 0 failed;.* 1 dead letters" sim "$dir/moody.so" --input "$dir/reject.jsonl" --seeds 1
expect 134 "crashed in seed 7" sim "$dir/moody.so" --input "$dir/abort.jsonl" --seeds 7..9
expect 1 "line 1: " sim "$dir/moody.so" --input "$dir/broken.jsonl"
expect 1 "nowhere" sim "$dir/moody.so" --input "$dir/nowhere.jsonl"
expect 2 "cannot load module" sim "$dir/nothing.so" --input "$dir/hello.jsonl"
expect 2 "give '--input FILE'" sim "$dir/moody.so"
expect 2 "with commas, not 'crash,rust'" sim "$dir/moody.so" --input "$dir/hello.jsonl" --faults crash,rust
expect 2 "as in 1..1000" sim "$dir/moody.so" --input "$dir/hello.jsonl" --seeds 9..1
expect 2 "as in 1..1000" sim "$dir/moody.so" --input "$dir/hello.jsonl" --seeds 1..99999999999999999999
expect 1 "output $dir/no/where: No such file" sim "$dir/moody.so" --input "$dir/hello.jsonl" --output "$dir/no/where"
expect 2 "with --shrink leave out '--output'" sim "$dir/moody.so" --input "$dir/hello.jsonl" --shrink x --output y
# Of a last seed that fails the records are there all the same.
cat "$dir/hello.jsonl" "$dir/reject.jsonl" >"$dir/both.jsonl"
expect 1 "seed 2 FAILED" sim "$dir/moody.so" --input "$dir/both.jsonl" --seeds 1..2 --no-dead --output "$dir/failed.jsonl"
[ "$(wc -l <"$dir/failed.jsonl")" = 4 ] || { echo "FAILED: no records of a seed that fails"; failed=1; }
expect 0 "^2 seeds.* 0 crashes" sim "$dir/moody.so" --input "$dir/hello.jsonl" --seeds 1..2 --faults loss,clock

# Of many lines the one is found that matters, and nodes and faults that do not are left out; a crash too.
for fault in reject abort; do
    { for i in $(seq 30); do line "$i" hello; done; line 31 $fault; for i in $(seq 32 60); do line "$i" hello; done; } \
        >"$dir/many.jsonl"
    expect 1 "1 of 60 lines are enough" sim "$dir/moody.so" --input "$dir/many.jsonl" --seeds 5..6 --no-dead \
        --shrink "$dir/fewest.jsonl"
    grep -q -- "--seeds 5 --nodes 1 --faults none --no-dead" "$dir/out" || { echo "FAILED: no command"; failed=1; }
    [ "$(cat "$dir/fewest.jsonl")" = "$(line 31 $fault)" ] || { echo "FAILED: not the line that fails"; failed=1; }
done
expect 134 "crashed in seed 5" sim "$dir/moody.so" --input "$dir/fewest.jsonl" --seeds 5 --nodes 1 --faults none --no-dead
expect 0 "^3 seeds, each twice: 0 failed" sim "$dir/moody.so" --input "$dir/hello.jsonl" --seeds 1..3 --shrink "$dir/none"
exit $failed
