"""troupe_snapshot.py - reads a snapshot without Troupe: prints its rows as JSON lines. The format is docs/snapshot-format.md.
SPDX-License-Identifier: Apache-2.0

    python3 troupe_snapshot.py DIRECTORY|STREAM      # as `troupe snapshot create` or `create --to -` wrote it

Needs msgpack (Debian: python3-msgpack), and the libraries libzstd and libxxhash, which Troupe needs too.
"""
import base64
import ctypes
import json
import os
import struct
import sys

import msgpack

zstd, xxhash = ctypes.CDLL("libzstd.so.1"), ctypes.CDLL("libxxhash.so.0")
xxhash.XXH3_64bits.restype = ctypes.c_uint64
zstd.ZSTD_decompress.restype = ctypes.c_size_t
STATE, MAIL, TIMER, DEAD, EGRESS, JOB, RESPONSE, OUTBOX, SWEEP = range(1, 10)
NAMES = {STATE: "state", MAIL: "mail", TIMER: "timer", DEAD: "dead", EGRESS: "egress", JOB: "job", OUTBOX: "outbox"}


def xxh3(data):
    return xxhash.XXH3_64bits(data, ctypes.c_size_t(len(data)))


def unpacked(data, size):
    to = ctypes.create_string_buffer(size)
    got = zstd.ZSTD_decompress(to, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
    assert got == size, "a block cannot be decompressed"
    return to.raw


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        self.at += size
        assert self.at <= len(self.data), "a row is cut off"
        return self.data[self.at - size : self.at]

    def varint(self):
        number, shift = 0, 0
        while True:
            (byte,) = self.take(1)
            number, shift = number | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return number

    def string(self):
        return self.take(self.varint())

    def text(self):
        return self.string().decode()

    def address(self):
        return f"{self.text()}/{self.text()}"

    def rest(self):
        return self.take(len(self.data) - self.at)

    def more(self):
        return self.at < len(self.data)


def stream(file):
    """The head of one stream, and its rows: (table, key, value). Everything is checked."""
    begin = file.read(16)
    assert begin[:8] == b"troupeS\0" and struct.unpack(">II", begin[8:]) == (1, 0), "this is no snapshot of version 1"
    head, rows, chain = None, [], 0
    for number in range(1 << 32):
        header = file.read(24)
        kind, codec, _, size, stored, found, checksum = struct.unpack(">cBHIIIQ", header)
        payload = file.read(stored)
        assert found == number and checksum == xxh3(header[:16] + struct.pack(">Q", xxh3(payload))), "damaged"
        cursor = Cursor(unpacked(payload, size) if codec else payload)
        if kind == b"H":
            head = msgpack.unpackb(cursor.rest())
        elif kind == b"R":
            last = None, b""
            while cursor.more():
                (table,) = cursor.take(1)
                shared = cursor.varint()
                key = last[1][:shared] + cursor.string()
                assert last[0] in (None, table) or shared == 0
                rows.append((table, key, cursor.string()))
                last = table, key
        else:
            counts = [cursor.varint() for _ in range(cursor.varint())]
            size, blocks, end = cursor.varint(), cursor.varint(), struct.unpack(">Q", cursor.take(8))[0]
            assert kind == b"E" and counts == [sum(row[0] == table for row in rows) for table in range(len(counts))]
            assert blocks == number and end == chain and size == sum(len(key) + len(value) for _, key, value in rows)
            assert all(before[:2] < after[:2] for before, after in zip(rows, rows[1:])), "out of order"
            return head, rows
        chain = xxh3(struct.pack(">QQ", chain, checksum))


def body(data):
    try:
        return msgpack.unpackb(data, strict_map_key=False) if data else None
    except ValueError:  # The application has a form of its own.
        return {"$raw": data.hex()}


def binary(data):
    return {"$bin": base64.b64encode(data).decode()}


def message(data):
    cursor = Cursor(data)
    (flags,) = cursor.take(1)
    kind, row = flags >> 1 & 7, {"to": cursor.address()}
    row.update({"from": cursor.address()} if flags & 1 else {})
    row["type"] = cursor.text()
    row.update((name, n) for name, n in (("correlation", cursor.varint()), ("attempt", cursor.varint())) if n)
    if kind == 3:
        cursor.varint()
    row.update({"version": cursor.varint()} if flags & 16 else {})
    content = cursor.string()
    row["body"] = body(content[16:] if kind in (5, 6) else content) if kind != 7 else content.hex()
    assert not cursor.more()
    return row


def state(key, value):
    name, _, element = key[2:].partition(b"\0")[2].partition(b"\0")[2].partition(b"\0")
    kind, actor = key[2:].split(b"\0")[:2]
    row, cursor = {"actor": f"{kind.decode()}/{actor.decode()}", "value": name.decode()}, Cursor(value)
    flags = cursor.take(2)[1] if value[:1] == b"\xc1" else 0
    row.update({"version": cursor.varint()} if flags & 1 else {})
    row.update({"expires_ms": cursor.varint()} if flags & 2 else {})
    if flags & 4:
        (kind,) = cursor.take(1)
        row["head"] = {"kind": {6: "map", 7: "list"}[kind], "generation": cursor.varint()}
        if kind == 7:
            zigzag = cursor.varint()
            row["head"].update(first=zigzag >> 1 ^ -(zigzag & 1), count=cursor.varint())
        return row
    if element:
        place = Cursor(element)
        row["generation"], place = place.varint(), place.rest()
        row["element"] = place.decode(errors="replace")
        if len(place) == 8:
            row["index"] = struct.unpack(">Q", place)[0] - (1 << 63)
    row["data"] = body(cursor.rest())
    return row


def rows_of(table, key, value):
    cursor = Cursor(value)
    if table == STATE:
        yield state(key, value)
    elif table == OUTBOX:
        link, number = struct.unpack(">HQ", key)
        while cursor.more():
            yield {"link": link, "number": number, "message": message(cursor.string())}
            number += 1
    else:
        row = {"number": struct.unpack(">Q", key)[0]}
        if table == MAIL:
            row["message"] = message(value)
        elif table == TIMER:
            row.update(due_ms=cursor.varint(), message=message(cursor.rest()))
        elif table == DEAD:
            row.update(time_ms=cursor.varint(), reason=cursor.text())
            whole = cursor.take(1)[0]
            row.update({"message": message(cursor.rest())} if whole else {"text": cursor.rest().decode(errors="replace")})
        elif table == JOB:
            row.update(attempt=cursor.varint(), failures=cursor.varint(), actor=cursor.address())
            row.update(job=cursor.text(), result=cursor.text(), input=body(cursor.string()))
        elif table == EGRESS:
            row["records"] = []
            while cursor.more():
                cursor.varint()
                record = {"egress": cursor.text(), "seq": cursor.varint(), "key": cursor.text()}
                row["records"].append({**record, "body": body(cursor.string())})
        yield row


def main(path):
    files = [path]
    if os.path.isdir(path):
        parts = sorted(name for name in os.listdir(path) if name.endswith(".part"))
        files = [os.path.join(path, name) for name in (*parts, "manifest")]
    for name in files:
        with open(name, "rb") as file:
            while file.peek(1):
                head, rows = stream(file)
                if head["what"] == "manifest":
                    print(msgpack.unpackb(dict((key, value) for _, key, value in rows)[b"snapshot"]), file=sys.stderr)
                for table, key, value in rows:
                    for row in rows_of(table, key, value) if table in NAMES else ():
                        print(json.dumps({"node": head["node"], "table": NAMES[table], **row}, default=binary))


if __name__ == "__main__":
    main(sys.argv[1])
