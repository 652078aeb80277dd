"""Times: nanoseconds, NOW, OMIT, and what moves them."""

import os
import shutil
import subprocess
import time

from children import elsewhere
from files import content, opened, read, write
from registry import behaviour
from system import AT_SYMLINK_NOFOLLOW, UTIME_NOW, UTIME_OMIT, utimensat
from trace import Trace

SECTION = "Times"
RD, WR, RW, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT
OLD = 1_500_000_000_123_456_789


def make_old(place: str) -> None:
    write(f"{place}/f", content(5000))
    os.mkdir(f"{place}/d")
    os.symlink("f", f"{place}/l")
    os.utime(f"{place}/f", ns=(OLD + 1, OLD))
    os.utime(f"{place}/d", ns=(OLD + 3, OLD + 2))


@behaviour(SECTION, "utimensat keeps every nanosecond, before 1970 and after 2038", prepare=make_old)
def nanoseconds(place: str, trace: Trace) -> None:
    os.chdir(place)
    trace.note("as made", [os.stat("f").st_mtime_ns, os.stat("d").st_mtime_ns])
    values = [0, 1, 999_999_999, 1_000_000_000, OLD, -1, -1_500_000_000, -(1 << 31) * 10**9]
    values += [(1 << 31) * 10**9 + 5, (1 << 32) * 10**9 + 7, 15_000_000_000 * 10**9 + 9]
    for name in ("f", "d"):
        for value in values:
            trace.call(f"{name} {value}", os.utime, name, ns=(value + 17, value))
            found = os.stat(name)
            trace.note(f"{name} got {value}", [found.st_atime_ns, found.st_mtime_ns])
            trace.note(f"{name} elsewhere", elsewhere(lambda: os.stat(name).st_mtime_ns))
    fd = os.open("f", RD)
    os.utime(fd, ns=(OLD, OLD + 77))
    trace.note("by descriptor", os.stat("f").st_mtime_ns)
    os.close(fd)
    os.utime("l", ns=(5, 6), follow_symlinks=False)
    trace.note("of a link", [os.lstat("l").st_mtime_ns, os.stat("l").st_mtime_ns])


@behaviour(SECTION, "UTIME_NOW and UTIME_OMIT, each alone and both", prepare=make_old)
def now_and_omit(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ("f", "d"):
        os.utime(name, ns=(OLD, OLD))
        start = time.time_ns() - 1_000_000_000
        utimensat(name, (0, UTIME_OMIT), (7, 8))
        trace.note(f"{name}: mtime alone", [os.stat(name).st_atime_ns, os.stat(name).st_mtime_ns])
        utimensat(name, (9, 10), (0, UTIME_OMIT))
        trace.note(f"{name}: atime alone", [os.stat(name).st_atime_ns, os.stat(name).st_mtime_ns])
        utimensat(name, (0, UTIME_OMIT), (0, UTIME_OMIT))
        trace.note(f"{name}: neither", [os.stat(name).st_atime_ns, os.stat(name).st_mtime_ns])
        utimensat(name, (0, UTIME_OMIT), (0, UTIME_NOW))
        trace.note(f"{name}: mtime now", os.stat(name).st_atime_ns)
        end = time.time_ns() + 1_000_000_000
        trace.claim(f"{name}: is now", start < os.stat(name).st_mtime_ns < end)
        os.utime(name)
        trace.claim(f"{name}: both now", start < os.stat(name).st_atime_ns < end + 10**9)
    trace.call("of a link that dangles", utimensat, "missing", (0, 0), (0, 0), AT_SYMLINK_NOFOLLOW)
    trace.call("bad nanoseconds", utimensat, "f", (0, 10**9), (0, 0))
    subprocess.run(["touch", "-d", "2001-02-03 04:05:06.789012345 UTC", "f", "new"], check=True)
    trace.note("touch", [os.stat(name).st_mtime_ns for name in ("f", "new")])


@behaviour(SECTION, "mtime moves when content is written, and by nothing else", prepare=make_old)
def what_moves_mtime(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("f", RW)

    def step(name: str, act: object) -> None:
        os.utime("f", ns=(OLD, OLD))
        act()
        moved = os.stat("f").st_mtime_ns != OLD
        trace.note(name, [moved, elsewhere(lambda: os.stat("f").st_mtime_ns != OLD)])

    step("open and close for writing", lambda: opened("f", WR))
    step("open with O_APPEND", lambda: opened("f", WR | os.O_APPEND))
    step("open with O_CREAT", lambda: opened("f", RW | CREAT))
    step("read", lambda: read("f"))
    step("write nothing", lambda: os.write(fd, b""))
    step("fsync", lambda: os.fsync(fd))
    step("chmod", lambda: os.chmod("f", 0o600))
    step("chown", lambda: os.chown("f", os.getuid(), os.getgid()))
    step("link", lambda: os.link("f", "f2"))
    step("unlink of another name", lambda: os.unlink("f2"))
    step("rename", lambda: (os.rename("f", "g"), os.rename("g", "f")))
    step("xattr", lambda: os.setxattr("f", "user.a", b"b"))
    step("write", lambda: os.pwrite(fd, b"x", 0))
    step("ftruncate to another size", lambda: os.ftruncate(fd, 100))
    step("ftruncate to the same size", lambda: os.ftruncate(fd, 100))
    step("truncate to the same size", lambda: os.truncate("f", 100))
    step("fallocate", lambda: os.posix_fallocate(fd, 0, 200))
    step("open with O_TRUNC", lambda: opened("f", WR | os.O_TRUNC))
    step("open with O_TRUNC when empty", lambda: opened("f", WR | os.O_TRUNC))
    os.close(fd)


@behaviour(SECTION, "a time set by descriptor before close stays (cp -p, tar), and a later write moves it")
def set_before_close(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("f", RW | CREAT)
    os.write(fd, content(100_000))
    os.utime(fd, ns=(OLD, OLD))
    trace.note("open", os.stat("f").st_mtime_ns)
    os.fsync(fd)
    os.close(fd)
    trace.note("closed", [os.stat("f").st_mtime_ns, elsewhere(lambda: os.stat("f").st_mtime_ns)])
    trace.pause("commit")
    trace.note("after a commit", os.stat("f").st_mtime_ns)
    fd = os.open("f", WR)
    os.utime("f", ns=(OLD, OLD + 1))
    os.write(fd, b"x")
    trace.note("written", os.stat("f").st_mtime_ns != OLD + 1)
    os.close(fd)


@behaviour(SECTION, "the mtime of what was just written is the writer's fstat, in every process, for good")
def last_write(place: str, trace: Trace) -> None:
    os.chdir(place)
    wrong = []
    for turn in range(30):
        fd = os.open("f", RW | CREAT)
        os.write(fd, content(10_000, str(turn)))
        own = os.fstat(fd).st_mtime_ns
        before_close = elsewhere(lambda: os.stat("f").st_mtime_ns)
        os.close(fd)
        os.rename("f", "published")
        after = os.stat("published").st_mtime_ns
        if len({own, before_close, after}) != 1:
            wrong.append([own, before_close, after])
    trace.claim(f"the same: {wrong[:2]}", wrong == [])
    written = os.stat("published").st_mtime_ns
    trace.pause("commit")
    trace.claim("after a commit", os.stat("published").st_mtime_ns == written)
    trace.claim("elsewhere", elsewhere(lambda: os.stat("published").st_mtime_ns) == written)


@behaviour(SECTION, "ctime moves with content, attributes and names; atime is neither negative nor ahead",
           prepare=make_old)
def other_times(place: str, trace: Trace) -> None:
    os.chdir(place)

    def step(name: str, act: object) -> None:
        before = os.stat("f").st_ctime_ns
        end = time.monotonic() + 10
        # The clock of a local disk steps in ticks of some milliseconds.
        while True:
            act()
            if os.stat("f").st_ctime_ns > before or time.monotonic() > end:
                break
            time.sleep(0.002)
        trace.note(name, os.stat("f").st_ctime_ns > before)

    step("chmod", lambda: os.chmod("f", 0o640))
    step("write", lambda: write("f", b"x"))
    step("utime", lambda: os.utime("f", ns=(1, 2)))
    step("xattr", lambda: os.setxattr("f", "user.a", b"b"))
    step("rename", lambda: (os.rename("f", "g"), os.rename("g", "f")))
    step("link", lambda: (os.link("f", "f2"), os.unlink("f2")))
    os.utime("f")
    read("f")
    accessed = os.stat("f").st_atime_ns
    trace.claim("atime", 0 <= accessed <= time.time_ns() + 10**9)


@behaviour(SECTION, "copytree and cp -a: the times of directories are those of the source, set last")
def copied_times(place: str, trace: Trace) -> None:
    os.chdir(place)
    source = os.path.join(trace.scratch, "source")
    os.makedirs(source + "/a/b")
    for number, name in enumerate(["f", "a/f", "a/b/f"]):
        write(f"{source}/{name}", content(1000 * number))
        os.chmod(f"{source}/{name}", 0o600 + number)
    for number, (path, names, files) in enumerate(os.walk(source, topdown=False)):
        for name in files:
            os.utime(os.path.join(path, name), ns=(OLD, OLD + number))
        os.utime(path, ns=(OLD, OLD + 100 + number))

    def times(root: str) -> list:
        return sorted([os.path.relpath(path, root), os.stat(path).st_mtime_ns, oct(os.stat(path).st_mode),
                       [[name, os.stat(os.path.join(path, name)).st_mtime_ns] for name in sorted(files)]]
                      for path, _, files in os.walk(root))

    shutil.copytree(source, "by-copytree")
    subprocess.run(["cp", "-a", source, "by-cp"], check=True)
    trace.note("copytree", times("by-copytree"))
    trace.note("cp -a", times("by-cp"))
    shutil.copytree(source, "by-copytree", dirs_exist_ok=True)
    trace.note("merged", times("by-copytree"))
    trace.call("removed", shutil.rmtree, "by-copytree")
    trace.call("gone", os.stat, "by-copytree")
    trace.note("the other", sorted(os.listdir("by-cp")))
