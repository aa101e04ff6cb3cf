# check.py - computes the ranks in plain rounds, and compares what came out.
# SPDX-License-Identifier: Apache-2.0
# usage: check.py GRAPH OUTPUT..
import json, sys

edges = {}
for line in open(sys.argv[1]):
    if line.strip() and not line.startswith("#"):
        a, b = line.split()
        edges.setdefault(a, []).append(b)
        edges.setdefault(b, [])

ranks, change = {name: 0.15 for name in edges}, 1.0
while change > 1e-12:
    new = {name: 0.15 for name in edges}
    for name, targets in edges.items():
        for target in targets:
            new[target] += 0.85 * ranks[name] / len(targets)
    change = max(abs(new[name] - ranks[name]) for name in edges)
    ranks = new

found = {}
for file in sys.argv[2:]:
    for line in open(file):
        record = json.loads(line)
        if record["egress"] == "ranks":
            assert record["key"] not in found, f"{record['key']} reported twice"
            found[record["key"]] = record["body"]
assert found.keys() == edges.keys(), f"{len(found)} ranks for {len(edges)} vertices"
# Each vertex may keep 1e-5 for itself; what of that would have come to another one is at most 1e-5 / 0.15 a path.
worst = 0.0
for name, body in found.items():
    assert body["edges"] == len(edges[name]) and 0 <= body["rest"] < 1e-5, f"{name}: {body}"
    worst = max(worst, abs(body["rank"] + body["rest"] - ranks[name]) / ranks[name])
assert worst < 1e-3, f"a rank is wrong by {worst:.2%}"
first = sorted(ranks, key=ranks.get, reverse=True)[:3]
assert sorted(found, key=lambda name: found[name]["rank"], reverse=True)[:3] == first
print(f"{len(edges)} ranks, within {worst:.1e} of a plain solver's; the first are {', '.join(first)}")
