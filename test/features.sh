#!/bin/bash
# features.sh - each payment is enriched, scored and decided once, killed on the way or not.
# SPDX-License-Identifier: Apache-2.0
# Environment: see sample.sh.
set -eu
. "$(dirname "$0")/sample.sh"
payments=20000
awk -v payments=$payments -v users=500 -f samples/features/payments.awk >"$dir/in"
for at in 1 6000 12000 18000; do
    run_killed features data in out $at
done
run features data in out
[ $killed -gt 0 ] || { echo "FAILED: no kill came in time"; exit 1; }
python3 samples/features/check.py $payments "$dir/out"
"$build/troupe" doctor "$dir/data" >/dev/null
echo "$killed kills, seed $seed"
