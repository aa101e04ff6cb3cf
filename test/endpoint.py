"""endpoint.py TROUPE DIR - clients of a running node: real processes, the Python client, wrong frames, kill -9.
SPDX-License-Identifier: Apache-2.0
"""
import atexit
import os
import random
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, "samples/python")
import msgpack  # noqa: E402
import zmq  # noqa: E402
from troupe_client import Client, Failed  # noqa: E402

troupe, where = sys.argv[1:3]
DEADLINE_S = 30


def check(truth, what):
    if not truth:
        with open(f"{where}/log", encoding="utf-8") as log:
            print("".join("    " + line for line in log.readlines()[-20:]))
        raise SystemExit(f"FAILED: {what}")


class Node:
    """A node on its own directory; without a supervisor, so that a kill is one."""

    def __init__(self, data, *options, stdin=None):
        self.data = f"{where}/{data}"
        self.log = open(f"{where}/log", "ab")
        self.process = subprocess.Popen(
            [troupe, "run", f"{where}/talker.so", "--data", self.data, "--output", f"{self.data}.out",
             "--no-supervisor", *options], stdin=stdin, stderr=self.log)
        atexit.register(self.process.kill)
        end = time.monotonic() + DEADLINE_S
        # The file of a run that was killed is still there: a hello says that this one listens.
        while time.monotonic() < end:
            try:
                with Client(data=self.data) as client:
                    client.reply(client.request("hello"), 0.3)
                    return
            except (FileNotFoundError, Failed):
                check(self.process.poll() is None, f"the node ended with {self.process.poll()}")
        check(False, "the node does not listen")

    def client(self):
        return Client(data=self.data)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def stop(self):
        self.process.terminate()
        status = self.process.wait(DEADLINE_S)
        self.log.close()
        check(status == 0, f"the node ended with {status}")


def command(*arguments):
    done = subprocess.run([troupe, *arguments], capture_output=True, text=True, timeout=DEADLINE_S)
    return done.returncode, done.stdout, done.stderr


def refused(call, error):
    try:
        call()
    except Failed as failed:
        check(failed.error == error, f"wanted {error}, not {failed}")
        return str(failed)
    check(False, f"wanted {error}, and it went well")


def send_ask_and_tail():
    node = Node("talk", "--listen", f"ipc://{where}/talk.sock", "--listen", "tcp://127.0.0.1:*")
    with open(f"{node.data}/endpoint", encoding="utf-8") as file:
        ipc, tcp = file.read().split()
    check(ipc == f"ipc://{where}/talk.sock" and tcp.startswith("tcp://127.0.0.1:"), f"the endpoints are written down: {ipc} {tcp}")
    with node.client() as one, Client(tcp) as other:
        one.send("test/talker/a", "emit")
        check(one.ask("test/talker/a", "count") == 2, "an ask comes behind the send before it")
        for body in (None, 7, -1, 2**63, "text", b"bytes", 1.5, True, [1, [2, {"a": None}]], "x" * 1000000):
            check(other.ask("test/talker/b", "echo", body) == body, f"echo of {str(body)[:20]}")
        check(one.ask("test/talker/b", "raw") == b"\xc1raw", "what is not msgpack comes as bytes")
        first = one.ask("test/talker/c", "count", id="once")
        check(first == 1 and other.ask("test/talker/c", "count", id="once") == 1, "an id is handled once")
        check(other.ask("test/talker/d", "count", id="once") == 1, "an id belongs to its actor")
        other.send("test/talker/d", "emit", id="sent")
        other.send("test/talker/d", "emit", id="sent")
        refused(lambda: one.ask("test/talker/d", "count", id="sent"), "TROUPE_EINVAL")
        refused(lambda: one.ask("test/talker/a", "silent"), "TROUPE_ENOTFOUND")
        refused(lambda: one.ask("no/body/a", "x"), "TROUPE_EREJECTED")
        number = one.request("ask", to="test/talker/s", type="slow", timeout_ms=50)
        refused(lambda: one.reply(number, DEADLINE_S), "TROUPE_ETIMEOUT")
        records = other.tail("out", start=1)
        got = [next(records), next(records)]
        check([(r["seq"], r["key"], r["body"]) for r in got] == [(1, "a", {"count": 1}), (2, "d", {"count": 2})],
              f"the tail has {got}")
        one.send("test/talker/a", "emit")
        check(next(records)["body"] == {"count": 3}, "a tail goes on with what comes")
    req = zmq.Context.instance().socket(zmq.REQ)
    req.connect(ipc)
    req.send(msgpack.packb({"v": 1, "n": 5, "do": "ask", "to": "test/talker/e", "type": "count"}))
    check(msgpack.unpackb(req.recv()) == {"n": 5, "ok": True, "type": "count", "body": 1}, "a REQ socket is served")
    req.close(0)

    here = ("--connect", ipc)
    check(command("send", "test/talker/f", "emit", '{"a":1}', *here, "--id", "1") == (0, "", ""), "troupe send")
    check(command("send", "test/talker/f", "emit", '{"a":1}', *here, "--id", "1", "--json")[1] == '{"ok":true}\n',
          "troupe send --json")
    check(command("ask", "test/talker/f", "count", "--data", node.data)[:2] == (0, "2\n"), "troupe ask, found by --data")
    check(command("ask", "test/talker/f", "echo", '{"a":[1,"ü"]}', *here)[1] == '{"a":[1,"ü"]}\n', "a body and back")
    for at in (here, ("--data", node.data)):  # It has no name: who means another node is not served by this one.
        for what in (("send", "test/talker/f", "emit"), ("ask", "test/talker/f", "count"), ("tail", "out"), ("stats",)):
            code, out, err = command(*what, *at, "--node", "n1")
            check(code in (1, 2) and out == "" and "runs alone, which has no name" in err, f"{what} {at}: {code} {out} {err}")
    code, out, err = command("ask", "test/talker/f", "silent", *here, "--json")
    check(code == 1 and out.startswith('{"ok":false,"error":"not found"') and "without an answer" in err, "no answer")
    code, out, err = command("ask", "test/talker/s", "slow", *here, "--timeout", "0.05")
    check(code == 3 and "not known" in err, "a timeout has its exit code and says what to do")
    check(command("tail", "out", *here, "--from", "4", "--count", "1")[1]
          == '{"egress":"out","seq":4,"key":"f","body":{"count":1}}\n', "troupe tail")
    for wrong in (["send", "x"], ["ask", "a/b/c", "t", "{"], ["tail"], ["tail", "out", "--from", "0"],
                  ["send", "a/b/c", "t", "--connect", "http://x"], ["ask", "a/b/c", "t", "--timeout", "-1"]):
        code, _, err = command(*wrong)
        check(code in (1, 2) and err.startswith("troupe " + wrong[0]), f"{wrong} gives {code}, {err}")
    node.stop()
    check(not os.path.exists(f"{node.data}/endpoint") and not os.path.exists(f"{where}/talk.sock"),
          "nothing of the endpoint is left")
    code, _, err = command("ask", "test/talker/f", "count", "--data", node.data)
    check(code == 1 and "no node runs" in err, "a stopped node is told from a silent one")
    code, _, err = command("run", f"{where}/talker.so", "--data", node.data, "--listen", "tcp://0.0.0.0:*")
    check(code == 1 and "--insecure-listen" in err, "an open endpoint must be asked for")


def wrong_requests_harm_nobody():
    node = Node("wrong", "--listen", "tcp://127.0.0.1:*")
    long = "k" * 300
    good = {"v": 1, "n": 7, "do": "send", "to": "test/talker/a", "type": "emit"}
    requests = [b"", b"\xc1", b"\x81", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff",
                b"\x91" * 100000, b"\x81\xa1v" * 1000, b"\x01", b"\x80", bytes(range(256)), os.urandom(1000),
                msgpack.packb(good) + b"\x00", msgpack.packb(good)[:-1]]
    for change in ({"v": 2}, {"v": "1"}, {"v": None}, {"n": -1}, {"do": 5}, {"do": "nothing"}, {"do": "x" * 3000},
                   {"to": "nowhere"}, {"to": "a/b"}, {"to": "a/b/"}, {"to": "a/b/" + long}, {"to": long + "/b/c"},
                   {"to": "a/b/c\0d"}, {"to": 5}, {"to": None}, {"type": ""}, {"type": long}, {"type": None},
                   {"id": ""}, {"id": long}, {"id": 5}, {"body": b"x" * (16 * 1024 * 1024 + 1)},
                   {"do": "ask", "timeout_ms": 0}, {"do": "ask", "timeout_ms": 3600001}, {"do": "ask", "timeout_ms": -1},
                   {"do": "tail"}, {"do": "tail", "egress": "out"}, {"do": "tail", "egress": "out", "credit": 1025},
                   {"do": "tail", "egress": "", "credit": 1}, {"do": "cancel"}):
        requests.append(msgpack.packb({**good, **change}))
    with node.client() as client:
        for request in requests:
            client.socket.send(request)
            check(client.socket.poll(DEADLINE_S * 1000), f"no reply to {request[:60]}")
            reply = msgpack.unpackb(client.socket.recv(), unicode_errors="replace")
            check(not reply["ok"] and reply["text"] and reply["error"] in
                  ("TROUPE_EINVAL", "TROUPE_EVERSION", "TROUPE_ETOOBIG", "TROUPE_ENOTFOUND"), f"{request[:60]}: {reply}")
        client.socket.send_multipart([b"a", b"b", b"c", b"d", b"e"])
        check(not msgpack.unpackb(client.socket.recv())["ok"], "several frames are refused")
        client.socket.send(b"x" * (18 * 1024 * 1024))  # Ends this connection; ZeroMQ makes another.
        host, port = open(f"{node.data}/endpoint", encoding="utf-8").read().strip()[6:].split(":")
        for noise in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(100), b"\xff" + b"\0" * 8 + b"\x7f\x03"):
            with socket.create_connection((host, int(port))) as raw:
                raw.sendall(noise)
    with node.client() as client:
        check(client.ask("test/talker/a", "count") == 1, "nothing of all that took effect, and the node goes on")
    node.stop()


def many_clients_and_many_requests():
    node = Node("many")
    clients = [node.client() for _ in range(40)]
    for client in clients:
        for _ in range(50):
            client.request("ask", to="test/talker/all", type="count")
    counts = []
    for client in clients:
        for _ in range(50):
            check(client.socket.poll(DEADLINE_S * 1000), "a client waits in vain")
            counts.append(msgpack.unpackb(client.socket.recv())["body"])
        client.socket.close()
    check(sorted(counts) == list(range(1, 2001)), "each of 2,000 asks of 40 clients is counted once")
    with node.client() as client:  # More under way than one client may have: asks that are not answered for a minute.
        for _ in range(1100):
            client.request("ask", to="test/talker/slow", type="slow", timeout_ms=2000)
        replies = []
        while len(replies) < 1100 and client.socket.poll(DEADLINE_S * 1000):
            replies.append(msgpack.unpackb(client.socket.recv())["error"])
        check(replies.count("TROUPE_EFULL") == 76 and replies.count("TROUPE_ETIMEOUT") == 1024,
              f"{replies.count('TROUPE_EFULL')} full, {replies.count('TROUPE_ETIMEOUT')} late")
    node.stop()


def a_running_node_can_be_looked_into():
    node = Node("look")
    here = ("--data", node.data)
    with node.client() as client:
        client.ask("test/talker/a", "count")
        refused(lambda: client.ask("no/body/x", "hello", {"n": 1}), "TROUPE_EREJECTED")
        client.send("test/talker/b", "slow")
        client.send("test/talker/b", "count")
        check(command("state", "test/talker/a", *here, "--json")[1]
              == '{"actor":"test/talker/a","state":{"count":1}}\n', "state as of now")
        check("slow" in command("mailbox", "test/talker/b", *here)[1], "the mailbox")
        check(command("actors", "--type", "test/talker", *here)[1].count("\n") == 2, "the actors")
        check(command("timers", *here)[:2] == (0, "") and command("jobs", *here)[:2] == (0, ""), "no timers, no jobs")
        letter = command("dead", "list", *here)[1].split("\t")[0]
        shown = command("dead", "show", letter, *here, "--json")[1]
        check('"to":"no/body/x"' in shown and '"body":{"n":1}' in shown, f"the dead letter: {shown}")
        again = command("dead", "retry", letter, *here)
        check(again[0] == 0 and "waits again" in again[1], f"dead retry: {again}")
        refuse = command("dead", "retry", letter, *here)
        check(refuse[0] == 1 and "no dead letter" in refuse[2], "a letter is taken once")
        check(client.ask("test/talker/a", "count") == 2, "the node goes on")
        letter = command("dead", "list", *here)[1].split("\t")[0]
        check(command("dead", "drop", letter, *here)[0] == 0 and command("dead", "list", *here)[1] == "", "dead drop")
        for _ in range(5000):  # More than the journal alone, and rows that are being folded meanwhile.
            client.request("send", to=f"test/talker/{client.number % 997}", type="emit")
            if client.number % 500 == 0:
                while msgpack.unpackb(client.socket.recv())["n"] != client.number:
                    pass
                found = command("state", "test/talker/a", *here)
                check(found[:2] == (0, "count\t2\n"), f"state under load: {found}")
        client.send("test/talker/z", "emit")
        check(command("actors", "--type", "test/talker", *here)[1].count("\n") == 1000, "all actors")
        figures = dict(line.split("\t") for line in command("stats", *here)[1].splitlines())
        check(figures["egress/out"] == "5001" and figures["mail"] == "2" and figures["dead_letters"] == "2", f"{figures}")
        for members in ({"tables": 0}, {"tables": 2**20}, {"tables": 2**63}, {}, {"tables": 1, "prefix": b"x" * 511}):
            refused(lambda: client.reply(client.request("rows", **members), DEADLINE_S), "TROUPE_EINVAL")
    running = command("actors", *here, "--json")[1]
    node.stop()
    check(command("actors", *here, "--json")[1] == running, "what a stopped node has is what it had")
    code, _, err = command("stats", "--watch", *here)
    check(code == 2 and "node that runs" in err, "a stopped node cannot be watched")


def a_slow_tail_holds_nobody_up():
    node = Node("slow", "--input", "-", stdin=subprocess.PIPE)
    lines = 200000
    with node.client() as client, node.client() as other:
        number = client.request("tail", egress="out", credit=5)
        client.request("cancel", n=0)  # A reply to what stands behind it shows that the tail has begun.
        check(msgpack.unpackb(client.socket.recv())["error"] == "TROUPE_ENOTFOUND", "there is no such tail")
        node.process.stdin.write(b'{"to":"test/talker/%s","type":"emit"}\n' % (b"a" * 60) * lines)
        node.process.stdin.flush()
        end = time.monotonic() + DEADLINE_S
        while other.ask("test/talker/a", "echo") is None and os.path.getsize(f"{node.data}.out") < lines * 100:
            check(time.monotonic() < end, "the node does not get on")
        check([client.reply(number, DEADLINE_S)["seq"] for _ in range(5)] == [1, 2, 3, 4, 5], "five for a credit of five")
        client.socket.send(msgpack.packb({"v": 1, "n": number, "do": "credit", "credit": 5}))
        text = refused(lambda: client.reply(number, DEADLINE_S), "TROUPE_ENOTFOUND")
        check("record 6 of egress out is not kept" in text, f"the gap is told: {text}")
        records = client.tail("out", start=lines - 300)
        check([next(records)["seq"] for _ in range(301)] == list(range(lines - 300, lines + 1)), "the newest are there")
        with open(f"/proc/{node.process.pid}/status", encoding="utf-8") as file:
            rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
        sanitized = "address" in troupe or "thread" in troupe
        check(rss < 100 * 1024 or sanitized, f"{rss} kB for a slow tail")
    node.process.stdin.close()
    node.stop()
    node = Node("slow")  # What is out for good is not kept for the next run.
    with node.client() as client:
        refused(lambda: next(client.tail("out", start=1)), "TROUPE_ENOTFOUND")
    node.stop()


def killed_between_send_and_acknowledgement():
    seed = int(os.environ.get("TROUPE_SEED", random.randrange(10**6)))
    dice = random.Random(seed)
    asks, kills, answers = 300, 6, {}
    node, next_kill = Node("kill"), dice.randrange(5, 40)
    waiting = {}
    client = node.client()
    todo = list(range(asks))
    while len(answers) < asks:
        while todo and len(waiting) < 20:
            index = todo.pop(0)
            waiting[client.request("ask", to="test/talker/k", type="count", id=f"ask-{index}")] = index
            client.request("send", to="test/talker/emitter", type="emit", id=f"send-{index}")
        next_kill -= 1
        if next_kill == 0 and kills > 0:
            node.kill()
            client.socket.close()
            node, kills, next_kill = Node("kill"), kills - 1, dice.randrange(5, 40)
            client = node.client()
            todo = sorted(waiting.values()) + todo
            waiting = {}
            continue
        check(client.socket.poll(DEADLINE_S * 1000), f"seed {seed}: no reply")
        reply = msgpack.unpackb(client.socket.recv())
        check(reply["ok"], f"seed {seed}: {reply}")
        if reply["n"] in waiting:
            answers[waiting.pop(reply["n"])] = reply["body"]
    check(sorted(answers.values()) == list(range(1, asks + 1)), f"seed {seed}: each ask took effect once: {answers}")
    for index in range(asks):  # Whoever asks again gets the answer of then; what was sent again has no effect.
        check(client.ask("test/talker/k", "count", id=f"ask-{index}") == answers[index], f"seed {seed}: asked again")
        client.send("test/talker/emitter", "emit", id=f"send-{index}")
    check(client.ask("test/talker/k", "count") == asks + 1, f"seed {seed}: the count")
    check(client.ask("test/talker/emitter", "count") == asks + 1, f"seed {seed}: the count of what was sent")
    client.socket.close()
    node.stop()


signal.signal(signal.SIGALRM, lambda *_: check(False, "it takes more than 100 s"))
signal.alarm(100)
for test in (send_ask_and_tail, wrong_requests_harm_nobody, many_clients_and_many_requests,
             a_running_node_can_be_looked_into, a_slow_tail_holds_nobody_up,
             killed_between_send_and_acknowledgement):
    start = time.monotonic()
    test()
    print(f"ok: {test.__name__} ({time.monotonic() - start:.1f} s)")
