#!/bin/bash
# nodes_net.sh - four nodes with keys on a bad network, killed at random: all that was sent takes effect once, in order.
# SPDX-License-Identifier: Apache-2.0
# Environment: see graph.sh; TROUPE_TOKENS (3000), TROUPE_NET_KILLS (4).
# shellcheck disable=SC2034 # what graph.sh reads
set -eu
tokens=${TROUPE_TOKENS:-3000}
kills=${TROUPE_NET_KILLS:-4}
said=() # bytes of a node's log when it was started
nodes=4 points=40 hops=20 pad=60
deadline_s=120
. "$(dirname "$0")/graph.sh"

start() {
    said[$1]=$(wc -c <"$dir/log.n$1" 2>/dev/null || echo 0)
    "$build/troupe" run "$dir/graph.so" --cluster "$dir/cluster.n$1.yaml" --node "n$1" --key "$dir/n$1.key" \
        --data "$dir/n$1" --input "$dir/$2" --output "$dir/out.n$1" --no-supervisor 2>>"$dir/log.n$1" &
    pid[$1]=$!
}

# Since its last start: before that SIGTERM ends it as any process that has not yet said what it does then.
runs() { tail -c +$((said[$1] + 1)) "$dir/log.n$1" | grep -q 'the link to node'; }

# The ports are below those that connections get. Each node reaches the others through routes of its own.
base=$((10000 + RANDOM % 15000))
tcp=() routes=()
for n in $(seq $nodes); do tcp+=(--tcp "127.0.0.1:$((base + n))"); done
"$build/troupe" cluster init --nodes $nodes "${tcp[@]}" --keys "$dir/cluster.yaml" >/dev/null
for n in $(seq $nodes); do
    cp "$dir/cluster.yaml" "$dir/cluster.n$n.yaml"
    for to in $(seq $nodes); do
        [ "$n" != "$to" ] || continue
        sed -i "s/127.0.0.1:$((base + to))\"/127.0.0.1:$((base + 10 * n + to))\"/" "$dir/cluster.n$n.yaml"
        routes+=("$((base + 10 * n + to)):$((base + to))")
    done
done
prepare 2
echo "$tokens tokens, $hops hops each, $nodes nodes, $kills kills, seed $seed"

: >"$dir/faulty"
: >"$dir/log.proxy"
python3 test/proxy.py "$seed" "$dir/faulty" "${routes[@]}" >"$dir/log.proxy" 2>&1 &
pid[proxy]=$!
end=$((SECONDS + 20))
until grep -q ready "$dir/log.proxy"; do
    [ $SECONDS -lt $end ] || fail "no proxy"
    sleep 0.02
done

inputs=(none tokens1 tokens2 none none)
for n in $(seq $nodes); do start "$n" "${inputs[$n]}"; done
for _ in $(seq "$kills"); do
    sleep "0.$(printf %03d $((RANDOM % 900)))"
    n=$((RANDOM % nodes + 1))
    kill -9 "${pid[$n]}" 2>/dev/null || fail "n$n has ended by itself"
    wait "${pid[$n]}" 2>/dev/null || true
    start "$n" "${inputs[$n]}"
done
[ "$(lines ends)" -lt "$tokens" ] || echo "note: all was done before the last kill"
kill -STOP "${pid[4]}" # Ten times as long as a frame waits for its acknowledgement before it goes out again.
sleep 2
kill -CONT "${pid[4]}"
rm "$dir/faulty" # The network is good again: all arrives by itself.
wait_lines ends "$tokens"
for n in $(seq $nodes); do wait_for -p "${pid[$n]}" runs "$n"; done
stop 1 2 3 4
inputs[3]=report
for n in $(seq $nodes); do start "$n" "${inputs[$n]}"; done
wait_lines visits $points
stop 1 2 3 4 proxy
check_graph
tail -n 1 "$dir/log.proxy"
