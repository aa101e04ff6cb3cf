"""troupe_client.py - a client of a Troupe node: send, ask, tail. The protocol is docs/protocol.md.
SPDX-License-Identifier: Apache-2.0

    with Client(data="troupe-data") as node:
        node.send("demo/greeter/ada", "hello", id="monday-1")
        print(node.ask("demo/greeter/ada", "hello"))
        for record in node.tail("greetings", start=1):
            print(record["seq"], record["key"], record["body"])

Needs pyzmq and msgpack (Debian: python3-zmq, python3-msgpack). One thread at a time.
"""
import os
import time

import msgpack
import zmq

CREDIT = 256
SILENCE_S = 25  # a node speaks to a tail every 10 seconds


class Failed(Exception):
    """The node refused or failed; `error` is the name of the error."""

    def __init__(self, error, text):
        super().__init__(f"{text} ({error})")
        self.error = error


class Client:
    def __init__(self, endpoint=None, data="troupe-data", key=None, server_key=None):
        """`key` is the file of the client's secret key, where nodes have keys, `server_key` the node's public one."""
        if endpoint is None:
            with open(os.path.join(data, "endpoint"), encoding="utf-8") as file:
                endpoint, *rest = file.read().splitlines()
                server_key = next((line[4:] for line in rest if line.startswith("key ")), None)
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        if key:
            with open(key, "rb") as file:
                secret = file.read().strip()
            self.socket.curve_secretkey, self.socket.curve_publickey = secret, zmq.curve_public(secret)
            self.socket.curve_serverkey = server_key.encode()
        self.socket.linger = 0
        self.socket.connect(endpoint)
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def request(self, do, **members):
        """Send a request without waiting; returns its number."""
        self.number += 1
        members = {key: value for key, value in members.items() if value is not None}
        self.socket.send(msgpack.packb({"v": 1, "n": self.number, "do": do, **members}))
        return self.number

    def reply(self, number, timeout_s):
        """The next reply to a request; those to others, given up before, are dropped."""
        end = time.monotonic() + timeout_s
        while self.socket.poll(max(0, int((end - time.monotonic()) * 1000))):
            reply = msgpack.unpackb(self.socket.recv(), unicode_errors="replace", strict_map_key=False)
            if reply["n"] != number:
                continue
            if not reply["ok"]:
                raise Failed(reply["error"], reply.get("text", ""))
            return reply
        raise Failed("TROUPE_ETIMEOUT", f"no reply within {timeout_s} s: repeat it with the same id")

    def send(self, to, type, body=None, id=None, timeout_s=10):
        """Returns when the message is durable."""
        self.reply(self.request("send", to=to, type=type, body=body, id=id), timeout_s)

    def ask(self, to, type, body=None, id=None, timeout_s=10):
        """Returns the body of the answer, which is durable."""
        number = self.request("ask", to=to, type=type, body=body, id=id, timeout_ms=int(timeout_s * 1000))
        return self.reply(number, timeout_s + 1).get("body")

    def tail(self, egress, start=None):
        """The records of an egress as they become durable, from number `start` on; goes on when the node was away."""
        while True:
            number, used = self.request("tail", egress=egress, credit=CREDIT, **{"from": start}), 0
            try:
                while True:
                    record = self.reply(number, SILENCE_S)
                    if "seq" not in record:
                        continue
                    start, used = record["seq"] + 1, used + 1
                    if used == CREDIT // 2:
                        self.socket.send(msgpack.packb({"v": 1, "n": number, "do": "credit", "credit": used}))
                        used = 0
                    yield record
            except Failed as failed:
                if failed.error != "TROUPE_ETIMEOUT":
                    raise
