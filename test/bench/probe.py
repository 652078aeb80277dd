"""Measures one thing in one directory: the same program for every way into it.

    probe.py STEP SIZES

SIZES is one JSON object: `directory` (where programs work), `backing` (where its files lie on
the disk; the same directory where there is no mount), and the sizes that run.ts gives. Prints a JSON list of
{"measure", "seconds", "amount", "unit"}.
"""

import concurrent.futures
import ctypes
import hashlib
import json
import mmap
import os
import random
import sys
import time

MIB = 1 << 20
PAGE = 4096

# cachestat(2), Linux 6.5: how many pages of a file are in the page cache.
SYS_CACHESTAT = 451


class Place:
    def __init__(self, sizes):
        self.sizes = sizes
        self.directory = sizes["directory"]
        self.backing = sizes["backing"]
        self.size = sizes["mib"] * MIB

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def behind(self, name):
        return os.path.join(self.backing, name)


def timed(measure, amount, unit, work):
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    return {"measure": measure, "seconds": seconds, "amount": amount, "unit": unit}


def write_file(path, size):
    """Bytes that neither compress nor repeat, so that no two blocks are one."""
    block = bytearray(os.urandom(MIB))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        for number in range(size // MIB):
            block[0:8] = number.to_bytes(8, "little")
            if os.write(fd, block) != MIB:
                raise OSError(f"write {path}: short")
        os.fsync(fd)
    finally:
        os.close(fd)


def read_file(path, size, offset=0):
    buffer = bytearray(MIB)
    fd = os.open(path, os.O_RDONLY)
    try:
        done = 0
        while done < size:
            count = os.preadv(fd, [buffer], offset + done)
            if count == 0:
                raise OSError(f"read {path}: ends at {offset + done}")
            done += count
    finally:
        os.close(fd)


def cached_pages(fd):
    """Pages of the file in the page cache, or None where the kernel cannot say."""
    span = (ctypes.c_uint64 * 2)(0, 0)
    counts = (ctypes.c_uint64 * 5)()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_CACHESTAT, fd, ctypes.byref(span), ctypes.byref(counts), 0) != 0:
        return None
    return counts[0]


def drop(path, size):
    """Drops the clean pages of a file from the page cache, and looks that they are gone."""
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(20):
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            if (cached_pages(fd) or 0) * PAGE <= size // 50:
                return
        raise OSError(f"{path}: its pages stay in the page cache")
    finally:
        os.close(fd)


def make_cold(place, name):
    """Neither the mount nor the disk's file has pages."""
    drop(place.path(name), place.size)
    drop(place.behind(name), place.size)


def make_first(place, name):
    """The file lies in memory, and the mount has not shown it yet."""
    drop(place.path(name), place.size)
    read_file(place.behind(name), place.size)


def prepare(place):
    write_file(place.path("big"), place.size)
    os.mkdir(place.path("names"))
    for number in range(place.sizes["names"]):
        os.close(os.open(place.path("names", f"name-{number:06}"), os.O_WRONLY | os.O_CREAT, 0o644))
    os.mkdir(place.path("small"))
    for number in range(place.sizes["opens"]):
        with open(place.path("small", f"file-{number:06}"), "wb") as file:
            file.write(os.urandom(PAGE))
    return []


def write(place):
    path = place.path("written")
    if os.path.exists(path):
        os.unlink(path)
    return [timed("write", place.size, "B", lambda: write_file(path, place.size))]


def hashed(place):
    """What SHA-256 alone takes of what `write` wrote: a commit hashes the same bytes."""
    path = place.path("written")

    def work():
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(MIB):
                digest.update(block)

    return [timed("commit", place.size, "B", work)]


def remove(place):
    os.unlink(place.path("written"))
    return []


def read(place):
    path = place.path("big")
    work = lambda: read_file(path, place.size)
    make_cold(place, "big")
    cold = timed("read-cold", place.size, "B", work)
    make_first(place, "big")
    first = timed("read-first", place.size, "B", work)
    return [cold, first, timed("read-warm", place.size, "B", work)]


def mapped(place):
    path = place.path("big")

    def work():
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            for offset in range(0, place.size, MIB):
                if len(view[offset : offset + MIB]) != MIB:
                    raise OSError(f"map {path}: short")

    make_first(place, "big")
    first = timed("mmap-first", place.size, "B", work)
    return [first, timed("mmap-warm", place.size, "B", work)]


def scattered(place):
    path = place.path("big")
    count = place.sizes["random"]
    choice = random.Random(1)
    offsets = [choice.randrange(place.size // PAGE) * PAGE for _ in range(count)]

    def work():
        buffer = bytearray(PAGE)
        fd = os.open(path, os.O_RDONLY)
        try:
            for offset in offsets:
                if os.preadv(fd, [buffer], offset) != PAGE:
                    raise OSError(f"read {path}: short")
        finally:
            os.close(fd)

    make_first(place, "big")
    first = timed("random-first", count, "op", work)
    read_file(path, place.size)
    return [first, timed("random-warm", count, "op", work)]


def parallel(place):
    path = place.path("big")
    readers = place.sizes["readers"]
    part = place.size // readers

    def work():
        with concurrent.futures.ThreadPoolExecutor(readers) as pool:
            parts = [pool.submit(read_file, path, part, part * number) for number in range(readers)]
            for one in parts:
                one.result()

    make_first(place, "big")
    return [timed("parallel-first", part * readers, "B", work)]


def small(place):
    count = place.sizes["files"]
    directory = place.path("made")
    os.mkdir(directory)
    paths = [os.path.join(directory, f"file-{number:06}") for number in range(count)]
    content = os.urandom(PAGE)

    def create():
        for path in paths:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(fd, content)
            os.close(fd)

    def each(act):
        for path in paths:
            act(path)

    results = [
        timed("create", count, "op", create),
        timed("stat", count, "op", lambda: each(os.stat)),
        timed("unlink", count, "op", lambda: each(os.unlink)),
    ]
    os.rmdir(directory)
    return results


def listing(place):
    count = place.sizes["names"]
    rounds = 5

    def work():
        for _ in range(rounds):
            if len(os.listdir(place.path("names"))) != count:
                raise OSError("list: names are missing")

    return [timed("list", count * rounds, "op", work)]


def opens(place):
    directory = place.path("small")
    names = sorted(os.listdir(directory))

    def work():
        for name in names:
            fd = os.open(os.path.join(directory, name), os.O_RDONLY)
            if len(os.read(fd, PAGE)) != PAGE:
                raise OSError(f"read {name}: short")
            os.close(fd)

    return [timed("open-read", len(names), "op", work)]


STEPS = {
    "prepare": prepare,
    "write": write,
    "hash": hashed,
    "remove": remove,
    "read": read,
    "mmap": mapped,
    "random": scattered,
    "parallel": parallel,
    "small": small,
    "list": listing,
    "open": opens,
}

if __name__ == "__main__":
    print(json.dumps(STEPS[sys.argv[1]](Place(json.loads(sys.argv[2])))))
