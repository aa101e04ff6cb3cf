#!/bin/bash
# shop.sh - each order is paid, expired or refused, once, and no piece is lost or sold twice, killed on the way or not.
# SPDX-License-Identifier: Apache-2.0
# Environment: see sample.sh.
set -eu
. "$(dirname "$0")/sample.sh"
awk -v orders=4000 -v customers=300 -v items=40 -v supply=150 -f samples/shop/orders.awk >"$dir/in"
for at in 1 1000 2000 3000; do
    run_killed shop data in out $at
done
run shop data in out
[ $killed -gt 0 ] || { echo "FAILED: no kill came in time"; exit 1; }
sed -n 's/"supply","body":.*/"audit"}/p' "$dir/in" >"$dir/audit"
run shop data audit out
python3 samples/shop/check.py "$dir/in" "$dir/out"
"$build/troupe" timers --data "$dir/data" >"$dir/timers" # Those of paid and refused orders are cancelled.
[ ! -s "$dir/timers" ] || { echo "FAILED: timers are left"; exit 1; }
"$build/troupe" doctor "$dir/data" >/dev/null
echo "$killed kills, seed $seed"
