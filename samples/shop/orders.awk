# orders.awk - writes the supply of some items, and customers who fill their carts, check out, and mostly pay.
# SPDX-License-Identifier: Apache-2.0
# awk -v orders=1000 -v customers=100 -v items=20 -v supply=100 -f samples/shop/orders.awk
#
# Two of three orders are paid. The others are held for a moment only, and expire.

BEGIN {
    if (orders == "") orders = 1000
    if (customers == "") customers = 100
    if (items == "") items = 20
    if (supply == "") supply = 100
    seed = 1
    for (i = 0; i < items; i++)
        printf "{\"to\":\"shop/stock/i%d\",\"type\":\"supply\",\"body\":{\"count\":%d}}\n", i, supply
    for (i = 0; i < orders; i++) {
        customer = number(customers)
        cart = "{\"to\":\"shop/cart/{c" customer "}\",\"type\":"
        for (line = 1 + number(3); line > 0; line--)
            printf "%s\"add\",\"body\":{\"item\":\"i%d\",\"count\":%d}}\n", cart, number(items), 1 + number(4)
        if (number(3) > 0) {
            printf "%s\"checkout\",\"body\":{\"hold_ms\":86400000}}\n", cart
            printf "{\"to\":\"shop/order/{c%d}-%d\",\"type\":\"pay\"}\n", customer, ++count[customer]
        } else {
            printf "%s\"checkout\",\"body\":{\"hold_ms\":200}}\n", cart
            count[customer]++
        }
    }
}

# A number from 0 to limit - 1; the same ones in every awk.
function number(limit) {
    seed = (seed * 16807) % 2147483647
    return seed % limit
}
