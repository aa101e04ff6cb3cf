"""nodes_clients.py TROUPE DIR TEST... - clients of a running troupe: any node takes any request, nodes are killed meanwhile.
SPDX-License-Identifier: Apache-2.0
"""
import atexit
import json
import os
import random
import signal
import socket
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
    for taker in ("n1", "n2", "n3"):
        done = command("ask", "test/talker/k1", "echo", '"x"', "--node", taker, "--cluster", f"{group.data}/cluster.yaml")
        check(done[:2] == (0, '"x"\n'), f"--node {taker}: {done}")
    taker = f"{group.data}/n2"  # A node of a troupe stands for it: another one may be named.
    done = command("ask", "test/talker/k1", "echo", '"x"', "--node", "n1", "--data", taker)
    check(done[:2] == (0, '"x"\n'), f"--node n1 by way of n2: {done}")
    for at in (group.data, taker):
        for what in ("ask", "send"):
            code, _, err = command(what, "test/talker/k1", "echo", "--node", "n9", "--data", at)
            check(code == 1 and "there is no node 'n9', but n1, n2, n3" in err, f"there is no n9: {code} {err}")
    for client in clients:
        client.socket.close()
    group.stop()


def by_node(text):
    """Lines by the node that stands first in each."""
    nodes = {}
    for line in text.splitlines():
        node, rest = line.split("\t", 1)
        nodes.setdefault(node, []).append(rest)
    return nodes


def all_of_a_troupe_is_looked_into():
    group = Troupe("look")
    keys = [f"k{i}" for i in range(30)]
    with Client(data=group.node(1)) as client:
        for key in keys:
            client.send(f"test/talker/{key}", "emit")
        try:
            client.ask("no/body/x", "hello", {"n": 1})
            check(False, "nobody is there")
        except Failed as failed:
            check(failed.error == "TROUPE_EREJECTED", f"{failed}")
        client.send("test/talker/sleepy", "slow")
        client.send("test/talker/sleepy", "count")
        try:
            client.ask("test/talker/sleepy", "count", timeout_s=0.2)  # Behind those: they have come.
        except Failed as failed:
            check(failed.error == "TROUPE_ETIMEOUT", f"{failed}")
    for where_from in (("--data", group.data), ("--data", group.node(2)), ("--cluster", f"{group.data}/cluster.yaml"),
                       ("--connect", f"ipc://{group.node(3)}/socket")):
        for key in keys[:6]:
            check(command("state", f"test/talker/{key}", *where_from)[:2] == (0, "count\t1\n"), f"state of {key} {where_from}")
        code, out, err = command("actors", "--type", "test/talker", *where_from)
        found = by_node(out)
        check(code == 0 and sorted(found) == ["n1", "n2", "n3"] and sum(map(len, found.values())) == 31,
              f"actors of all nodes: {code} {out} {err}")
        for key in keys[:6]:
            node = next(n for n, lines in found.items() if any(line.startswith(f"test/talker/{key}\t") for line in lines))
            alone = command("actors", "--node", node, *where_from)
            check(alone[0] == 0 and list(by_node(alone[1])) == [node] and f"test/talker/{key}\t" in alone[1], f"{alone}")
        check("\"node\":\"n" in command("actors", "--json", *where_from)[1], "JSON names the node")
        check(command("mailbox", "test/talker/sleepy", *where_from)[1].count("\n") == 3, "the mailbox of one address")
        check(command("timers", *where_from)[:2] == (0, "") and command("jobs", *where_from)[:2] == (0, ""), "none")
        figures = by_node(command("stats", *where_from)[1])
        check(sum(int(f.split("\t")[1]) for lines in figures.values() for f in lines if f.startswith("egress/out")) == 30,
              f"figures of all: {figures}")
        letter = command("dead", "list", *where_from)[1].split("\t")[0]
        check(letter[0] == "n" and ":" in letter, f"a letter is named with its node: {letter}")
        check('"body":{"n":1}' in command("dead", "show", letter, "--json", *where_from)[1], "dead show")
        code, _, err = command("dead", "show", letter.split(":")[1], *where_from)
        check(code == 2 and "NODE:NUMBER" in err, f"a number alone names no letter: {err}")
        retried = command("dead", "retry", letter, *where_from)
        check(retried[0] == 0 and f"dead letter {letter} waits again" in retried[1], f"{retried}")
        end = time.monotonic() + DEADLINE_S
        while not command("dead", "list", *where_from)[1]:  # It fails again.
            check(time.monotonic() < end, "the letter is lost")
        records = command("tail", "out", "--from", "1", "--count", "30", *where_from)
        seen = [json.loads(line) for line in records[1].splitlines()]
        check(records[0] == 0 and sorted(r["key"] for r in seen) == sorted(keys), f"records of all nodes: {records}")
        for node in ("n1", "n2", "n3"):
            numbers = [r["seq"] for r in seen if r["node"] == node]
            check(numbers == list(range(1, len(numbers) + 1)), f"{node} numbers its own: {numbers}")
    node = next(r["node"] for r in seen)
    later = command("tail", "out", "--from", f"{node}:2", "--node", node, "--count", "1",
                    "--data", group.data)
    check(json.loads(later[1])["seq"] == 2, f"--from of one node: {later}")
    check(command("tail", "out", "--from", "n9:2", "--data", group.data)[0] == 2, "there is no n9")
    code, _, err = command("actors", "--node", "n9", "--data", group.data)
    check(code == 2 and "no node 'n9'" in err, f"{err}")
    # Those that do not answer are named, the others are shown.
    silent = []
    for node in (2, 3):
        with open(f"{group.node(node)}/lock", encoding="utf-8") as file:
            silent.append(int(file.read()))
    for process in silent:
        os.kill(process, signal.SIGSTOP)
    code, out, err = command("actors", "--data", group.data)
    no_photograph = command("snapshot", "create", "--data", group.data)
    for process in silent:
        os.kill(process, signal.SIGCONT)
    check(code == 1 and list(by_node(out)) == ["n1"] and "n2: no answer" in err and "n3: no answer" in err,
          f"{code} {out} {err}")
    check(no_photograph[0] == 1 and "2 nodes did not answer within 3 s: n2, n3" in no_photograph[2], f"{no_photograph}")
    running = command("actors", "--json", "--data", group.data)[1]
    group.stop()
    check(command("actors", "--json", "--data", group.data)[1] == running, "stopped directories have what the nodes had")
    check(command("state", "test/talker/k0", "--data", group.data)[:2] == (0, "count\t1\n"), "state finds the owner")
    letter = command("dead", "list", "--data", group.data)[1].split("\t")[0]
    check(command("dead", "drop", letter, "--data", group.data)[1] == f"dead letter {letter} is dropped\n", "dead drop")
    code, out, _ = command("doctor", "--data", group.data)
    check(code == 0 and out.count("result\tgood") == 3, f"each is good: {out}")


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


def wait_and_status_know_what_is_under_way():
    group = Troupe("rest")
    here = ("--data", group.data)
    check(command("wait", "--idle", "--timeout", str(DEADLINE_S), *here)[0] == 0, "a troupe at rest is at rest")
    with Client(data=group.node(1)) as client:
        for key in range(60):
            client.send(f"test/talker/w{key}", "emit")
        for ways in (here, ("--cluster", f"{group.data}/cluster.yaml"), ("--connect", f"ipc://{group.node(2)}/socket")):
            done = command("wait", "--idle", "--timers", "--timeout", str(DEADLINE_S), *ways)
            check(done[0] == 0, f"{ways}: {done}")
        figures = by_node(command("stats", *here)[1])
        check(sum(int(f.split("\t")[1]) for lines in figures.values() for f in lines if f.startswith("egress/out")) == 60,
              "all that was sent before has been handled")
        code, out, err = command("cluster", "status", *here)
        check(code == 0 and out.count(" up ") == 9 and "generation 1, 3 nodes" in out, f"status: {code} {out} {err}")
        # A node that is away: what is for it waits with its senders.
        with open(f"{group.node(2)}/lock", encoding="utf-8") as file:
            away = int(file.read())
        os.kill(away, signal.SIGSTOP)
        for key in range(60):
            client.send(f"test/talker/w{key}", "emit")
        code, _, err = command("wait", "--idle", "--timeout", "0.1", *here)
        code, out, err = command("cluster", "status", "--json", *here)
        seen = json.loads(out)
        check(code == 1 and [node["up"] for node in seen["nodes"]] == [True, False, True], f"n2 is down: {out} {err}")
        link = next(link for link in seen["links"] if (link["from"], link["to"]) == ("n1", "n2"))
        check(link["messages"] > 5 and link["bytes"] > 100 and link["oldest_ms"] > 100, f"the backlog is seen: {link}")
        os.kill(away, signal.SIGCONT)
        check(command("wait", "--idle", "--timeout", str(DEADLINE_S), *here)[0] == 0, "it comes back")
        rested = json.loads(command("cluster", "status", "--json", *here)[1])
        check(all(link["messages"] == 0 and link["oldest_ms"] == 0 for link in rested["links"]), f"nothing flies: {rested}")
        # A message that waits for its next attempt is no rest.
        client.send("test/talker/sleepy", "slow")
        code, _, err = command("wait", "--idle", "--timeout", "0.3", *here)
        check(code == 1 and "1 messages wait" in err, f"{code} {err}")
    for wrong in (("wait",), ("wait", "--idle", "x"), ("cluster", "status", "x"), ("wait", "--idle", "--timeout", "0")):
        check(command(*wrong, *here)[0] == 2, f"{wrong}")
    group.stop()
    code, _, err = command("wait", "--idle", "--timeout", "0.1", *here)
    check(code == 1 and "no node runs" in err, f"stopped: {err}")
    code, out, _ = command("cluster", "status", *here)
    check(code == 1 and out.count(" down") == 3, f"stopped: {out}")


class Member:
    """One node of a cluster file, without a supervisor."""

    def __init__(self, cluster, name, *options):
        self.data = f"{where}/{os.path.basename(cluster)}.{name}"
        self.logged = f"{where}/log.{name}"
        self.log = open(self.logged, "wb")
        self.process = subprocess.Popen(
            [troupe, "run", f"{where}/talker.so", "--cluster", cluster, "--node", name, "--data", self.data,
             "--output", f"{self.data}.out", "--no-supervisor", *options], stderr=self.log)
        atexit.register(self.process.kill)

    def says(self, text):
        with open(self.logged, encoding="utf-8", errors="replace") as log:
            return text in log.read()

    def stop(self):
        self.process.terminate()
        status = self.process.wait(DEADLINE_S)
        self.log.close()
        check(status == 0, f"a node with keys ended with {status}")


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def gets_nothing(endpoint, **keys):
    try:
        with Client(endpoint, **keys) as client:
            client.reply(client.request("hello"), 0.4)
            return False
    except Failed as failed:
        return failed.error == "TROUPE_ETIMEOUT"


def until(truth, what):
    end = time.monotonic() + DEADLINE_S
    while not truth():
        check(time.monotonic() < end, what)
        time.sleep(0.02)


def who_has_no_key_that_is_listed_gets_nothing():
    os.mkdir(f"{where}/keys")
    cluster = f"{where}/keys/cluster.yaml"
    ports = free_ports(4)
    done = command("cluster", "init", "--nodes", "2", "--keys", "--tcp", f"localhost:{ports[0]}", "--tcp",
                   f"localhost:{ports[1]}", "--clients", f"127.0.0.1:{ports[2]}", "--clients", f"127.0.0.1:{ports[3]}",
                   cluster)
    check(done[0] == 0, f"cluster init: {done}")
    nodes = [Member(cluster, "n1"), Member(cluster, "n2")]
    mine, endpoint = f"{where}/keys/client.key", f"tcp://127.0.0.1:{ports[2]}"
    stranger = command("keygen", f"{where}/keys/stranger.key")[1].strip()
    with open(cluster, encoding="utf-8") as file:
        public = [line.split('"')[1] for line in file if "public_key" in line]
    check(len(public) == 3, "two nodes and a client have keys")
    until(lambda: command("ask", "test/talker/a", "count", "--id", "first", "--cluster", cluster)[:2] == (0, "1\n"),
          "client.key beside the file is taken, and lets in")
    silent = [socket.create_connection(("127.0.0.1", ports[0])), socket.create_connection(("127.0.0.1", ports[1]))]
    silent[1].send(b"\xff" + bytes(7))  # The beginning of a greeting.
    socket.create_connection(("127.0.0.1", ports[1])).close()  # As those do that look whether somebody listens.
    for key in range(6):  # On both nodes.
        code, out, err = command("ask", f"test/talker/b{key}", "count", "--connect", endpoint, "--key", mine,
                                 "--server-key", public[0])
        check((code, out) == (0, "1\n"), f"{code} {out} {err}")
    with Client(endpoint, key=mine, server_key=public[0]) as client:
        check(client.ask("test/talker/a", "count") == 2, "the Python client with a key")
    with Client(data=nodes[1].data, key=f"{where}/keys/n1.key") as client:
        check(client.ask("test/talker/a", "count") == 3, "a node's key is good for clients too; the socket has keys as well")
    for ways in (("--cluster", cluster), ("--data", nodes[0].data, "--key", mine),
                 ("--connect", endpoint, "--key", mine, "--server-key", public[0])):
        code, out, err = command("actors", *ways)
        check(code == 0 and sorted(by_node(out)) == ["n1", "n2"] and out.count("\n") == 7, f"{ways}: {code} {out} {err}")
        code, out, err = command("snapshot", "create", "--to", f"{where}/keys/taken", "--name", f"by{ways[0]}", *ways)
        check((code, out) == (0, f"{where}/keys/taken/by{ways[0]}\n"), f"both are photographed, {ways}: {code} {out} {err}")
        code, out, err = command("snapshot", "verify", out.strip())
        check(code == 0 and "2 nodes" in out, f"{ways}: {code} {out} {err}")
    code, out, err = command("snapshot", "create", "--name", "beside", "--cluster", cluster)
    check(out == f"{where}/keys/snapshots/beside\n", f"snapshots stand beside the file: {code} {out} {err}")
    check(command("snapshot", "list", "--cluster", cluster)[1].startswith("beside\t"), "and are found there")
    code, _, err = command("snapshot", "create", "--data", nodes[0].data)
    check(code == 1 and "say --key" in err, f"no photograph without a key: {code} {err}")
    code, _, err = command("snapshot", "create", "--connect", endpoint, "--key", mine, "--server-key", public[0])
    check(code == 2 and "say --to" in err, f"{code} {err}")
    check(gets_nothing(endpoint), "a client without a key")
    until(lambda: nodes[0].says("the last from 127.0.0.1: it has no key") or not gets_nothing(endpoint),
          "the log tells of a client without a key")
    check(nodes[0].says("a client was refused"), "and it got nothing")
    as_stranger = {"key": f"{where}/keys/stranger.key", "server_key": public[0]}
    check(gets_nothing(endpoint, **as_stranger), "a stranger")
    until(lambda: nodes[0].says(stranger) or not gets_nothing(endpoint, **as_stranger), "the log names the stranger's key")
    check(nodes[0].says(stranger), "and it got nothing")
    check(gets_nothing(f"tcp://127.0.0.1:{ports[3]}", key=mine, server_key=public[0]), "a node with another key is no node")
    check(gets_nothing(f"ipc://{nodes[0].data}/socket"), "the socket in the directory is no way around")
    for wrong, text in ((("--connect", endpoint, "--key", mine), "say --server-key"),
                        (("--data", nodes[0].data), "say --key")):
        code, _, err = command("ask", "test/talker/a", "count", *wrong)
        check(code != 0 and text in err, f"{wrong}: {err}")
    code, _, err = command("ask", "test/talker/a", "count", "--connect", endpoint, "--key", f"{where}/keys/stranger.key",
                           "--server-key", public[0], "--timeout", "0.5")
    check(code == 3 and "does its cluster file list the key" in err, f"a hint: {err}")
    for node in nodes:
        until(lambda: node.says("a node was refused (1 connections so far), the last from 127.0.0.1: it said nothing"),
              "the log tells of who says nothing, and of nobody else")
    for node in nodes:
        node.stop()


def rewrite(path, change):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(change(text))
    os.rename(f"{path}.new", path)


def keys_are_taken_up_while_nodes_run():
    """A client is listed, and is let in; is not any more, and is not; a node gets another key."""
    os.mkdir(f"{where}/rotated")
    cluster = f"{where}/rotated/rotated.yaml"
    ports = free_ports(4)
    tcp = [part for port in ports[:2] for part in ("--tcp", f"127.0.0.1:{port}")]
    clients = [part for port in ports[2:] for part in ("--clients", f"127.0.0.1:{port}")]
    check(command("cluster", "init", "--nodes", "2", "--keys", *tcp, *clients, cluster)[0] == 0, "cluster init")
    nodes = [Member(cluster, "n1"), Member(cluster, "n2")]
    until(lambda: all(os.path.exists(f"{node.data}/endpoint") for node in nodes), "both listen")
    mine, endpoint = f"{where}/rotated/client.key", f"tcp://127.0.0.1:{ports[2]}"
    with open(cluster, encoding="utf-8") as file:
        before = [line.split('"')[1] for line in file if "public_key" in line]
    guest_key = f"{where}/rotated/guest.key"
    guest = command("keygen", guest_key)[1].strip()
    check(gets_nothing(endpoint, key=guest_key, server_key=before[0]), "a stranger")
    rewrite(cluster, lambda text: text + f'  - name: guest\n    public_key: "{guest}"\n')
    until(lambda: nodes[0].says("2 nodes, 2 clients") and nodes[1].says("2 nodes, 2 clients"), "the list is read again")
    with Client(endpoint, key=guest_key, server_key=before[0]) as client:
        check(client.ask("test/talker/a", "count") == 1, "a guest who is listed is let in")
        # Without its key, over the connection that stands.
        rewrite(cluster, lambda text: text.replace(f'  - name: guest\n    public_key: "{guest}"\n', ""))
        until(lambda: nodes[0].says("2 nodes, 1 clients") and nodes[1].says("2 nodes, 1 clients"), "it is read again")
        try:
            client.ask("test/talker/a", "count", timeout_s=0.4)
            check(False, "a guest who is not listed any more is still heard")
        except Failed as failed:
            check(failed.error == "TROUPE_ETIMEOUT", f"{failed}")
    # A file that cannot be read, or says more than keys, changes nothing.
    rewrite(cluster, lambda text: text.replace("generation: 1", "generation: 2"))
    until(lambda: nodes[0].says("more than keys has changed"), "it is told")
    rewrite(cluster, lambda text: text.replace("generation: 2", "generation: 1"))
    # The second node gets another key: as docs/operations.md says.
    fresh = command("keygen", f"{where}/rotated/n2.new")[1].strip()
    rewrite(cluster, lambda text: text.replace(before[1], fresh))
    until(lambda: nodes[1].says("this node has another key") and nodes[0].says("2 nodes, 1 clients"), "both have read it")
    os.rename(f"{where}/rotated/n2.new", f"{where}/rotated/n2.key")
    for key in range(8):  # What is for n2 waits.
        sent = command("send", f"test/talker/c{key}", "emit", "--data", nodes[0].data, "--key", mine)
        check(sent[0] == 0, f"{sent}")
    nodes[1].stop()
    nodes[1] = Member(cluster, "n2")
    check(command("wait", "--idle", "--timeout", str(DEADLINE_S), "--cluster", cluster)[0] == 0, "they come to rest")
    figures = by_node(command("stats", "--cluster", cluster)[1])
    out = {node: [f for f in lines if f.startswith("egress/out")] for node, lines in figures.items()}
    check(sum(int(f.split("\t")[1]) for each in out.values() for f in each) == 8 and all(out.values()),
          f"both nodes talk to each other again, and nothing is lost: {out}")
    check(command("cluster", "status", "--cluster", cluster)[0] == 0, "all nodes run")
    for node in nodes:
        node.stop()


def without_keys_only_this_machine_is_let_in():
    cluster = f"{where}/open.yaml"
    port = free_ports(1)[0]
    check(command("cluster", "init", "--nodes", "1", "--tcp", f"0.0.0.0:{port}", cluster)[0] == 0, "cluster init")
    run = ("run", f"{where}/talker.so", "--cluster", cluster, "--node", "n1", "--data", f"{where}/open")
    code, _, err = command(*run)
    check(code == 2 and "--keys, or say --insecure-listen" in err, f"{code} {err}")
    check(not os.path.exists(f"{where}/open"), "nothing is touched")
    node = Member(cluster, "n1", "--insecure-listen")
    until(lambda: listens(node.data), "it listens when told to")
    node.stop()


signal.signal(signal.SIGALRM, lambda *_: check(False, "it takes more than 100 s"))
signal.alarm(100)
for name in sys.argv[3:]:
    start = time.monotonic()
    globals()[name]()
    print(f"ok: {name} ({time.monotonic() - start:.1f} s)")
