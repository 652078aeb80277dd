"""A mount with --read-only, against a plain directory that is bind-mounted read-only."""

import fcntl
import mmap
import os

import system
from files import content, digest, listing, opened, read, write
from registry import READ_ONLY, behaviour
from trace import Trace

RD, WR, RW, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT


def make_tree(place: str) -> None:
    os.makedirs(f"{place}/d/sub")
    write(f"{place}/f", content(100_000))
    write(f"{place}/d/inner", b"inner")
    os.symlink("f", f"{place}/l")
    os.symlink("nowhere", f"{place}/dangling")
    os.setxattr(f"{place}/f", "user.a", b"b")


@behaviour(READ_ONLY, "every change is EROFS, by name and by descriptor, and where a local disk says "
           "EEXIST or ENOENT first, so does the mount", prepare=make_tree)
def changes_refused(place: str, trace: Trace) -> None:
    os.chdir(place)
    reader = os.open("f", RD)
    directory = os.open("d", RD)
    changes = {
        "create": lambda: opened("new", WR | CREAT),
        "create exclusively": lambda: opened("new", WR | CREAT | os.O_EXCL),
        "create what exists": lambda: opened("f", WR | CREAT | os.O_EXCL),
        "O_CREAT of what exists": lambda: opened("f", RD | CREAT),
        "through a dangling link": lambda: opened("dangling", WR | CREAT),
        "write": lambda: opened("f", WR),
        "read and write": lambda: opened("l", RW),
        "append": lambda: opened("f", WR | os.O_APPEND),
        "O_TRUNC": lambda: opened("f", RD | os.O_TRUNC),
        "O_TMPFILE": lambda: opened(".", RW | os.O_TMPFILE),
        "truncate": lambda: os.truncate("f", 0),
        "truncate a missing one": lambda: os.truncate("missing", 0),
        "mkdir": lambda: os.mkdir("new"),
        "mkdir of what exists": lambda: os.mkdir("d"),
        "mkdir beneath nothing": lambda: os.mkdir("no/new"),
        "makedirs": lambda: os.makedirs("d/sub", exist_ok=True),
        "rmdir": lambda: os.rmdir("d/sub"),
        "rmdir of a missing one": lambda: os.rmdir("missing"),
        "unlink": lambda: os.unlink("f"),
        "unlink of a missing one": lambda: os.unlink("missing"),
        "rename": lambda: os.rename("f", "g"),
        "rename over": lambda: os.rename("f", "d/inner"),
        "rename of a missing one": lambda: os.rename("missing", "g"),
        "exchange": lambda: system.renameat2("f", "d", system.RENAME_EXCHANGE),
        "link": lambda: os.link("f", "g"),
        "symlink": lambda: os.symlink("f", "g"),
        "symlink over": lambda: os.symlink("f", "l"),
        "mkfifo": lambda: os.mkfifo("g"),
        "mknod": lambda: os.mknod("g"),
        "chmod": lambda: os.chmod("f", 0o600),
        "fchmod": lambda: os.fchmod(reader, 0o600),
        "chown": lambda: os.chown("f", 0, 0),
        "lchown": lambda: os.lchown("l", 0, 0),
        "utime": lambda: os.utime("f", ns=(1, 1)),
        "utime of a descriptor": lambda: os.utime(reader, ns=(1, 1)),
        "utime of a directory": lambda: os.utime(directory),
        "setxattr": lambda: os.setxattr("f", "user.b", b"c"),
        "removexattr": lambda: os.removexattr("f", "user.a"),
        "access for writing": lambda: os.access("f", os.W_OK),
    }
    for label, change in changes.items():
        trace.call(label, change)
    trace.note("unchanged", listing("."))
    os.close(reader)
    os.close(directory)


@behaviour(READ_ONLY, "everything else works: reading, mapping, locks, attributes, working directory",
           prepare=make_tree)
def reading_works(place: str, trace: Trace) -> None:
    os.chdir(place)
    trace.note("content", [read("d/inner"), digest("f"), digest("l")])
    trace.note("attributes", [os.stat("f"), os.lstat("l"), os.listxattr("f"), os.getxattr("f", "user.a")])
    fd = os.open("f", RD)
    with mmap.mmap(fd, 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ) as mapping:
        trace.note("mapped", mapping[:])
    with mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
        mapping[0:4] = b"mine"
        trace.note("private", [mapping[:10], os.pread(fd, 10, 0)])
    trace.call("flock", fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    trace.call("read lock", fcntl.lockf, fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    trace.call("fsync", os.fsync, fd)
    trace.call("access", os.access, "f", os.R_OK)
    trace.note("statfs says so", bool(os.statvfs(".").f_flag & os.ST_RDONLY))
    os.chdir("d/sub")
    trace.note("list", [os.listdir("."), sorted(os.listdir(".."))])
    os.close(fd)
