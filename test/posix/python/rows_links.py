"""Hard links, link counts and inode numbers, with our own link in objects/ behind them."""

import os
import random
import time

import system
from children import elsewhere
from files import content, digest, listing, opened, read, write
from registry import NO_LINKS, behaviour
from system import AT_FDCWD, AT_SYMLINK_FOLLOW, linkat
from trace import Trace, link_count

SECTION = "Hard links and inode numbers"
RD, WR, RW, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT


def make_two(place: str) -> None:
    write(f"{place}/a", content(100_000))
    os.link(f"{place}/a", f"{place}/b")
    write(f"{place}/single", b"one name")
    os.mkdir(f"{place}/d")
    os.symlink("single", f"{place}/l")


@behaviour(SECTION, "two names are one file: content, attributes, inode number, link count", prepare=make_two,
           not_on=NO_LINKS)
def links(place: str, trace: Trace) -> None:
    os.chdir(place)
    trace.note("found", [os.stat("a"), os.stat("b"), os.path.samefile("a", "b")])
    os.link("a", "d/c")
    trace.note("three", [link_count(os.stat(name)) for name in ("a", "b", "d/c")])
    fd = os.open("b", RW)
    os.pwrite(fd, b"by b", 10)
    trace.note("seen by a", read("a")[:20])
    os.chmod("a", 0o600)
    os.utime("d/c", ns=(1, 2))
    trace.note("attributes", [os.stat("b"), os.stat("b").st_mtime_ns])
    os.unlink("a")
    trace.note("two left", [link_count(os.fstat(fd)), link_count(os.stat("b"))])
    os.rename("b", "e")
    write("other", b"other")
    os.rename("other", "d/c")
    trace.note("one left", [os.fstat(fd), elsewhere(lambda: link_count(os.stat("e")))])
    os.unlink("e")
    trace.note("none left", link_count(os.fstat(fd)))
    os.close(fd)
    trace.note("in the end", listing("."))


@behaviour(SECTION, "link refuses what a local disk refuses", prepare=make_two, not_on=NO_LINKS)
def link_errors(place: str, trace: Trace) -> None:
    os.chdir(place)
    for one, other in [("a", "b"), ("a", "d"), ("d", "e"), ("missing", "x"), ("a", "no/x"), ("a/x", "y"),
                       ("a", "n" * 256), ("a", "")]:
        trace.call(f"{one} {other[:5]}", os.link, one, other)
    linkat(AT_FDCWD, "l", "link-to-link", 0)
    trace.note("of a link", [os.readlink("link-to-link"), link_count(os.lstat("l"))])
    linkat(AT_FDCWD, "l", "followed", AT_SYMLINK_FOLLOW)
    trace.note("followed", [os.path.samefile("followed", "single"), link_count(os.stat("single"))])
    fd = os.open("single", RD)
    os.unlink("single")
    os.unlink("followed")
    trace.note("no name", link_count(os.fstat(fd)))
    trace.call("linked back", linkat, AT_FDCWD, f"/proc/self/fd/{fd}", "back", AT_SYMLINK_FOLLOW)
    os.close(fd)


@behaviour(SECTION, "a committed file has the links that programs made: ours in objects/ does not show")
def committed_links(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("model", content(200_000))
    write("other", content(1000, "other"))
    for turn in range(2):
        trace.pause("commit-all")
        numbers = [link_count(os.stat("model")), link_count(os.lstat("model"))]
        fd = os.open("model", RD)
        numbers.append(link_count(os.fstat(fd)))
        numbers.append(elsewhere(lambda: link_count(os.stat("model"))))
        with os.scandir(".") as entries:
            numbers += [link_count(e.stat(follow_symlinks=False)) for e in entries if e.name == "model"]
        trace.note(f"one name {turn}", numbers)
        os.link("model", "second")
        trace.note(f"two names {turn}", [link_count(os.fstat(fd)), link_count(os.stat("second"))])
        os.close(fd)
        trace.pause("commit-all")
        trace.note(f"committed again {turn}", [link_count(os.stat("model")), link_count(os.stat("second"))])
        os.unlink("second")
        trace.note(f"one again {turn}", link_count(os.stat("model")))
        os.utime("model", ns=(turn, turn))
    fd = os.open("model", RD)
    os.unlink("model")
    trace.note("unlinked and open", [link_count(os.fstat(fd)), elsewhere(lambda: link_count(os.fstat(fd)))])
    trace.call("linked back", linkat, AT_FDCWD, f"/proc/self/fd/{fd}", "back", AT_SYMLINK_FOLLOW)
    trace.pause("commit-all")
    trace.note("after a commit", [link_count(os.fstat(fd)), len(os.pread(fd, 300_000, 0))])
    os.close(fd)
    reader = os.open("other", RD)
    write("new", b"new")
    os.rename("new", "other")
    trace.note("overwritten and open", link_count(os.fstat(reader)))
    trace.pause("commit-all")
    trace.note("and after a commit", [link_count(os.fstat(reader)), digest("other")])
    os.close(reader)


@behaviour(SECTION, "inode numbers are stable: lstat, fstat, readdir, rename, writes, commits; and unique")
def inode_numbers(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("d")
    names = [f"d/{number}" for number in range(200)]
    for name in names:
        write(name, name.encode())
    first = {name: os.lstat(name).st_ino for name in names}
    device = os.stat("d").st_dev
    trace.claim("unique", len(set(first.values())) == 200)

    def same(label: str) -> None:
        with os.scandir("d") as entries:
            listed = {f"d/{entry.name}": entry.inode() for entry in entries}
        fds = {name: os.open(name, RD) for name in random.Random(2).sample(names, 20)}
        trace.claim(f"{label}: readdir", listed == first)
        trace.claim(f"{label}: lstat", all(os.lstat(name).st_ino == first[name] for name in names))
        trace.claim(f"{label}: fstat", all(os.fstat(fd).st_ino == first[n] for n, fd in fds.items()))
        trace.claim(f"{label}: device", {os.lstat(name).st_dev for name in names} == {device})
        for fd in fds.values():
            os.close(fd)

    same("at first")
    trace.pause("commit-all")
    same("committed")
    for name in names[:50]:
        write(name, b"written again")
        os.rename(name, "x")
        os.rename("x", name)
    same("written and renamed")
    trace.claim("elsewhere", elsewhere(lambda: {n: os.stat(n).st_ino for n in names}) == first)
    trace.note("count", len(os.listdir("d")))


@behaviour(SECTION, "a hundred names of one file, in many directories, made and removed", not_on=NO_LINKS,
           prepare=lambda place: write(f"{place}/source", content(5000)) and None)
def hundred_links(place: str, trace: Trace) -> None:
    os.chdir(place)
    for number in range(100):
        os.makedirs(f"d{number % 10}", exist_ok=True)
        os.link("source", f"d{number % 10}/{number}")
    trace.note("links", os.stat("source"))
    trace.pause("commit-all")
    trace.note("committed", os.stat("d3/33"))
    fd = os.open("d7/77", WR)
    os.write(fd, b"through one of them")
    os.close(fd)
    trace.note("through another", read("d1/11"))
    for number in range(99):
        os.unlink(f"d{number % 10}/{number}")
    os.unlink("source")
    trace.note("one left", os.stat("d9/99"))
    trace.pause("commit-all")
    trace.note("and committed", [os.stat("d9/99"), digest("d9/99")])
    trace.call("opened", opened, "d9/99", RD)
    trace.call("exchanged with a new one", lambda: (write("n"), system.renameat2("n", "d9/99", 2)))


@behaviour(SECTION, "link, rename, unlink: in any order one file, whose count and ctime follow in every process",
           prepare=lambda place: write(f"{place}/f", content(50_000)) and None)
def link_rename_unlink(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("f", RD)
    ino = os.fstat(fd).st_ino

    def counts(*names: str) -> list:
        known = [[link_count(os.stat(name)), elsewhere(lambda name=name: link_count(os.stat(name)))] for name in names]
        same = all(os.stat(name).st_ino == ino for name in names)
        return [link_count(os.fstat(fd)), known, same, sorted(os.listdir())]

    os.link("f", "g")
    trace.note("linked", counts("f", "g"))
    os.rename("g", "h")
    trace.note("renamed", counts("f", "h"))
    before = os.stat("h").st_ctime_ns
    end = time.monotonic() + 10
    while os.stat("h").st_ctime_ns == before and time.monotonic() < end:
        os.link("h", "again")
        os.unlink("again")
    trace.claim("ctime moves with the count", os.stat("h").st_ctime_ns > before)
    os.unlink("f")
    trace.note("the first name went", counts("h"))
    writer = os.open("h", RW)
    os.pwrite(writer, b"written by the second name", 0)
    trace.note("read by the first one's descriptor", os.pread(fd, 50_000, 0))
    os.link("h", "f")
    os.rename("f", "h")
    trace.note("a name onto its twin", counts("f", "h"))
    write("other", b"other")
    os.rename("other", "h")
    trace.note("another over one of them", [counts("f"), read("h")])
    os.ftruncate(writer, 100)
    os.unlink("f")
    trace.note("no name", [os.fstat(fd), os.pread(fd, 200, 0), sorted(os.listdir())])
    os.close(writer)
    os.close(fd)
    trace.note("left", listing("."))
