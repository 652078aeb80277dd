"""Two hard links used at once: programs by the one see at once what is done by the other."""

import fcntl
import mmap
import os

from children import at_once, elsewhere
from files import read, write
from registry import NO_LINKS, behaviour
from trace import Trace, outcome

SECTION = "Two names of one file, used at once"
RD, WR, RW, APPEND = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_APPEND
LINES = 100


def two_names(place: str) -> None:
    write(f"{place}/a", b"old " * 4096)
    os.link(f"{place}/a", f"{place}/b")


def overwrite(name: str, data: bytes, at: int) -> None:
    fd = os.open(name, WR)
    os.pwrite(fd, data, at)
    os.fsync(fd)
    os.close(fd)


def appended(place: str, flags: int) -> list[int]:
    """How many lines of each of two writers are there in the end."""
    for name in ("log", "same"):
        if os.path.exists(name):
            os.unlink(name)
    write("log", b"")
    os.link("log", "same")

    def append(number: int) -> None:
        fd = os.open(("log", "same")[number], WR | APPEND | flags)
        for _ in range(LINES):
            os.write(fd, b"%d a line\n" % number)
        os.close(fd)

    at_once(2, append)
    lines = read("log").split(b"\n")
    return [lines.count(b"%d a line" % number) for number in range(2)]


@behaviour(SECTION, "lines appended by two names are all there, with O_SYNC, O_DSYNC and without")
def two_names_append(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name, flags in (("plain", 0), ("O_SYNC", os.O_SYNC), ("O_DSYNC", os.O_DSYNC)):
        trace.note(name, appended(place, flags))


@behaviour(SECTION, "what is written by one name is read by the other, opened after it, also with the old mtime",
           prepare=two_names, not_on=NO_LINKS)
def two_names_reopened(place: str, trace: Trace) -> None:
    os.chdir(place)
    before = os.stat("a")
    for _ in range(2):
        read("a"), read("b")
    overwrite("b", b"NEW", 0)
    os.utime("b", ns=(before.st_atime_ns, before.st_mtime_ns))
    trace.note("by a", read("a")[:8])
    overwrite("a", b"2ND", 4096)
    os.utime("a", ns=(before.st_atime_ns, before.st_mtime_ns))
    trace.note("by b", read("b")[4096:4104])
    os.unlink("b")
    trace.note("by the one that is left", [read("a")[:8], read("a")[4096:4104]])


@behaviour(SECTION, "what is written by one name is read by descriptors and mappings that are open by the other",
           prepare=two_names, not_on=NO_LINKS)
def two_names_open(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("a", RD)
    view = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    seen = [os.pread(fd, 4, 0), view[:4]]
    overwrite("b", b"NEW", 0)
    trace.note("before", seen)
    trace.note("read", os.pread(fd, 4, 0))
    trace.note("mapped", view[:4])
    view.close()
    os.close(fd)


@behaviour(SECTION, "a store through a mapping of one name leaves what was written by the other",
           prepare=two_names, not_on=NO_LINKS)
def two_names_mapped(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("a", RW)

    def store() -> None:
        with mmap.mmap(fd, 0) as view:
            view[100] = view[100]
            overwrite("b", b"NEW", 0)
            view[200] = ord("x")
            view.flush()

    trace.call("mapped", store)
    overwrite("b", b"NEW", 0)
    os.close(fd)
    trace.note("in the end", [read("a")[:4], read("a")[200:204], read("b")[:4]])


@behaviour(SECTION, "a file that is mapped for writing by a name that went, and is mapped by the one that is left",
           prepare=lambda place: write(f"{place}/a", b"old " * 4096) and None, not_on=NO_LINKS)
def two_names_one_left(place: str, trace: Trace) -> None:
    os.chdir(place)
    first = os.open("a", RW)
    with mmap.mmap(first, 0) as view:
        os.link("a", "b")
        os.unlink("a")
        second = os.open("b", RW)
        trace.call("mapped by the other", lambda: mmap.mmap(second, 0).close())
        os.pwrite(second, b"NEW", 0)
        os.fsync(second)
        trace.note("written", [os.pread(second, 4, 0), read("b")[:4]])
        view[8192] = ord("x")
        view.flush()
    os.close(first)
    trace.note("in the end", [os.pread(second, 4, 0), os.pread(second, 4, 8192)])
    os.close(second)


@behaviour(SECTION, "flock and record locks exclude, whichever name they are taken by", prepare=two_names, not_on=NO_LINKS)
def two_names_locked(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("a", RW)
    fcntl.flock(fd, fcntl.LOCK_EX)
    fcntl.lockf(fd, fcntl.LOCK_EX)

    def attempt(name: str) -> list:
        other = os.open(name, RW)
        return [
            outcome(fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB),
            outcome(fcntl.lockf, other, fcntl.LOCK_EX | fcntl.LOCK_NB),
        ]

    trace.note("by the same name", elsewhere(attempt, "a"))
    trace.note("by the other", elsewhere(attempt, "b"))
