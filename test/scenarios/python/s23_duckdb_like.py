"""model_manager's DuckDB at the level of system calls: record locks, pages at offsets, a log, holes."""

import errno
import fcntl
import os

from actor import Actor
from trace import blob

PAGE = 4096
PLACES = [0, 256 * 1024, 1024 * 1024 + PAGE]
SIZE = PLACES[-1] + PAGE


def page(place, generation):
    return blob(place + generation, PAGE)


def database(path):
    """One process that opens the database, as DuckDB does: a write lock on all of it, or not at all."""
    held = {}

    def open_it():
        held["fd"] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    return {
        "open": open_it,
        "lock": lambda: fcntl.lockf(held["fd"], fcntl.LOCK_EX | fcntl.LOCK_NB),
        "share": lambda: fcntl.lockf(held["fd"], fcntl.LOCK_SH | fcntl.LOCK_NB),
        "unlock": lambda: fcntl.lockf(held["fd"], fcntl.LOCK_UN),
        "close": lambda: os.close(held.pop("fd")),
        "read": lambda place, size: os.pread(held["fd"], size, place).hex(),
        "write": lambda place, text: os.pwrite(held["fd"], bytes.fromhex(text), place),
        "sync": lambda: os.fdatasync(held["fd"]),
        "size": lambda: os.fstat(held["fd"]).st_size,
    }


def play_locks(path, trace):
    a, b = Actor(database(path)), Actor(database(path))
    step = lambda name, actor, *call: trace.fact(name, actor(*call))
    step("A opens", a, "open")
    step("A locks", a, "lock")
    step("B opens", b, "open")
    refused = b("lock")
    trace.fact("B is refused", refused in ("EAGAIN", "EACCES"))
    refused = b("share")
    trace.fact("B may not share either", refused in ("EAGAIN", "EACCES"))
    for place in PLACES:
        step(f"A writes at {place}", a, "write", place, page(place, 1).hex())
    step("A syncs", a, "sync")
    step("B sees the size", b, "size")
    trace.fact("B reads what A wrote", b("read", PLACES[2], PAGE) == page(PLACES[2], 1).hex())
    trace.fact("between them are zeros", b("read", PAGE, 100_000) == bytes(100_000).hex())
    # A root is made while the database is open, locked and being written.
    trace.pause("commit")
    step("A writes on", a, "write", PLACES[1], page(PLACES[1], 2).hex())
    step("A closes", a, "close")
    step("B locks", b, "lock")
    step("A opens again", a, "open")
    trace.fact("A is refused", a("lock") in ("EAGAIN", "EACCES"))
    b.kill()
    step("A locks after the kill", a, "lock")
    trace.fact("A reads its page", a("read", PLACES[1], PAGE) == page(PLACES[1], 2).hex())
    a.end()


def write_log(path, trace):
    """The write-ahead log: appended and synced, cut to nothing by a checkpoint, and again."""
    for turn in range(3):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        for record in range(20):
            os.write(fd, blob(record, 777))
            os.fsync(fd)
        trace.fact(f"log {turn}", os.fstat(fd).st_size)
        if turn < 2:
            trace.call(f"checkpoint {turn}", os.ftruncate, fd, 0)
            trace.fact(f"empty {turn}", [os.stat(path).st_size, os.pread(fd, 10, 0).hex()])
        os.close(fd)


def look_for_holes(path, trace):
    """SEEK_DATA and SEEK_HOLE are the disk's, or whole-file answers, or refused: never wrong."""
    fd = os.open(path, os.O_RDONLY)
    for place in PLACES:
        try:
            data = os.lseek(fd, place, os.SEEK_DATA)
            hole = os.lseek(fd, place, os.SEEK_HOLE)
            trace.claim(f"data at {place} is data", data == place and place + PAGE <= hole <= SIZE)
        except OSError as error:
            trace.claim(f"SEEK_DATA at {place} is EINVAL", error.errno == errno.EINVAL)
    trace.call("data beyond the end", os.lseek, fd, SIZE, os.SEEK_DATA)
    trace.call("a hole beyond the end", os.lseek, fd, SIZE, os.SEEK_HOLE)
    os.close(fd)


def run(root, trace):
    path = os.path.join(root, "model_manager.duckdb")
    play_locks(path, trace)
    write_log(path + ".wal", trace)
    look_for_holes(path, trace)
    check(root, trace, second=False)


def check(root, trace, second):
    path = os.path.join(root, "model_manager.duckdb")
    with open(path, "rb") as file:
        content = file.read()
    trace.fact("pages", [content[place : place + PAGE] == page(place, 2 if place == PLACES[1] else 1) for place in PLACES])
    trace.fact("holes", [content[PAGE : PLACES[1]].count(0), content[PLACES[1] + PAGE : PLACES[2]].count(0)])
    look_for_holes(path, trace)
    trace.tree("root", root)
