# flood.py - connections to a port that are never what they should be: silent, garbage, half a handshake, closed at once.
# SPDX-License-Identifier: Apache-2.0
# usage: flood.py PORT ATTEMPTS SEED    with at most 400 of them open at a time; prints how many were connected
import collections, os, random, select, socket, sys

port, attempts, chance = int(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0CURVE" + b"\0" * 47
open_ones, connected = collections.deque(), 0
for _ in range(attempts):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("127.0.0.1", port))
    open_ones.append(s)
    if len(open_ones) >= 400:
        s = open_ones.popleft()
        if select.select([], [s], [], 0)[1] and s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            connected += 1
            try:
                s.send(chance.choice([b"", os.urandom(64), GREETING, GREETING + os.urandom(200)]))
            except OSError:
                pass
        if chance.random() < 0.5:
            open_ones.insert(chance.randrange(len(open_ones)), s)  # It stays, and says nothing more.
            s = open_ones.popleft()
        s.close()
print(f"{attempts} attempts, {connected} connected")
