# payments.awk - writes a model's weights and payments of some users as input lines.
# SPDX-License-Identifier: Apache-2.0
# awk -v payments=1000 -v users=50 -f samples/features/payments.awk
#
# Every 100th payment asks a model that nobody has loaded, and is decided by the rule a moment later.

BEGIN {
    if (payments == "") payments = 1000
    if (users == "") users = 50
    seed = 1
    print "{\"to\":\"features/model/fraud\",\"type\":\"load\"," \
        "\"body\":{\"bias\":-2.0,\"amount\":0.002,\"surprise\":0.5,\"unknown\":0.25}}"
    for (i = 1; i <= payments; i++) {
        user = "{u" number(users) "}"
        amount = number(20) == 0 ? 1000 + number(1000) : 10 + number(90)
        model = i % 100 == 0 ? ",\"model\":\"absent\",\"patience_ms\":100" : ""
        printf "{\"to\":\"features/payment/%sp%d\",\"type\":\"pay\",\"body\":{\"user\":\"%s\",\"amount\":%d.0%s}}\n", \
            user, i, user, amount, model
    }
}

# A number from 0 to limit - 1; the same ones in every awk.
function number(limit) {
    seed = (seed * 16807) % 2147483647
    return seed % limit
}
