"""Mappings: read, written, kept after close, unlink, rename and truncation."""

import ctypes
import ctypes.util
import hashlib
import mmap
import os
import shutil
import subprocess
import threading
import time

import system
from children import Child, at_once, elsewhere, ending
from files import MIB, content, digest, opened, read, write
from registry import behaviour
from trace import Trace, outcome

SECTION = "Mapping"
RD, WR, RW, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT
READ, WRITE, EXEC = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC
SIZE = 2 * MIB + 1234


def make_model(place: str) -> None:
    write(f"{place}/model", content(SIZE))


def mapped(path: str, flags: int, protection: int, how: int, length: int = 0) -> mmap.mmap:
    """A mapping whose descriptor is closed."""
    fd = os.open(path, flags)
    try:
        return mmap.mmap(fd, length, flags=how, prot=protection)
    finally:
        os.close(fd)


@behaviour(SECTION, "private and shared read-only mappings give the file, after its descriptor is closed",
           prepare=make_model)
def map_read(place: str, trace: Trace) -> None:
    os.chdir(place)
    for how in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
        mapping = mapped("model", RD, READ, how)
        trace.note(f"{how}: length", len(mapping))
        trace.note(f"{how}: a page", mapping[MIB - 10 : MIB + 10])
        trace.note(f"{how}: end", mapping[-10:])
        trace.note(f"{how}: whole", mapping[:])
        mapping.madvise(mmap.MADV_WILLNEED)
        mapping.madvise(mmap.MADV_DONTNEED)
        trace.note(f"{how}: again", mapping[:])
        mapping.close()
    populated = mapped("model", RD, READ, mmap.MAP_PRIVATE | system.MAP_POPULATE)
    trace.note("populated", populated[:])
    fd = os.open("model", RD)
    part = mmap.mmap(fd, 5000, flags=mmap.MAP_PRIVATE, prot=READ, offset=MIB)
    trace.note("at an offset", part[:])
    os.close(fd)


@behaviour(SECTION, "stores through a private mapping stay private", prepare=make_model)
def map_private_write(place: str, trace: Trace) -> None:
    os.chdir(place)
    before = os.stat("model").st_mtime_ns
    mapping = mapped("model", RD, READ | WRITE, mmap.MAP_PRIVATE)
    mapping[100:110] = b"only here!"
    mapping[SIZE - 4 :] = b"here"
    trace.note("mapping", mapping[:])
    trace.note("file", digest("model"))
    trace.note("elsewhere", elsewhere(digest, "model"))
    trace.claim("mtime", os.stat("model").st_mtime_ns == before)


@behaviour(SECTION, "stores through a shared mapping are read by others at once; msync moves mtime",
           prepare=make_model)
def map_shared_write(place: str, trace: Trace) -> None:
    os.chdir(place)
    before = os.stat("model").st_mtime_ns
    mapping = mapped("model", RW, READ | WRITE, mmap.MAP_SHARED)
    mapping[100:110] = b"for all!!!"
    fd = os.open("model", RD)
    trace.note("read", os.pread(fd, 20, 95))
    trace.note("elsewhere", elsewhere(lambda: os.pread(fd, 20, 95).hex()))
    trace.note("another mapping", mapped("model", RD, READ, mmap.MAP_SHARED)[95:115])
    mapping.flush()
    trace.claim("mtime after msync", os.stat("model").st_mtime_ns > before)
    now = os.stat("model").st_mtime_ns
    trace.claim("mtime elsewhere", elsewhere(lambda: os.stat("model").st_mtime_ns) == now)
    os.pwrite(os.open("model", WR), b"by write", 200)
    trace.note("the mapping sees a write", mapping[195:215])
    elsewhere(lambda: os.pwrite(os.open("model", WR), b"from elsewhere", 300))
    trace.note("and one from elsewhere", mapping[295:320])
    trace.note("size stays", os.stat("model"))
    mapping.close()
    trace.note("whole", digest("model"))
    trace.note("cold", elsewhere(digest, "model"))


@behaviour(SECTION, "a writable mapping outlives close: what is stored later is in the file, and seen",
           prepare=make_model)
def map_after_close(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("new", b"\0" * 100_000)
    for name in ("new", "model"):
        mapping = mapped(name, RW, READ | WRITE, mmap.MAP_SHARED)
        for turn in range(5):
            before = elsewhere(lambda: os.stat(name).st_mtime_ns)
            mapping[turn * 5000 : turn * 5000 + 6] = b"turn %d" % turn
            mapping.flush()
            trace.note(f"{name} {turn}", elsewhere(lambda: read(name)[turn * 5000 :][:6].decode()))
            after = elsewhere(lambda: os.stat(name).st_mtime_ns)
            trace.claim(f"mtime moved {turn}", after > before)
        mapping.close()
        trace.note(name, [os.stat(name), digest(name)])


@behaviour(SECTION, "a mapping outlives unlink, rename and rename-over of its file", prepare=make_model)
def map_after_names(place: str, trace: Trace) -> None:
    os.chdir(place)
    mapping = mapped("model", RW, READ | WRITE, mmap.MAP_SHARED)
    os.rename("model", "moved")
    mapping[0:5] = b"moved"
    trace.note("moved", read("moved")[:10])
    write("other", content(SIZE, "other"))
    os.rename("other", "moved")
    mapping[5:9] = b"over"
    trace.note("over", [mapping[:10], read("moved")[:10]])
    lazily = mapped("moved", RD, READ, mmap.MAP_SHARED)
    os.unlink("moved")
    trace.note("unlinked", [hashlib.sha256(lazily).hexdigest(), mapping[:10]])
    trace.note("no name", os.listdir())
    write("moved", b"another file")
    trace.note("old bytes", [lazily[:10], mapping[:12], read("moved")])


@behaviour(SECTION, "a page beyond the end is SIGBUS; the last page ends in zeros; growing brings it back",
           prepare=make_model)
def map_truncated(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("model", RW)
    mapping = mmap.mmap(fd, SIZE, flags=mmap.MAP_SHARED, prot=READ | WRITE)
    last = SIZE // 4096 * 4096
    trace.note("tail", mapping[last:])
    os.ftruncate(fd, 5000)
    trace.note("page that is left", mapping[4096:8192])
    trace.note("beyond", ending(lambda: mapping[10_000]))
    trace.note("store beyond", ending(lambda: mapping.__setitem__(10_000, 1)))
    os.ftruncate(fd, SIZE)
    trace.note("zeros", mapping[4990:12_000])
    mapping[10_000] = 65
    trace.note("file", [os.stat("model"), digest("model")])
    os.ftruncate(fd, 0)
    trace.note("emptied", ending(lambda: mapping[0]))
    os.pwrite(fd, b"filled again", 0)
    trace.note("filled", mapping[0:12])
    os.close(fd)


@behaviour(SECTION, "mmap refuses what a local disk refuses", prepare=make_model)
def map_errors(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("dir")
    write("empty")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]

    def attempt(path: str, flags: int, protection: int, how: int, length: int = 4096, at: int = 0):
        fd = os.open(path, flags)
        try:
            address = libc.mmap(None, length, protection, how, fd, at)
            if address == ctypes.c_void_p(-1).value:
                raise OSError(ctypes.get_errno(), "mmap")
            libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(length))
        finally:
            os.close(fd)

    cases = {
        "shared write of a reader": ("model", RD, READ | WRITE, mmap.MAP_SHARED),
        "private write of a reader": ("model", RD, READ | WRITE, mmap.MAP_PRIVATE),
        "a writer": ("model", WR, READ, mmap.MAP_SHARED),
        "a directory": ("dir", RD, READ, mmap.MAP_PRIVATE),
        "executable": ("model", RD, READ | EXEC, mmap.MAP_PRIVATE),
        "executable, shared": ("model", RD, READ | EXEC, mmap.MAP_SHARED),
        "an empty file": ("empty", RD, READ, mmap.MAP_SHARED),
    }
    for label, arguments in cases.items():
        trace.call(label, attempt, *arguments)
    trace.call("length 0", attempt, "model", RD, READ, mmap.MAP_SHARED, 0)
    trace.call("odd offset", attempt, "model", RD, READ, mmap.MAP_SHARED, 4096, 100)
    trace.call("beyond the end", attempt, "model", RD, READ, mmap.MAP_SHARED, 4096, 16 * MIB)
    locked = mapped("model", RD, READ, mmap.MAP_SHARED)
    address = ctypes.c_void_p(libc.mmap(None, 65536, READ, mmap.MAP_SHARED, os.open("model", RD), 0))
    trace.note("mlock", [libc.mlock(address, 65536), libc.munlock(address, 65536)])
    locked.close()


def make_weights(place: str) -> None:
    for number in range(4):
        write(f"{place}/weights-{number}", content(4 * MIB, f"weights {number}"))


@behaviour(SECTION, "64 readers fault pages of four files in at once, in four processes",
           prepare=make_weights)
def parallel_faults(place: str, trace: Trace) -> None:
    os.chdir(place)
    expected = [content(4 * MIB, f"weights {number}") for number in range(4)]

    def loads(process: int) -> int:
        maps = [mapped(f"weights-{n}", RD, READ, mmap.MAP_SHARED) for n in range(4)]
        wrong: list[int] = []

        def faults(thread: int) -> None:
            mapping, data = maps[thread % 4], expected[thread % 4]
            for turn in range(256):
                at = (turn * 641 + thread * 67 + process * 13) % 1024 * 4096
                if mapping[at : at + 4096] != data[at : at + 4096]:
                    wrong.append(at)

        threads = [threading.Thread(target=faults, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(wrong)

    trace.note("wrong", at_once(4, loads))


def make_programs(place: str) -> None:
    shutil.copy2(shutil.which("true") or "/bin/true", f"{place}/program")
    shutil.copy2(shutil.which("sleep") or "/bin/sleep", f"{place}/sleeper")
    library = "/lib/x86_64-linux-gnu/libm.so.6"
    if not os.path.exists(library):
        library = next(line.split()[-1] for line in open("/proc/self/maps") if "libm" in line)
    shutil.copy2(library, f"{place}/library.so")
    write(f"{place}/script", b"#!/bin/sh\necho from the script $1\n", 0o755)
    write(f"{place}/module.py", b"VALUE = 42\n")
    os.chmod(f"{place}/program", 0o755)


@behaviour(SECTION, "programs and scripts run, libraries are loaded, modules imported; ETXTBSY as on a local disk",
           prepare=make_programs)
def execution(place: str, trace: Trace) -> None:
    os.chdir(place)
    trace.note("program", subprocess.run(["./program"], check=False).returncode)
    script = subprocess.run(["./script", "x"], check=False, capture_output=True)
    trace.note("script", [script.returncode, script.stdout])

    def computes() -> float:
        library = ctypes.CDLL(os.path.abspath("library.so"))
        library.cos.restype = ctypes.c_double
        return library.cos(ctypes.c_double(0.0))

    trace.note("library", elsewhere(computes))
    python = ["python3", "-c", "import module; print(module.VALUE, module.__cached__[-9:])"]
    imported = subprocess.run(python, check=False, capture_output=True, env={"PATH": os.environ["PATH"]})
    trace.note("module", [imported.returncode, len(imported.stdout)])
    trace.note("cached", len(os.listdir("__pycache__")) if os.path.isdir("__pycache__") else 0)
    running = subprocess.Popen(["./sleeper", "100"])
    trace.call("write to what runs", opened, "sleeper", WR)
    trace.call("replace what runs", os.rename, "program", "sleeper")
    running.kill()
    running.wait()
    trace.note("replaced", subprocess.run(["./sleeper"], check=False).returncode)
    writer = os.open("script", RW)
    trace.call("run what is open for writing", lambda: subprocess.run(["./script"], check=False).returncode)
    os.close(writer)
    os.chmod("script", 0o644)
    trace.call("run without x", lambda: subprocess.run(["./script"], check=False).returncode)


@behaviour(SECTION, "a store through a mapping after a commit is not lost: it is in the file and the next root",
           prepare=make_model)
def map_between_commits(place: str, trace: Trace) -> None:
    os.chdir(place)
    mapping = mapped("model", RW, READ | WRITE, mmap.MAP_SHARED)
    trace.pause("commit")
    mapping[5000:5005] = b"after"
    trace.note("seen", elsewhere(lambda: read("model")[5000:5005].decode()))
    trace.pause("commit")
    trace.note("still", elsewhere(lambda: read("model")[5000:5005].decode()))
    mapping[6000:6005] = b"later"
    mapping.close()
    trace.pause("commit-all")
    trace.note("in the end", [os.stat("model"), digest("model")])


@behaviour(SECTION, "mapped reader, descriptor reader and writer of one file agree, whichever came first",
           prepare=make_model)
def map_and_write_mixed(place: str, trace: Trace) -> None:
    os.chdir(place)
    first = mapped("model", RD, READ, mmap.MAP_PRIVATE)
    trace.note("private, before", first[:4096])

    def writes(child: Child) -> None:
        child.hear()
        fd = os.open("model", RW)
        for turn in range(50):
            os.pwrite(fd, bytes([turn]) * 8192, turn * 8192)
        child.tell()
        child.hear()
        os.close(fd)

    writer = Child(writes)
    shared = mapped("model", RD, READ, mmap.MAP_SHARED)
    writer.tell()
    writer.hear()
    trace.note("shared", shared[: 50 * 8192])
    trace.note("descriptor", digest("model"))
    trace.note("errors", outcome(os.stat, "missing"))
    writer.tell()
    writer.result()
    trace.note("closed", [shared[:], digest("model")])


@behaviour(SECTION, "each msync, and the end of the mapping, move the mtime that stat sees in another process",
           prepare=make_model)
def msync_and_stat(place: str, trace: Trace) -> None:
    os.chdir(place)

    def looks(child: Child) -> list:
        fd = os.open("model", RD)
        seen = []
        for _ in range(22):
            child.hear()
            by_name, by_descriptor = os.stat("model"), os.fstat(fd)
            seen.append([by_name.st_size, by_name.st_mtime_ns, by_descriptor.st_mtime_ns])
            child.tell()
        return seen

    looker = Child(looks)

    def asks() -> None:
        looker.tell()
        looker.hear()

    mapping = mapped("model", RW, READ | WRITE, mmap.MAP_SHARED)
    asks()
    for turn in range(20):
        # A local disk moves it by the ticks of its clock.
        before = os.stat("model").st_mtime_ns
        end = time.monotonic() + 10
        while os.stat("model").st_mtime_ns == before and time.monotonic() < end:
            mapping[turn * 100_000 : turn * 100_000 + 4] = b"%4d" % turn
            mapping.flush()
        asks()
    mapping[7] = 7
    mapping.close()
    asks()
    seen = looker.result()
    times = [mtime for _, mtime, _ in seen]
    trace.claim("each msync moved it", all(a < b for a, b in zip(times[:21], times[1:21])))
    trace.claim("it never goes back", times == sorted(times))
    trace.claim("by descriptor as by name", all(a == b for _, a, b in seen))
    trace.note("sizes", {size for size, _, _ in seen})
    trace.note("content", digest("model"))


@behaviour(SECTION, "what another process cuts off is SIGBUS under a mapping; what it writes then is mapped",
           prepare=make_model)
def map_cut_elsewhere(place: str, trace: Trace) -> None:
    os.chdir(place)
    shared = mapped("model", RD, READ, mmap.MAP_SHARED)
    private = mapped("model", RD, READ | WRITE, mmap.MAP_PRIVATE)
    private[MIB : MIB + 4] = b"mine"
    trace.note("before", [shared[MIB : MIB + 4], private[MIB : MIB + 4]])
    elsewhere(lambda: os.truncate("model", 5000))
    trace.note("beyond", [ending(lambda: shared[MIB]), ending(lambda: private[2 * MIB])])
    trace.note("last page", [shared[4096:8192], os.stat("model").st_size])
    elsewhere(lambda: write("model", content(SIZE, "second")) and None)
    trace.note("written anew", [shared[:], os.stat("model")])
    elsewhere(lambda: os.unlink("model"))
    elsewhere(lambda: write("model", b"third") and None)
    trace.note("the mapping keeps the second", shared[:])
    trace.note("the name has the third", read("model"))
