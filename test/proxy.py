# proxy.py - a TCP network between nodes that is bad at random: late, slow, silent in one direction or both, cut.
# SPDX-License-Identifier: Apache-2.0
# usage: proxy.py SEED STATE LISTEN:TARGET...    of ports on 127.0.0.1
# While the file STATE exists faults come; without it the network is a good one. Prints the number of each fault at its end.
import asyncio, collections, os, random, signal, sys

CHUNK = 16384
seed, state, routes = int(sys.argv[1]), sys.argv[2], [route.split(":") for route in sys.argv[3:]]
chance = random.Random(seed)
counts = collections.Counter()


class Way:
    """What one direction of one route does to bytes just now."""

    def __init__(self):
        self.delay, self.rate, self.silent = 0.0, None, False
        self.connections = set()


async def pump(way, reader, writer):
    try:
        while data := await reader.read(CHUNK):
            while way.silent:  # Neither closed nor read: as behind a firewall that forgot the connection.
                await asyncio.sleep(0.01)
            if way.delay:
                await asyncio.sleep(way.delay * chance.random() * 2)
            if way.rate:
                await asyncio.sleep(len(data) / way.rate)
            writer.write(data)
            await writer.drain()
    except (ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def serve(route, ways, reader, writer):
    try:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", int(route[1]))
    except OSError:
        writer.transport.abort()  # The node is down, and so is what was connected for it.
        return
    pair = (writer, there_writer)
    ways[0].connections.add(pair)
    await asyncio.gather(pump(ways[0], reader, there_writer), pump(ways[1], there_reader, writer))
    ways[0].connections.discard(pair)


async def trouble(ways):
    """One fault after the other on this route, each for a while."""
    while True:
        await asyncio.sleep(chance.uniform(0.02, 0.4))
        if not os.path.exists(state):
            continue
        kind = chance.choice(["cut", "delay", "slow", "silent one way", "silent both ways"])
        counts[kind] += 1
        chosen = ways if kind == "silent both ways" else [chance.choice(ways)]
        if kind == "cut":  # In the middle of a frame, as likely as not.
            for pair in list(ways[0].connections):
                for writer in pair:
                    writer.transport.abort()
            continue
        for way in chosen:
            way.delay = 0.03 if kind == "delay" else 0.0
            way.rate = 100_000 if kind == "slow" else None
            way.silent = kind.startswith("silent")
        await asyncio.sleep(chance.choice([0.05, 0.2, 0.8]))
        for way in chosen:
            way.delay, way.rate, way.silent = 0.0, None, False


async def main():
    tasks = []
    for route in routes:
        ways = (Way(), Way())
        await asyncio.start_server(lambda r, w, route=route, ways=ways: serve(route, ways, r, w), "127.0.0.1", int(route[0]))
        tasks.append(asyncio.create_task(trouble(ways)))
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    print("ready", flush=True)
    await end.wait()
    print("faults:", ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())), flush=True)
    os._exit(0)


asyncio.run(main())
