# transfers.awk - writes transfers as JSON lines, the same ones every time.
# SPDX-License-Identifier: Apache-2.0
# awk -v transfers=100000 -v accounts=1000 -f samples/bank/transfers.awk

# Park and Miller's generator: products stay below 2^53, so every awk computes the same numbers.
function below(n) {
    state = (state * 16807) % 2147483647
    return state % n
}

BEGIN {
    state = 20240229
    for (i = 1; i <= transfers; i++) {
        from = below(accounts)
        to = (from + 1 + below(accounts - 1)) % accounts
        printf "{\"to\":\"bank/transfer/T%d\",\"type\":\"transfer\",", i
        printf "\"body\":{\"from\":\"a%d\",\"to\":\"a%d\",\"amount\":%d}}\n", from, to, 1 + below(500)
    }
}
