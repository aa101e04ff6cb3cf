# audit.awk - writes one line per account that asks it for its balance.
# SPDX-License-Identifier: Apache-2.0
# awk -v accounts=1000 -f samples/bank/audit.awk

BEGIN {
    if (accounts == "") accounts = 1000
    for (i = 0; i < accounts; i++) printf "{\"to\":\"bank/account/a%d\",\"type\":\"audit\"}\n", i
}
