"""nodes_clients.py TROUPE DIR - clients of a running troupe: any node takes any request; nodes are killed meanwhile.
SPDX-License-Identifier: Apache-2.0
"""
import atexit
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, "samples/python")
from troupe_client import Client, Failed  # noqa: E402

troupe, where = sys.argv[1:3]
DEADLINE_S = 40
NODES = 3


def check(truth, what):
    if not truth:
        with open(f"{where}/log", encoding="utf-8", errors="replace") as log:
            print("".join("    " + line for line in log.readlines()[-20:]))
        raise SystemExit(f"FAILED: {what}")


def command(*arguments):
    done = subprocess.run([troupe, *arguments], capture_output=True, text=True, timeout=DEADLINE_S)
    return done.returncode, done.stdout, done.stderr


def listens(data):
    """The file of a run that was killed may still be there: a hello says that this one listens."""
    try:
        with Client(data=data) as client:
            client.reply(client.request("hello"), 0.3)
            return True
    except (FileNotFoundError, Failed):
        return False


class Troupe:
    """NODES nodes under one supervisor."""

    def __init__(self, name, *options):
        self.data = f"{where}/{name}"
        self.log = open(f"{where}/log", "ab")
        self.process = subprocess.Popen(
            [troupe, "run", f"{where}/talker.so", "--data", self.data, "--output", f"{self.data}.out",
             "--nodes", str(NODES), *options], stderr=self.log)
        atexit.register(self.process.kill)
        self.wait_until_all_listen()

    def node(self, number):
        return f"{self.data}/n{number}"

    def wait_until_all_listen(self):
        end = time.monotonic() + DEADLINE_S
        while not all(listens(self.node(i)) for i in range(1, NODES + 1)):
            check(time.monotonic() < end and self.process.poll() is None, "the troupe does not listen")

    def kill_node(self, number):
        try:
            with open(f"{self.node(number)}/lock", encoding="utf-8") as file:
                os.kill(int(file.read()), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            pass  # It is just being started again.

    def stop(self):
        self.process.terminate()
        status = self.process.wait(DEADLINE_S)
        self.log.close()
        check(status == 0, f"the troupe ended with {status}")


def any_node_takes_any_ask():
    group = Troupe("any")
    clients = [Client(data=group.node(i)) for i in range(1, NODES + 1)]
    for key in range(12):  # On all nodes: a key alone says where.
        to = f"test/talker/k{key}"
        for asked, client in enumerate(clients, 1):
            check(client.ask(to, "count") == asked, f"{to} is asked through each node")
        clients[key % NODES].send(to, "emit", id="sent")
        clients[(key + 1) % NODES].send(to, "emit", id="sent")
        check(clients[0].ask(to, "count", id="asked") == NODES + 2, f"an id sent through two nodes is handled once: {to}")
        check([c.ask(to, "count", id="asked") for c in clients] == [NODES + 2] * NODES, "and asked likewise")
        for client in clients:
            try:
                client.ask(to, "count", id="sent")
                check(False, "an id that was sent has no answer")
            except Failed as failed:
                check(failed.error == "TROUPE_EINVAL", f"{failed}")
            try:
                client.ask(to, "silent")
                check(False, "there is no answer")
            except Failed as failed:
                check(failed.error == "TROUPE_ENOTFOUND", f"{failed}")
        body = [1, {"a": b"x" * 1000}, None, "text"]
        check(all(client.ask(to, "echo", body) == body for client in clients), "a body and back")
    big = "x" * (16 * 1024 * 1024 - 6)
    check(all(client.ask("test/talker/k1", "echo", big) == big for client in clients), "the largest body and back")
    for client in clients:
        client.socket.close()
    group.stop()


def asked_again_while_nodes_are_killed():
    """Whoever repeats with the id, on any node, gets the answer; each ask takes effect once."""
    seed = int(os.environ.get("TROUPE_SEED", random.randrange(10**6)))
    dice = random.Random(seed)
    asks, kills = int(os.environ.get("TROUPE_ASKS", 120)), int(os.environ.get("TROUPE_KILLS", 6))
    group = Troupe("kill")
    clients = [Client(data=group.node(i)) for i in range(1, NODES + 1)]
    kill_at = set(dice.sample(range(asks), kills))
    answers = {key: [] for key in ("a", "b", "c", "d")}
    end = time.monotonic() + DEADLINE_S
    for ask in range(asks):
        key = dice.choice(list(answers))
        if ask in kill_at:
            group.kill_node(dice.randrange(NODES) + 1)
        while True:
            check(time.monotonic() < end, f"seed {seed}: ask {ask} has no answer")
            try:
                answer = dice.choice(clients).ask(f"test/talker/{key}", "count", id=f"ask-{ask}", timeout_s=0.3)
                break
            except Failed as failed:
                check(failed.error in ("TROUPE_ETIMEOUT", "TROUPE_ECLOSED"), f"seed {seed}: {failed}")
        answers[key].append((ask, answer))
    for key, those in answers.items():
        check([answer for _, answer in those] == list(range(1, len(those) + 1)), f"seed {seed}: {key} is {those}")
    group.wait_until_all_listen()
    for key, those in answers.items():
        for ask, answer in those:
            check(dice.choice(clients).ask(f"test/talker/{key}", "count", id=f"ask-{ask}", timeout_s=DEADLINE_S) == answer,
                  f"seed {seed}: ask {ask} is answered as then")
    for client in clients:
        client.socket.close()
    group.stop()


signal.signal(signal.SIGALRM, lambda *_: check(False, "it takes more than 100 s"))
signal.alarm(100)
for test in (any_node_takes_any_ask, asked_again_while_nodes_are_killed):
    start = time.monotonic()
    test()
    print(f"ok: {test.__name__} ({time.monotonic() - start:.1f} s)")
