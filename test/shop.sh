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

# Who asks how an order ends is answered when it ends, though the node was killed meanwhile.
node() { "$build/troupe" run "$build/samples/shop.so" --data "$dir/late.data" >/dev/null 2>>"$dir/log" & pid=$!; }
ask_outcome() {
    "$build/troupe" ask 'shop/order/{ada}-1' outcome --id "$1" --data "$dir/late.data" --timeout 20 2>>"$dir/log"
}
node
until "$build/troupe" send shop/stock/pen supply '{"count":1}' --data "$dir/late.data" 2>/dev/null; do sleep 0.05; done
ask_outcome curious >/dev/null &
asker=$!
for _ in $(seq 200); do
    curious=$("$build/troupe" state 'shop/order/{ada}-1' --data "$dir/late.data" | grep -c curious || true)
    [ "$curious" = 0 ] || break
    sleep 0.05
done
[ "$curious" = 1 ] || { echo "FAILED: nobody is curious"; exit 1; }
kill -9 $pid $asker
{ wait $pid $asker; } 2>/dev/null || true
node
until "$build/troupe" send 'shop/cart/{ada}' add '{"item":"pen","count":1}' --id add --data "$dir/late.data" 2>/dev/null; do
    sleep 0.05
done
ask_outcome curious >"$dir/outcome" &
asker=$!
"$build/troupe" send 'shop/cart/{ada}' checkout '{"hold_ms":300}' --data "$dir/late.data"
wait $asker
grep -q '"state":"expired"' "$dir/outcome" || { echo "FAILED: outcome: $(cat "$dir/outcome")"; exit 1; }
kill $pid
wait $pid
pid=
echo "$killed kills, seed $seed"

# On three nodes, which end when no order waits for its payment any more: the same holds, and the tag in braces keeps a
# cart and its orders on one node.
run_nodes() {
    timeout 100 "$build/troupe" run "$build/samples/shop.so" --nodes 3 --data "$dir/nodes" --input "$dir/$1" \
        --output "$dir/nodes.out" --until-idle=timers 2>>"$dir/log"
}
run_nodes in
run_nodes audit
python3 samples/shop/check.py "$dir/in" "$dir"/nodes.out.*
"$build/troupe" actors --data "$dir/nodes" >"$dir/actors" # node, tab, shop/cart/{c7} or shop/order/{c7}-1, ...
sed -n 's,^\([^\t]*\)\tshop/[a-z]*/{\([a-z0-9]*\)}.*,\2 \1,p' "$dir/actors" | sort -u >"$dir/tags"
[ "$(wc -l <"$dir/tags")" -gt 200 ] || { echo "FAILED: too few tags"; exit 1; }
[ "$(cut -d' ' -f1 "$dir/tags" | uniq -d | wc -l)" = 0 ] || { echo "FAILED: a tag is on two nodes"; exit 1; }
[ "$(cut -d' ' -f2 "$dir/tags" | sort -u | wc -l)" = 3 ] || { echo "FAILED: not all nodes have carts"; exit 1; }
[ -z "$("$build/troupe" timers --data "$dir/nodes")" ] || { echo "FAILED: timers are left on a node"; exit 1; }
echo "on three nodes: $(wc -l <"$dir/tags") customers, each with all orders on one of them"
