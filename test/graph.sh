# graph.sh - tokens that wander over several nodes (test/module/graph.c); sourced by the tests of faults between nodes.
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The caller sets tokens, hops, points, pad, deadline_s, and defines start NODE INPUT. Environment: see preamble.sh.

. "$(dirname "${BASH_SOURCE[0]}")/preamble.sh"
declare -A pid=() # of the nodes by number, and of what else runs
sanitized() { nm -D "$build/libtroupe.so" | grep -q '__[at]san_init'; } # memory is measured without

lines() { cat "$dir"/out.n? 2>/dev/null | grep -c "\"egress\":\"$1\"" || true; }

# wait_lines EGRESS COUNT: until so many records are out.
wait_lines() {
    local end=$((SECONDS + deadline_s)) one
    until [ "$(lines "$1")" -ge "$2" ]; do
        [ $SECONDS -lt $end ] || fail "$(lines "$1") records on $1 after $deadline_s s, not $2"
        for one in "${pid[@]}"; do kill -0 "$one" 2>/dev/null || fail "process $one has ended"; done
        sleep 0.05
    done
}

# stop NODE...: with SIGTERM, all of them at the same time.
stop() {
    local status=0 n
    for n in "$@"; do kill -TERM "${pid[$n]}"; done
    for n in "$@"; do
        wait "${pid[$n]}" || status=$?
        unset "pid[$n]"
    done
    [ $status = 0 ] || fail "exit status $status after SIGTERM"
}

# Makes the module, and the inputs: `none`, `report`, and the tokens FIRST, FIRST + STEP, ... in tokensFIRST.
prepare() {
    ${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -shared -fPIC -I. -o "$dir/graph.so" test/module/graph.c
    local first
    for first in $(seq "$1"); do
        awk -v first="$first" -v step="$1" -v tokens="$tokens" -v points="$points" -v hops="$hops" -v pad="$pad" 'BEGIN {
            for (t = first; t <= tokens; t += step)
                printf "{\"to\":\"graph/point/p%d\",\"type\":\"go\",\"body\":" \
                    "{\"token\":%d,\"hops\":%d,\"points\":%d,\"pad\":%d}}\n", t % points, t, hops, points, pad
        }' >"$dir/tokens$first"
    done
    : >"$dir/none"
    awk -v points="$points" 'BEGIN {
        for (p = 0; p < points; p++) printf "{\"to\":\"graph/point/p%d\",\"type\":\"report\",\"body\":{}}\n", p
    }' >"$dir/report"
}

# When all have ended and reported: each token ended once, each hop was made once, each message came in order.
check_graph() {
    [ "$(lines errors)" = 0 ] || fail "a message came twice, not at all, or out of order"
    local different visits
    different=$(cat "$dir"/out.n? | grep '"ends"' | sed 's/.*"key":"\([^"]*\)".*/\1/' | sort -un | wc -l)
    [ "$different" = "$tokens" ] && [ "$(lines ends)" = "$tokens" ] ||
        fail "$different different tokens ended, $(lines ends) in all, not $tokens"
    visits=$(cat "$dir"/out.n? | sed -n 's/.*"visits":\([0-9]*\)}.*/\1/p' | awk '{ sum += $1 } END { printf "%d", sum }')
    [ "$visits" = $((tokens * (hops + 1))) ] || fail "$visits visits, not $((tokens * (hops + 1)))"
}
