"""What programs do in a mount, one step after the other, each noted when it was acknowledged.

Every step may be done again: the tree at the end is always the same. What is read is compared with
what must be there. Exit code 3: the mount failed a call; 9: wrong bytes.
"""

import hashlib
import json
import os
import sys

MOUNT, JOURNAL, STEPS = sys.argv[1], sys.argv[2], sys.argv[3]
MIB = 1 << 20
journal = open(JOURNAL, "a")


def pattern(name, size):
    """The bytes that the origin gave to its files; test/fault/crash-points.ts has the same."""
    text = (name + " ").encode()
    return (text * (size // len(text) + 1))[:size]


def note(kind, path, data=None, whole=True):
    """`whole`: whoever looks sees the state before or after, and nothing between."""
    digest = None if data is None else hashlib.sha256(data).hexdigest()
    journal.write(json.dumps([kind, path, digest, whole]) + "\n")
    journal.flush()


def at(path):
    return os.path.join(MOUNT, path)


def put(path, data, sync=False):
    note("begin", path, data, whole=False)
    with open(at(path), "wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
            note("durable", path, data)
    note("done", path, data)


def replace(path, data):
    with open(at(path + ".tmp"), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    note("begin", path, data)
    os.rename(at(path + ".tmp"), at(path))
    note("done", path, data)
    folder = os.open(os.path.dirname(at(path)), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    note("durable", path, data)


def edit(path, size, data):
    """Into a clean file of the origin, in place, durable by fdatasync alone."""
    whole = bytearray(pattern(path, size))
    whole[0 : len(data)] = data
    note("begin", path, bytes(whole))
    fd = os.open(at(path), os.O_RDWR)
    try:
        os.pwrite(fd, data, 0)
        os.fdatasync(fd)
        note("durable", path, bytes(whole))
        note("done", path, bytes(whole))
    finally:
        os.close(fd)


def truncate(path, size, to):
    data = pattern(path, size)[:to]
    note("begin", path, data)
    os.truncate(at(path), to)
    note("done", path, data)


def remove(path):
    note("begin", path)
    try:
        os.unlink(at(path))
    except FileNotFoundError:
        pass
    note("done", path)


def compare(path, size):
    with open(at(path), "rb") as file:
        if file.read() != pattern(path, size):
            print(f"{path}: wrong bytes", file=sys.stderr)
            sys.exit(9)


def work():
    os.makedirs(at("w"), exist_ok=True)
    for number in range(8):
        put(f"w/small-{number}", f"small {number}".encode())
    put("w/large", pattern("w/large", 2 * MIB + 7), sync=True)
    for number in range(3):
        replace("w/model.bin", f"model {number}".encode() * 100)
    edit("remote/config.json", 5000, b"EDITED")
    compare("remote/large", 3 * MIB + 1)
    truncate("remote/truncated", 3 * MIB, MIB + 5)
    names = sorted(set(os.listdir(at("remote/many"))) - {"f4"})
    if names != sorted(f"f{number}" for number in range(20) if number != 4):
        print(f"remote/many: {names}", file=sys.stderr)
        sys.exit(9)
    compare("remote/many/f3", 300)
    remove("remote/many/f4")
    remove("w/small-0")
    put("remote/log", b"written anew")


def tidy():
    """After a commit: what goes now was in a root."""
    for number in range(1, 4):
        remove(f"w/small-{number}")
    replace("w/large", b"small now")


try:
    work() if STEPS == "work" else tidy()
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
