"""Random operations in a mount, and the same ones in a plain directory beside it.

Each operation is done in both, and must come to the same: the same errno, the same bytes, the same
names. In a folder that all processes share each file is replaced by rename as a whole, and whoever
reads one must find it whole. Prints one line a mark, so that the driver can disturb; the last
line is the number of operations. Exit code 9: a difference, with what was done last.
"""

import errno
import hashlib
import json
import mmap
import os
import random
import stat
import sys
import time

MOUNT, PLAIN, OWN, SEED, SECONDS, ENGINE = sys.argv[1:7]
rng = random.Random(int(SEED))
recent = []
held = []
NAMES = [f"n{number}" for number in range(6)]
SIZES = [0, 1, 100, 4096, 5000, 70_000, (1 << 20) - 1, 1 << 20, (1 << 20) + 1]


def differ(what, here, there):
    print(f"{what}: mount {here!r}, plain {there!r}", file=sys.stderr)
    for line in recent[-40:]:
        print(f"  {line}", file=sys.stderr)
    sys.exit(9)


def outcome(work, root):
    try:
        return work(root)
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


def both(what, work):
    recent.append(what)
    here = outcome(work, os.path.join(MOUNT, OWN))
    there = outcome(work, os.path.join(PLAIN, OWN))
    if here != there:
        differ(what, short(here), short(there))


def short(value):
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value


def any_path():
    depth = rng.choice([1, 1, 2, 2, 3])
    return "/".join(rng.choice(NAMES) for _ in range(depth))


def payload():
    return rng.randbytes(rng.choice([1, 10, 300, 4096, 40_000]))


def place(root, path):
    return os.path.join(root, path)


def write_at(path, flags):
    data, offset = payload(), rng.choice([0, 0, 7, 4095, 100_000])

    def work(root):
        fd = os.open(place(root, path), flags, 0o644)
        try:
            if flags & os.O_APPEND:
                os.write(fd, data)
            else:
                os.pwrite(fd, data, offset)
            if rng_sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    rng_sync = rng.random() < 0.1
    both(f"write {path} {flags:o} {len(data)} at {offset}", work)


def read(path):
    def work(root):
        with open(place(root, path), "rb") as file:
            return file.read()

    both(f"read {path}", work)


def map_write(path):
    byte = rng.randbytes(1)

    def work(root):
        fd = os.open(place(root, path), os.O_RDWR)
        try:
            size = os.fstat(fd).st_size
            if size == 0:
                return "empty"
            with mmap.mmap(fd, size) as view:
                view[size // 2 : size // 2 + 1] = byte
                view.flush()
            return size
        finally:
            os.close(fd)

    both(f"map {path}", work)


def copy_range(path, to):
    def work(root):
        source = os.open(place(root, path), os.O_RDONLY)
        try:
            target = os.open(place(root, to), os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                if os.fstat(source).st_ino == os.fstat(target).st_ino:
                    return "same"
                return os.copy_file_range(source, target, 50_000, 0, 10) >= 0
            finally:
                os.close(target)
        finally:
            os.close(source)

    both(f"copy {path} {to}", work)


def attributes(path):
    def work(root):
        facts = os.lstat(place(root, path))
        size = facts.st_size if stat.S_ISREG(facts.st_mode) else 0
        links = facts.st_nlink if stat.S_ISREG(facts.st_mode) else 0
        return (facts.st_mode, size, links)

    both(f"lstat {path}", work)


def times(path):
    when = rng.randrange(1, 2_000_000_000) * 1_000_000_000 + rng.randrange(1_000_000_000)

    def work(root):
        os.utime(place(root, path), ns=(when, when))
        return os.stat(place(root, path)).st_mtime_ns

    both(f"utime {path}", work)


def hold(path):
    """Opens in both and keeps it open, whatever happens to the name."""
    recent.append(f"hold {path}")
    fds = []
    for root in (os.path.join(MOUNT, OWN), os.path.join(PLAIN, OWN)):
        try:
            fds.append(os.open(place(root, path), os.O_RDWR))
        except OSError as error:
            fds.append(-error.errno)
    if (fds[0] < 0) != (fds[1] < 0) or (fds[0] < 0 and fds[0] != fds[1]):
        differ(f"hold {path}", fds[0], fds[1])
    if fds[0] >= 0:
        held.append((path, fds))
    if len(held) > 4:
        use_held(close=True)


def use_held(close=False):
    if not held:
        return
    index = rng.randrange(len(held))
    path, (here, there) = held[index]
    data, offset = payload(), rng.randrange(100_000)
    recent.append(f"held {path} write {len(data)} at {offset}")
    for fd in (here, there):
        os.pwrite(fd, data, offset)
    sizes = os.fstat(here).st_size, os.fstat(there).st_size
    if sizes[0] != sizes[1]:
        differ(f"size of held {path}", *sizes)
    contents = os.pread(here, sizes[0], 0), os.pread(there, sizes[1], 0)
    if contents[0] != contents[1]:
        differ(f"bytes of held {path}", *map(short, contents))
    if close:
        os.close(here)
        os.close(there)
        del held[index]


def share():
    """Replaces a file that others replace and read, too: it is always whole."""
    path = os.path.join(MOUNT, "shared", rng.choice(NAMES))
    if rng.random() < 0.5:
        body = rng.randbytes(rng.choice([10, 5000, 300_000]))
        fresh = f"{path}.{OWN}-new"
        with open(fresh, "wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
        os.rename(fresh, path)
        return
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        differ(f"shared {path}", "torn", "whole")


def simple(what, call):
    path = any_path()
    both(f"{what} {path}", lambda root: call(place(root, path)))


def pair(what, call):
    path, to = any_path(), any_path()
    both(f"{what} {path} {to}", lambda root: call(place(root, path), place(root, to)))


def resize():
    size = rng.choice(SIZES)
    simple(f"truncate {size}", lambda path: os.truncate(path, size))


def link_to():
    target = any_path()
    simple(f"symlink {target}", lambda path: os.symlink(target, path))


def mode():
    bits = rng.choice([0o600, 0o644, 0o755, 0o640])
    simple(f"chmod {bits:o}", lambda path: os.chmod(path, bits))


def reserve():
    path = any_path()

    def work(root):
        # Where FUSE cannot reserve space, the C library writes zeros, and has to read for it.
        fd = os.open(place(root, path), os.O_RDWR)
        try:
            os.posix_fallocate(fd, 0, 9000)
        finally:
            os.close(fd)

    both(f"fallocate {path}", work)


CREATE = os.O_WRONLY | os.O_CREAT
OPERATIONS = [
    (14, lambda: write_at(any_path(), CREATE)),
    (6, lambda: write_at(any_path(), CREATE | os.O_TRUNC)),
    (4, lambda: write_at(any_path(), CREATE | os.O_APPEND)),
    (3, lambda: write_at(any_path(), CREATE | os.O_EXCL)),
    (18, lambda: read(any_path())),
    (4, lambda: map_write(any_path())),
    (4, resize),
    (8, lambda: pair("rename", os.rename)),
    # Two names of one file are what fuse-native cannot keep in all things (docs/semantics.md).
    (0 if ENGINE == "fuse-native" else 4, lambda: pair("link", os.link)),
    (3, link_to),
    (8, lambda: simple("unlink", os.unlink)),
    (6, lambda: simple("mkdir", os.mkdir)),
    (3, lambda: simple("rmdir", os.rmdir)),
    (5, lambda: simple("list", lambda path: sorted(os.listdir(path)))),
    (3, mode),
    (3, lambda: times(any_path())),
    (8, lambda: attributes(any_path())),
    (3, lambda: copy_range(any_path(), any_path())),
    (2, reserve),
    (4, lambda: hold(any_path())),
    (6, use_held),
    (10, share),
]
WEIGHTS = [weight for weight, _ in OPERATIONS]
CALLS = [call for _, call in OPERATIONS]

os.umask(0o022)
end = time.monotonic() + float(SECONDS)
count = 0
while time.monotonic() < end:
    rng.choices(CALLS, WEIGHTS)[0]()
    count += 1
    del recent[:-200]
while held:
    use_held(close=True)
print(json.dumps({"operations": count}))
