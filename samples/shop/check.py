# check.py - each order has one outcome, and every piece is accounted for.
# SPDX-License-Identifier: Apache-2.0
# usage: check.py INPUT OUTPUT...     (one of each node; the outputs end with the audit of every item)
import collections, json, sys

supply, carts, ordered, paying = {}, collections.defaultdict(collections.Counter), {}, set()
numbers = collections.Counter()
for line in map(json.loads, open(sys.argv[1])):
    kind, key = line["to"].split("/", 2)[1:]
    if line["type"] == "supply":
        supply[key] = line["body"]["count"]
    elif line["type"] == "add":
        carts[key][line["body"]["item"]] += line["body"]["count"]
    elif line["type"] == "checkout":
        numbers[key] += 1
        ordered[f"{key}-{numbers[key]}"] = carts.pop(key)
    elif line["type"] == "pay":
        paying.add(key)

outcomes, refunds, audit, last = {}, set(), {}, collections.Counter()
for path, line in ((path, json.loads(text)) for path in sys.argv[2:] for text in open(path)):
    egress, key, body = line["egress"], line["key"], line["body"]
    last[path, egress] += 1
    assert line["seq"] == last[path, egress], f"{line}: not number {last[path, egress]}"
    if egress == "orders":
        assert key not in outcomes, f"{key} has two outcomes"
        outcomes[key] = body["state"]
        assert body["state"] != "paid" or body["lines"] == len(ordered[key]), line
    elif egress == "refunds":
        assert key not in refunds, f"{key} is refunded twice"
        refunds.add(key)
    else:
        audit[key] = body

assert outcomes.keys() == ordered.keys(), "orders without an outcome, or outcomes of no order"
sold = collections.Counter()
for key, state in outcomes.items():
    assert state in (("paid", "refused") if key in paying else ("expired", "refused")), f"{key} is {state}"
    if state == "paid":
        sold.update(ordered[key])
for item, count in supply.items():
    assert audit[item] == {"free": count - sold[item], "held": 0, "sold": sold[item]}, f"{item}: {audit[item]}"
    assert audit[item]["free"] >= 0, f"{item} is oversold"
assert refunds <= {key for key in paying if outcomes[key] == "refused"}, "refunded but not refused"
states = collections.Counter(outcomes.values())
assert min(states["paid"], states["refused"], states["expired"]) > 0, f"the input shows too little: {states}"
print(f"{len(ordered)} orders: {states['paid']} paid, {states['expired']} expired, {states['refused']} refused; "
      f"{sum(sold.values())} pieces sold, {sum(supply.values()) - sum(sold.values())} free, none held")
