# check.awk - checks the bank's books: reads the records that left it, exits 1 if anything is missing, doubled or wrong.
# SPDX-License-Identifier: Apache-2.0
# awk -v transfers=100000 -v accounts=1000 -f samples/bank/check.awk out.jsonl [of another node...]

# The text after "name": in `line`, without quotes; "" when there is none. Enough for flat records without escapes.
function field(line, name,    at, rest) {
    at = index(line, "\"" name "\":")
    if (at == 0) return ""
    rest = substr(line, at + length(name) + 3)
    sub(/^ */, "", rest)
    if (substr(rest, 1, 1) == "\"") {
        rest = substr(rest, 2)
        sub(/".*/, "", rest)
    } else {
        sub(/[,}].*/, "", rest)
    }
    return rest
}

function wrong(text) {
    if (++errors <= 10) print "WRONG: " text
}

{
    egress = field($0, "egress")
    seq = field($0, "seq") + 0
    if (seq != last[FILENAME, egress] + 1) {
        wrong("line " NR ": " egress " has number " seq " after " last[FILENAME, egress] + 0)
    }
    last[FILENAME, egress] = seq # each node of a troupe numbers its own
    body = substr($0, index($0, "\"body\":") + 7)
    if (egress == "transfers") {
        id = field(body, "transfer")
        if (id in seen) wrong("line " NR ": transfer " id " was reported before")
        else distinct++
        seen[id] = 1
        if (field(body, "ok") == "true") {
            ok++
            amount = field(body, "amount") + 0
            change[field(body, "from")] -= amount
            change[field(body, "to")] += amount
        } else refused++
    } else if (egress == "balances") {
        id = field($0, "key")
        if (id in balance) wrong("line " NR ": account " id " was audited before")
        else audited++
        balance[id] = field(body, "balance") + 0
        if (balance[id] < 0) wrong("account " id " holds " balance[id])
        sum += balance[id]
    } else wrong("line " NR ": unknown egress \"" egress "\": " $0)
}

END {
    if (distinct + 0 != transfers) wrong(distinct + 0 " transfers reported, expected " transfers)
    if (audited + 0 != accounts) wrong(audited + 0 " accounts audited, expected " accounts)
    if (sum + 0 != accounts * 1000) wrong("the balances sum to " sum + 0 ", expected " accounts * 1000)
    for (id in balance) {
        if (balance[id] != 1000 + change[id]) {
            wrong("account " id " holds " balance[id] ", its transfers make " 1000 + change[id])
        }
    }
    printf "transfers: %d ok, %d refused; accounts: %d, together %d\n", ok, refused, audited, sum
    if (errors) printf "%d errors in the books\n", errors
    else print "the books are right: every transfer once, no number missing, no money lost or made"
    exit errors > 0
}
