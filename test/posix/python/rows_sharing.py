"""What one process does, another sees at once; what a killed one leaves."""

import os
import signal
import time
from typing import Callable

import system
from children import Child, elsewhere
from files import MIB, content, digest, listing, read, read_fd, write
from registry import behaviour
from trace import Trace

SECTION = "Several processes"
RD, WR, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
CREAT, APPEND, TRUNC = os.O_CREAT, os.O_APPEND, os.O_TRUNC


def make_log(place: str) -> None:
    write(f"{place}/log", b"")
    write(f"{place}/model", content(2 * MIB))


@behaviour(SECTION, "size and mtime of what is written are seen by stat in another process at once",
           prepare=make_log)
def seen_at_once(place: str, trace: Trace) -> None:
    os.chdir(place)

    def looks(child: Child) -> list:
        seen = []
        for _ in range(200):
            child.hear()
            found = os.stat("log")
            seen.append([found.st_size, found.st_mtime_ns])
            child.tell()
        return seen

    looker = Child(looks)
    fd = os.open("log", RW)
    written = []
    for turn in range(200):
        if turn % 50 == 49:
            os.ftruncate(fd, turn)
            os.lseek(fd, 0, os.SEEK_END)
        else:
            os.write(fd, b"x" * (turn * 13 % 5000 + 1))
        own = os.fstat(fd)
        written.append([own.st_size, own.st_mtime_ns])
        looker.tell()
        looker.hear()
    seen = looker.result()
    wrong = [[turn, a, b] for turn, (a, b) in enumerate(zip(written, seen)) if a != b]
    trace.claim(f"seen as written: {wrong[:3]}", wrong == [])
    trace.note("sizes", [size for size, _ in seen])
    os.close(fd)
    trace.note("closed", os.stat("log").st_size)


@behaviour(SECTION, "what one process writes, another that has the file open reads at once", prepare=make_log)
def read_while_written(place: str, trace: Trace) -> None:
    os.chdir(place)

    def follows(child: Child) -> list:
        fd = os.open("log", RD)
        seen = []
        for _ in range(100):
            child.hear()
            seen.append(len(read_fd(fd)))
            child.tell()
        os.lseek(fd, 0, os.SEEK_SET)
        return [seen, read_fd(fd).hex()]

    follower = Child(follows)
    fd = os.open("log", WR | APPEND)
    for turn in range(100):
        os.write(fd, content(turn * 97 + 1, "log"))
        follower.tell()
        follower.hear()
    seen, everything = follower.result()
    trace.note("parts", seen)
    trace.claim("all of it", bytes.fromhex(everything) == read("log"))
    trace.note("log", read("log"))
    os.close(fd)


@behaviour(SECTION, "an in-place rewrite (O_TRUNC and write) is read back by another process, each time",
           prepare=make_log)
def rewritten_in_place(place: str, trace: Trace) -> None:
    os.chdir(place)

    def looks(child: Child) -> list:
        seen = []
        for _ in range(60):
            child.hear()
            seen.append(read("refs-main").decode())
            child.tell()
        return seen

    looker = Child(looks)
    expected = []
    for turn in range(60):
        value = f"{turn:040x}"[: 40 - turn % 3]
        with open("refs-main", "w") as ref:
            ref.write(value)
        expected.append(value)
        looker.tell()
        looker.hear()
    trace.claim("each version", looker.result() == expected)
    trace.note("last", read("refs-main"))


@behaviour(SECTION, "a writer that dies of SIGKILL leaves what it had written; its descriptors are closed",
           prepare=make_log)
def killed_writer(place: str, trace: Trace) -> None:
    os.chdir(place)

    def writes(child: Child) -> None:
        fd = os.open("model.incomplete", WR | CREAT)
        os.write(fd, content(MIB))
        changed = os.open("model", RW)
        os.pwrite(changed, b"changed", 100)
        child.tell()
        signal.pause()

    writer = Child(writes)
    writer.hear()
    writer.kill()
    trace.note("partial", [os.stat("model.incomplete"), digest("model.incomplete")])
    trace.note("changed", [os.stat("model"), digest("model")])
    with open("model.incomplete", "ab") as file:
        file.write(b"resumed")
    trace.note("resumed", [os.stat("model.incomplete").st_size, digest("model.incomplete")])
    os.rename("model.incomplete", "model")
    trace.note("left", listing("."))


@behaviour(SECTION, "a parent that holds a file open sees what its child writes into it by name",
           prepare=make_log)
def child_writes(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ("log", "model"):
        fd = os.open(name, RD)
        trace.note(f"{name} before", [os.fstat(fd).st_size, os.read(fd, 1000)])
        elsewhere(lambda name=name: write(name, b"by the child" * 1000) and None)
        trace.note(f"{name} size", os.fstat(fd).st_size)
        trace.note(f"{name} content", os.pread(fd, MIB, 0))
        os.close(fd)


@behaviour(SECTION, "inotify tells of what happens in a directory")
def watching(place: str, trace: Trace) -> None:
    os.chdir(place)
    mask = system.IN_CREATE | system.IN_DELETE | system.IN_MOVED_FROM | system.IN_MOVED_TO
    fd = system.inotify(".", mask | system.IN_CLOSE_WRITE)
    write("f", b"x")
    os.rename("f", "g")
    os.mkdir("d")
    elsewhere(lambda: os.unlink("g"))
    trace.note("events", [[hex(mask), name] for mask, name in system.inotify_events(fd)])
    os.close(fd)


@behaviour(SECTION, "programs go on over a kill of the daemon: files that are open, and new ones",
           prepare=make_log)
def daemon_killed(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("model", RW)
    new = os.open("new", RW | CREAT)
    os.write(new, b"before, ")
    trace.pause("kill-daemon")
    os.write(new, b"after")
    os.pwrite(fd, b"changed", 1000)
    trace.note("open files", [os.pread(fd, 3 * MIB, 0), os.pread(new, 100, 0)])
    write("made after", b"x")
    os.rename("new", "renamed")
    os.truncate("log", 10)
    trace.note("left", listing("."))
    os.close(fd)
    os.close(new)
    trace.pause("commit")
    trace.note("after a commit", listing("."))


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError("what was waited for did not come")
        time.sleep(0.005)


@behaviour(SECTION, "a client that is stopped in the middle of its writes holds up nobody, and then ends its work",
           prepare=make_log)
def stopped_writer(place: str, trace: Trace) -> None:
    os.chdir(place)
    whole = content(16 * MIB, "large")

    def writes(child: Child) -> int:
        fd = os.open("large.incomplete", WR | CREAT)
        step = 256 * 1024
        for at in range(0, len(whole), step):
            os.write(fd, whole[at : at + step])
            # It is at work, over and over at the same place, until it is told to end.
            while at == 32 * step and not child.heard(0):
                os.pwrite(fd, whole[at : at + step], at)
        os.close(fd)
        return len(whole)

    writer = Child(writes)
    wait_until(lambda: os.path.exists("large.incomplete") and os.stat("large.incomplete").st_size > 8 * MIB)
    os.kill(writer.pid, signal.SIGSTOP)
    _, status = os.waitpid(writer.pid, os.WUNTRACED)
    trace.claim("it was stopped at work", os.WIFSTOPPED(status))
    there = os.stat("large.incomplete").st_size
    trace.claim("what is there is the beginning", read("large.incomplete") == whole[:there])
    trace.note("others go on", [write("other", content(100_000)), digest("other"), listing(".")[1:]])
    os.rename("large.incomplete", "large")
    trace.pause("commit")
    trace.claim("its size stays", os.stat("large").st_size == there)
    reader = os.open("large", RD)
    os.kill(writer.pid, signal.SIGCONT)
    writer.tell()
    trace.note("written", writer.result())
    trace.note("whole", [os.stat("large"), digest("large"), os.pread(reader, 100, 15 * MIB)])
    os.close(reader)
