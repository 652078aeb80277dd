"""flock, record locks, open file description locks."""

import errno
import fcntl
import os
import signal
import sqlite3
import struct

import system
from children import Child, at_once, elsewhere
from files import opened, read, write
from registry import behaviour
from trace import Trace, outcome

SECTION = "Locks"
RD, WR, RW, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT
EX, SH, NB, UN = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB, fcntl.LOCK_UN


def make_lock(place: str) -> None:
    write(f"{place}/x.lock", b"", 0o664)


def tries_flock(path: str, how: int, flags: int = RD) -> str:
    """What an attempt of another process answers; it lets go by its end."""

    def attempt() -> str:
        return outcome(fcntl.flock, os.open(path, flags), how | NB)

    return elsewhere(attempt)


def tries_record(path: str, kind: int, start: int = 0, length: int = 0) -> str:
    def attempt() -> str:
        return outcome(fcntl.lockf, os.open(path, RW), kind | NB, length, start)

    answer = elsewhere(attempt)
    return "taken" if answer in ("EAGAIN", "EACCES") else answer


@behaviour(SECTION, "flock excludes between processes: shared, exclusive, converted, by any open mode",
           prepare=make_lock)
def flock_excludes(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("x.lock", RW | CREAT | os.O_NOFOLLOW)
    fcntl.flock(fd, EX | NB)
    trace.note("exclusive", [tries_flock("x.lock", EX), tries_flock("x.lock", SH)])
    trace.note("by a writer", tries_flock("x.lock", EX, WR))
    other = os.open("x.lock", RD)
    trace.call("own second descriptor", fcntl.flock, other, EX | NB)
    fcntl.flock(fd, SH)
    trace.note("shared", [tries_flock("x.lock", EX), tries_flock("x.lock", SH)])
    trace.call("second shared", fcntl.flock, other, SH | NB)
    trace.call("no upgrade", fcntl.flock, fd, EX | NB)
    fcntl.flock(other, UN)
    trace.call("upgrade", fcntl.flock, fd, EX | NB)
    os.ftruncate(fd, 0)
    os.fchmod(fd, 0o664)
    trace.note("mode", os.fstat(fd))
    fcntl.flock(fd, UN)
    trace.note("free", tries_flock("x.lock", EX))
    trace.call("a directory", fcntl.flock, os.open(".", RD), EX | NB)
    trace.note("closed", [os.close(fd), tries_flock("x.lock", EX)])


@behaviour(SECTION, "flock ends with the last descriptor: dup and fork share it, SIGKILL frees it",
           prepare=make_lock)
def flock_ends(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("x.lock", RW | CREAT)
    copy = os.dup(fd)
    fcntl.flock(fd, EX)
    os.close(fd)
    trace.note("a copy holds it", tries_flock("x.lock", EX))
    os.close(copy)
    trace.note("free", tries_flock("x.lock", EX))

    def holds(child: Child) -> None:
        held = os.open("x.lock", RW)
        fcntl.flock(held, EX)
        child.tell()
        signal.pause()

    holder = Child(holds)
    holder.hear()
    trace.note("held", tries_flock("x.lock", EX))
    holder.kill()
    trace.note("after SIGKILL", tries_flock("x.lock", EX))


@behaviour(SECTION, "a waiting flock gets the lock when it is freed, and hears signals while it waits",
           prepare=make_lock)
def flock_waits(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("x.lock", RW | CREAT)
    fcntl.flock(fd, EX)

    def waits(child: Child) -> str:
        own = os.open("x.lock", RW)
        child.tell()
        fcntl.flock(own, EX)
        child.tell()
        return "got it"

    waiter = Child(waits)
    waiter.hear()
    trace.note("it waits", not waiter.heard(0.2))
    fcntl.flock(fd, UN)
    waiter.hear()
    trace.note("result", waiter.result())
    fcntl.flock(fd, EX)

    def interrupted(child: Child) -> str:
        def stops(*_: object) -> None:
            raise InterruptedError(errno.EINTR, "stopped")

        signal.signal(signal.SIGALRM, stops)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        return outcome(fcntl.flock, os.open("x.lock", RW), EX)

    trace.note("interrupted", Child(interrupted).result())


@behaviour(SECTION, "filelock's check: the link count of a locked file is 1, and 0 once it is unlinked",
           prepare=make_lock)
def lock_file_links(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("x.lock", RW | CREAT | os.O_NOFOLLOW, 0o664)
    fcntl.flock(fd, EX | NB)
    trace.note("links", os.fstat(fd).st_nlink)
    trace.pause("commit")
    trace.note("after a commit", os.fstat(fd).st_nlink)
    elsewhere(lambda: os.unlink("x.lock"))
    trace.note("unlinked elsewhere", os.fstat(fd).st_nlink)
    again = os.open("x.lock", RW | CREAT)
    trace.call("a new file, a new lock", fcntl.flock, again, EX | NB)
    trace.note("one each", [os.fstat(fd).st_nlink, os.fstat(again).st_nlink])
    os.rename("x.lock", "y.lock")
    trace.note("it moves along", tries_flock("y.lock", EX))


@behaviour(SECTION, "four processes that count under a lock lose no step (lock file unlinked after use)",
           prepare=lambda place: write(f"{place}/count", b"0") and None)
def counting(place: str, trace: Trace) -> None:
    os.chdir(place)

    def counts(_: int) -> None:
        for _ in range(100):
            while True:
                fd = os.open("count.lock", RW | CREAT, 0o664)
                fcntl.flock(fd, EX)
                if os.fstat(fd).st_nlink != 0:
                    break
                os.close(fd)
            value = int(read("count"))
            write("count", b"%d" % (value + 1))
            os.unlink("count.lock")
            os.close(fd)

    at_once(4, counts)
    trace.note("count", read("count"))


@behaviour(SECTION, "record locks exclude by range, name their holder, end with any close and with SIGKILL",
           prepare=lambda place: write(f"{place}/db", b"\0" * 10_000) and None)
def record_locks(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("db", RW)
    fcntl.lockf(fd, EX | NB, 100, 1000)
    trace.note("the range", tries_record("db", EX, 1050, 10))
    trace.note("shared", tries_record("db", SH, 1050, 10))
    trace.note("beside it", [tries_record("db", EX, 0, 1000), tries_record("db", EX, 1100, 0)])
    trace.note("own again", outcome(fcntl.lockf, os.open("db", RW), EX | NB, 100, 1000))

    def asks() -> list:
        query = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, start, length, pid = struct.unpack("hhqqi4x", fcntl.fcntl(os.open("db", RW), fcntl.F_GETLK, query))
        return [kind == fcntl.F_WRLCK, start, length, pid]

    kind, start, length, pid = elsewhere(asks)
    trace.note("F_GETLK", [kind, start, length])
    trace.claim("the holder", pid == os.getpid())
    fcntl.lockf(fd, UN, 50, 1000)
    trace.note("half", [tries_record("db", EX, 1000, 50), tries_record("db", EX, 1050, 50)])
    os.close(os.open("db", RD))
    trace.note("any close ends them", tries_record("db", EX))

    def holds(child: Child) -> None:
        fcntl.lockf(os.open("db", RW), EX)
        child.tell()
        signal.pause()

    holder = Child(holds)
    holder.hear()
    trace.note("held", tries_record("db", EX))
    holder.kill()
    trace.note("after SIGKILL", tries_record("db", EX))
    trace.call("write lock of a reader", fcntl.lockf, os.open("db", RD), EX | NB)
    trace.call("read lock of a writer", fcntl.lockf, os.open("db", WR), SH | NB)


@behaviour(SECTION, "two processes that wait for each other's record lock get EDEADLK",
           prepare=lambda place: write(f"{place}/db", b"\0" * 10) and None)
def deadlock(place: str, trace: Trace) -> None:
    os.chdir(place)

    def locks(child: Child) -> str:
        fd = os.open("db", RW)
        fcntl.lockf(fd, EX, 1, 1)
        child.tell()
        child.hear()
        return outcome(fcntl.lockf, fd, EX, 1, 0)

    other = Child(locks)
    other.hear()
    fd = os.open("db", RW)
    fcntl.lockf(fd, EX, 1, 0)
    other.tell()
    mine = outcome(fcntl.lockf, fd, EX, 1, 1)
    if mine == "EDEADLK":
        fcntl.lockf(fd, UN)
    theirs = other.result()
    trace.note("one of them", sorted([mine, theirs]))


@behaviour(SECTION, "open file description locks exclude between descriptors of one process",
           prepare=lambda place: write(f"{place}/db", b"\0" * 10) and None)
def description_locks(place: str, trace: Trace) -> None:
    os.chdir(place)

    def ofd(fd: int, kind: int) -> None:
        fcntl.fcntl(fd, system.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, 0, 0, 0))

    one, other = os.open("db", RW), os.open("db", RW)
    trace.call("first", ofd, one, fcntl.F_WRLCK)
    trace.call("second", ofd, other, fcntl.F_WRLCK)
    trace.call("second shared", ofd, other, fcntl.F_RDLCK)
    os.close(os.open("db", RW))
    trace.call("another close ends nothing", ofd, other, fcntl.F_WRLCK)
    trace.note("seen by record locks", tries_record("db", EX))
    trace.call("unlocked", ofd, one, fcntl.F_UNLCK)
    trace.call("free", ofd, other, fcntl.F_WRLCK)
    trace.call("flock beside it", fcntl.flock, one, EX | NB)


@behaviour(SECTION, "SQLite, in both journal modes, with two processes that write: nothing is lost")
def sqlite(place: str, trace: Trace) -> None:
    os.chdir(place)
    for mode in ("delete", "wal"):
        path = f"{mode}.db"
        with sqlite3.connect(path, timeout=30, isolation_level=None) as database:
            trace.note("mode", database.execute(f"pragma journal_mode={mode}").fetchone()[0])
            database.execute("create table t (process int, turn int, data blob)")
        database.close()

        def writes(number: int, path: str = path) -> None:
            connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            for turn in range(25):
                connection.execute("begin immediate")
                connection.execute("insert into t values (?, ?, zeroblob(5000))", (number, turn))
                connection.execute("commit")
            connection.close()

        at_once(2, writes)
        connection = sqlite3.connect(path)
        trace.note("check", connection.execute("pragma integrity_check").fetchall())
        trace.note("rows", connection.execute("select count(*), sum(turn) from t").fetchone())
        connection.close()
        trace.note("left", sorted(name for name in os.listdir() if name.startswith(mode)))
    trace.call("opened", opened, "wal.db", RD)


@behaviour(SECTION, "eight processes on one lock, of which the one that holds it is killed: the others go on",
           prepare=make_lock)
def holder_killed(place: str, trace: Trace) -> None:
    os.chdir(place)

    def works(number: int) -> Child:
        def runs(child: Child) -> list:
            child.hear()
            steps = 0
            while steps < 20:
                fd = os.open("x.lock", RW | CREAT | os.O_NOFOLLOW, 0o664)
                fcntl.flock(fd, EX)
                if number == 0 and steps == 5:
                    # It is killed inside of its section, with what it held half done.
                    write("section", b"0 died here")
                    child.tell()
                    signal.pause()
                held = read("section") if os.path.exists("section") else b"free"
                write("section", b"held by %d" % number)
                mine = read("section") == b"held by %d" % number
                write("section", b"free")
                os.close(fd)
                if not mine or (held != b"free" and held != b"0 died here"):
                    raise RuntimeError(f"{number} was not alone: {held!r}")
                steps += 1
            return [number, steps]

        return Child(runs)

    children = [works(number) for number in range(8)]
    for child in children:
        child.tell()
    children[0].hear()
    trace.note("held", tries_flock("x.lock", EX))
    children[0].kill()
    trace.note("the others", [child.result() for child in children[1:]])
    trace.note("free", [tries_flock("x.lock", EX), read("section"), os.stat("x.lock").st_nlink])
