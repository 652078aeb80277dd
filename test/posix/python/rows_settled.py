"""What a program does to files and directories that were there before: settled here, or remote."""

import os

from children import Child, at_once, elsewhere
from files import MIB, content, digest, listing, opened, read, write
from registry import behaviour
from trace import Trace, link_count, outcome

SECTION = "What was there before"
RD, WR, RW, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT
OLD = 1_650_000_000_111_222_333
DIRECTORIES = ("repo/blobs", "repo/snapshots", "repo/empty", "repo")


def make_repository(place: str) -> None:
    os.makedirs(f"{place}/repo/blobs")
    os.makedirs(f"{place}/repo/snapshots/c/sub")
    os.makedirs(f"{place}/repo/empty")
    for number in range(5):
        write(f"{place}/repo/blobs/{number}", content(number * MIB // 2 + number, str(number)))
        os.chmod(f"{place}/repo/blobs/{number}", 0o640)
        os.utime(f"{place}/repo/blobs/{number}", ns=(OLD, OLD + number))
        os.symlink(f"../../blobs/{number}", f"{place}/repo/snapshots/c/{number}.bin")
    os.symlink("../../../blobs/1", f"{place}/repo/snapshots/c/sub/one.bin")
    for path in ("repo/snapshots/c/sub", "repo/snapshots/c", *DIRECTORIES):
        os.utime(f"{place}/{path}", ns=(OLD, OLD + 50))


@behaviour(SECTION, "sizes, modes, mtimes, links and bytes are as they were", prepare=make_repository)
def found_again(place: str, trace: Trace) -> None:
    os.chdir(place)
    for path, names, files in os.walk("repo"):
        names.sort()
        trace.note(path, [os.stat(path).st_mtime_ns, os.stat(path).st_nlink])
        for name in sorted(files + [n for n in names if os.path.islink(os.path.join(path, n))]):
            whole = os.path.join(path, name)
            trace.note(whole, [os.lstat(whole), os.stat(whole).st_mtime_ns])
    trace.note("through links", [digest(f"repo/snapshots/c/{n}.bin") for n in range(5)])
    trace.note("two levels", digest("repo/snapshots/c/sub/one.bin"))
    trace.note("again", [[os.stat(f"repo/blobs/{n}"), os.stat(f"repo/blobs/{n}").st_mtime_ns] for n in range(5)])
    trace.note("all", listing("repo"))


@behaviour(SECTION, "names that were not listed yet are there for mkdir, O_EXCL, rmdir, rename, link, symlink",
           prepare=make_repository)
def unlisted_names(place: str, trace: Trace) -> None:
    os.chdir(place)
    trace.call("mkdir", os.mkdir, "repo/blobs")
    trace.call("exclusive", opened, "repo/blobs/1", WR | CREAT | os.O_EXCL)
    trace.call("symlink", os.symlink, "x", "repo/blobs/2")
    trace.call("rmdir", os.rmdir, "repo/snapshots")
    trace.call("rmdir of an empty one", os.rmdir, "repo/empty")
    trace.call("unlink a directory", os.unlink, "repo/snapshots")
    os.mkdir("new")
    trace.call("onto a full directory", os.rename, "new", "repo/snapshots/c")
    trace.call("onto another full one", os.rename, "new", "repo/blobs")
    write("file", b"moved in")
    trace.call("into it", os.rename, "file", "repo/snapshots/c/sub/file")
    trace.call("rename out of it", os.rename, "repo/snapshots/c/1.bin", "1.bin")
    trace.call("move it whole", os.rename, "repo/snapshots", "moved")
    trace.call("missing in it", os.stat, "moved/c/missing")
    trace.call("link into it", os.link, "moved/c/sub/file", "repo/blobs/linked")
    trace.note("left", listing("."))


@behaviour(SECTION, "the first change in a directory keeps all that it held", prepare=make_repository)
def first_change(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("repo/blobs/new", b"new")
    os.unlink("repo/snapshots/c/2.bin")
    os.mkdir("repo/empty/dir")
    os.rename("repo/blobs/3", "repo/blobs/three")
    os.chmod("repo/blobs/4", 0o600)
    trace.note("tree", listing("repo"))
    trace.note("attributes", [[os.stat(f"repo/blobs/{n}"), os.stat(f"repo/blobs/{n}").st_mtime_ns]
                              for n in ("1", "2", "three", "4")])
    trace.note("dangling", outcome(os.stat, "repo/snapshots/c/3.bin"))


@behaviour(SECTION, "writing changes what was there: a byte, an append, O_TRUNC, truncation up and down",
           prepare=make_repository)
def written_over(place: str, trace: Trace) -> None:
    os.chdir(place + "/repo/blobs")
    fd = os.open("1", RW)
    os.pwrite(fd, b"a few bytes", 100)
    trace.note("in the middle", [os.fstat(fd), os.pread(fd, MIB, 0)])
    os.close(fd)
    with open("2", "ab") as file:
        file.write(b"at the end")
    write("3", b"instead")
    os.truncate("4", 12_345)
    trace.note("mtime moved", [os.stat(name).st_mtime_ns > OLD + 10 for name in "01234"])
    os.truncate("4", MIB + 1)
    trace.note("all", [[os.stat(name), digest(name)] for name in "01234"])
    trace.note("elsewhere", [elsewhere(digest, name) for name in "01234"])
    trace.note("by link", digest("../snapshots/c/2.bin"))


@behaviour(SECTION, "attributes change without content: chmod, utimes, rename, unlink of one name",
           prepare=make_repository)
def attributes_only(place: str, trace: Trace) -> None:
    os.chdir(place + "/repo/blobs")
    os.chmod("1", 0o600)
    os.utime("2", ns=(OLD, OLD + 999))
    os.rename("3", "renamed")
    fd = os.open("4", RD)
    os.fchmod(fd, 0o444)
    os.utime(fd, ns=(OLD, OLD + 888))
    os.close(fd)
    names = ["0", "1", "2", "renamed", "4"]
    trace.note("attributes", [[os.stat(n), os.stat(n).st_mtime_ns] for n in names])
    trace.note("content", [digest(name) for name in names])
    trace.note("attributes again", [[os.stat(n), os.stat(n).st_mtime_ns] for n in names])
    os.chmod("../empty", 0o700)
    os.utime("../empty", ns=(OLD, OLD + 5))
    trace.note("a directory", [os.stat("../empty"), os.stat("../empty").st_mtime_ns, os.listdir("../empty")])


@behaviour(SECTION, "unlink and rename-over while it is read: the reader keeps every byte", prepare=make_repository)
def removed_while_open(place: str, trace: Trace) -> None:
    os.chdir(place + "/repo/blobs")
    fds = {name: os.open(name, RD) for name in "1234"}
    trace.note("first bytes", [os.pread(fd, 10, 0) for fd in fds.values()])
    os.unlink("1")
    write("other", b"other")
    os.rename("other", "2")
    os.rename("3", "three")
    write("4", b"truncated in place")
    for name, fd in fds.items():
        trace.note(name, [link_count(os.fstat(fd)), os.pread(fd, 3 * MIB, 0)])
    writer = os.open("three", RW)
    os.pwrite(writer, b"written", 1000)
    trace.note("written", os.pread(fds["3"], 3 * MIB, 0))
    for fd in [*fds.values(), writer]:
        os.close(fd)
    trace.note("left", listing("."))


@behaviour(SECTION, "readers and writers of several processes on a file that is not complete yet",
           prepare=make_repository)
def many_at_once(place: str, trace: Trace) -> None:
    os.chdir(place + "/repo/blobs")
    whole = content(4 * MIB // 2 + 4, "4")

    def works(number: int) -> bool:
        fd = os.open("4", RW if number == 3 else RD)
        if number == 3:
            os.pwrite(fd, whole[:1000], 0)
        offset = number * 300_000
        return os.pread(fd, 250_000, offset) == whole[offset : offset + 250_000]

    trace.note("right", at_once(6, works))
    trace.note("content", [os.stat("4"), digest("4")])


@behaviour(SECTION, "opening without writing leaves content, size and mtime, also for O_RDWR and O_APPEND",
           prepare=make_repository)
def opened_for_nothing(place: str, trace: Trace) -> None:
    os.chdir(place + "/repo/blobs")
    opened("1", RD)
    opened("2", RW)
    opened("3", WR | os.O_APPEND)
    opened("4", WR | CREAT)
    names = "01234"
    trace.note("attributes", [[os.stat(n), os.stat(n).st_mtime_ns] for n in names])
    trace.note("content", [digest(name) for name in names])


@behaviour(SECTION, "a file that two processes complete and truncate at once has one size",
           prepare=make_repository)
def truncated_while_read(place: str, trace: Trace) -> None:
    os.chdir(place + "/repo/blobs")
    whole = content(4 * MIB // 2 + 4, "4")

    def reads(child: Child) -> list:
        fd = os.open("4", RD)
        child.tell()
        wrong = []
        while not child.heard(0):
            data = os.pread(fd, 3 * MIB, 0)
            # A read and a truncation at once are no atoms, here as there: each byte is the old one,
            # or a zero of the page that was cut.
            wrong += [at for at, (a, b) in enumerate(zip(data, whole)) if a != b and a != 0][:1]
        return wrong

    reader = Child(reads)
    reader.hear()
    for size in (MIB, 100, 5000):
        os.truncate("4", size)
    reader.tell()
    trace.note("wrong", reader.result())
    trace.note("content", [os.stat("4"), digest("4")])
