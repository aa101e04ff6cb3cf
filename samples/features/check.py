# check.py - computes the statistics and scores anew, and compares what came out.
# SPDX-License-Identifier: Apache-2.0
# usage: check.py PAYMENTS OUTPUT
import collections, json, sys

payments, output = int(sys.argv[1]), sys.argv[2]
users = collections.defaultdict(list)
keys, rules = set(), 0
for at, line in enumerate(open(output), 1):
    record = json.loads(line)
    body, key = record["body"], record["key"]
    assert record["egress"] == "decisions" and record["seq"] == at, line
    assert key not in keys, f"{key} is decided twice"
    keys.add(key)
    users[key[: key.index("}") + 1]].append((body["count"], key, body))
assert len(keys) == payments, f"{len(keys)} decisions for {payments} payments"

for user, decisions in users.items():
    count, mean, squares = 0, 0.0, 0.0
    for seen, key, body in sorted(decisions, key=lambda decision: decision[0]):
        amount, apart = body["amount"], body["amount"] - mean
        surprise = apart * apart / (squares / count) if squares > 0 else 0.0
        assert seen == count, f"{key}: {seen} payments seen before it, not {count}"
        assert abs(body["mean"] - mean) < 1e-9 and abs(body["surprise"] - surprise) < 1e-6, f"{key}: {body}"
        if body["by"] == "fraud":
            total = -2.0 + 0.002 * amount + 0.5 * surprise + 0.25 / (count + 1)
            assert abs(body["score"] - total / (1 + abs(total))) < 1e-9, f"{key}: {body}"
            assert body["hold"] == (total > 0), f"{key}: {body}"
        else:
            assert body["by"] == "rule" and body["hold"] == (amount >= 500), f"{key}: {body}"
            assert int(key.split("p")[1]) % 100 == 0, f"{key} was decided without the model"
            rules += 1
        count += 1
        mean += apart / count
        squares += apart * (amount - mean)
assert rules == payments // 100, f"{rules} decided by rule, not {payments // 100}"
print(f"{payments} payments of {len(users)} users, each decided once, {rules} by rule")
