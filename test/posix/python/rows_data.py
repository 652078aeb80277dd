"""What is written is what is read: shapes of writes, truncation, holes, copies."""

import mmap
import os
import random
import socket
import threading

import system
from children import at_once, elsewhere
from files import MIB, content, digest, opened, read, read_fd, write, write_all
from registry import behaviour
from system import SEEK_DATA, SEEK_HOLE
from trace import Trace, outcome

SECTION = "Reading and writing"
RD, WR, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
CREAT, APPEND, TRUNC = os.O_CREAT, os.O_APPEND, os.O_TRUNC
SIZES = [0, 1, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1, 3 * MIB]


def make_sizes(place: str) -> None:
    for size in SIZES:
        write(f"{place}/{size}", content(size, "settled"))


@behaviour(SECTION, "files of 0, 1, page, chunk and their neighbours, in one write and in small ones",
           prepare=make_sizes)
def sizes(place: str, trace: Trace) -> None:
    os.chdir(place)
    for size in SIZES:
        trace.note(f"found {size}", [os.stat(str(size)), digest(str(size))])
        write(f"whole-{size}", content(size))
        fd = os.open(f"parts-{size}", WR | CREAT)
        data = content(size)
        for at in range(0, size, 65_537):
            os.write(fd, data[at : at + 65_537])
        os.close(fd)
        trace.note(f"{size}", [os.stat(f"whole-{size}"), digest(f"whole-{size}")])
        trace.claim(f"parts of {size}", digest(f"parts-{size}") == digest(f"whole-{size}"))


@behaviour(SECTION, "reads at any offset give exactly what is there, short only at the end", prepare=make_sizes)
def reads(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open(str(3 * MIB), RD)
    for offset, length in [(0, 1), (1, MIB), (MIB - 1, 2), (MIB, MIB), (2 * MIB + 5, 2 * MIB)]:
        trace.note(f"{length} at {offset}", os.pread(fd, length, offset))
    trace.note("at the end", os.pread(fd, 10, 3 * MIB))
    trace.note("vectors", os.preadv(fd, [bytearray(100), bytearray(MIB), bytearray(7)], 12_345))
    trace.note("backwards", [os.pread(fd, 16, at) for at in range(3 * MIB - 16, 0, -300_007)])
    trace.note("small steps", [os.read(fd, 8192)[:4].hex() for _ in range(5)])
    os.close(fd)


@behaviour(SECTION, "writes out of order, beyond the end and over each other; holes read as zeros",
           prepare=make_sizes)
def random_writes(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ("fresh", str(3 * MIB), str(MIB + 1), "1", "0"):
        fd = os.open(name, RW | CREAT)
        for offset in (2 * MIB, 5, 10 * MIB + 1, 0, MIB - 3):
            os.pwrite(fd, content(10_000, name + str(offset)), offset)
        trace.note(f"{name}: own", read_fd(fd))
        os.close(fd)
        trace.note(f"{name}: after", [os.stat(name), digest(name)])
    fd = os.open("header", WR | CREAT)
    os.write(fd, b"\0" * 16 + content(1000))
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, b"header patched!!")
    os.lseek(fd, 0, os.SEEK_END)
    os.write(fd, b"end")
    os.close(fd)
    trace.note("header", read("header"))


@behaviour(SECTION, "O_APPEND writes at the true end: two descriptors, after a truncation, with pwrite",
           prepare=make_sizes)
def appending(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ("fresh", str(MIB), "1"):
        one, other = os.open(name, WR | CREAT | APPEND), os.open(name, WR | APPEND)
        plain = os.open(name, RW)
        for turn in range(50):
            os.write(one if turn % 2 else other, b"line %d\n" % turn)
        trace.note(f"{name}: position", os.lseek(other, 0, os.SEEK_CUR))
        os.pwrite(plain, b"first", 0)
        os.pwrite(one, b"pwrite appends\n", 0)
        os.ftruncate(plain, 100)
        os.write(other, b"after the truncation")
        trace.note(name, [os.stat(name), read(name)])
        for fd in (one, other, plain):
            os.close(fd)
    with open("resumed.incomplete", "ab") as file:
        file.write(content(5000))
    with open("resumed.incomplete", "ab") as file:
        trace.note("tell", file.tell())
        file.write(b"the rest")
    trace.note("resumed", read("resumed.incomplete"))


@behaviour(SECTION, "lines that several processes append are all there, whole")
def appended_lines(place: str, trace: Trace) -> None:
    os.chdir(place)

    def logs(number: int) -> None:
        fd = os.open("log", WR | CREAT | APPEND)
        for turn in range(300):
            os.write(fd, f"{number} {turn} {'x' * (turn % 90)}\n".encode())

    at_once(4, logs)
    lines = read("log").decode().splitlines()
    trace.note("lines", sorted(lines))
    trace.note("size", os.stat("log").st_size)


@behaviour(SECTION, "truncate and ftruncate, up and down, also while others have the file open",
           prepare=make_sizes)
def truncation(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ("fresh", str(3 * MIB), str(MIB), "1"):
        writer = os.open(name, RW | CREAT)
        reader = os.open(name, RD)
        os.pread(reader, 10_000, 0)
        for size in (MIB + 7, 10, 0, 5000, 4 * MIB, MIB - 1, MIB - 1):
            os.ftruncate(writer, size)
            seen = [os.fstat(reader).st_size, os.stat(name).st_size, elsewhere(os.path.getsize, name)]
            trace.note(f"{name} to {size}", [seen, os.pread(reader, 5 * MIB, 0)])
            os.pwrite(writer, b"mark", min(size, 77))
        os.truncate(name, 200)
        trace.note(f"{name} by name", [os.fstat(reader).st_size, os.pread(reader, 1000, 0)])
        os.close(writer)
        os.close(reader)
    trace.call("a missing one", os.truncate, "missing", 0)
    trace.call("negative", os.truncate, "1", -1)


@behaviour(SECTION, "truncation frees what is cut: growing again reads zeros", prepare=make_sizes)
def cut_and_grow(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in (str(3 * MIB), str(MIB + 1), "4097"):
        os.truncate(name, 1000)
        os.truncate(name, 2 * MIB)
        data = read(name)
        trace.note(name, [data, data[1000:].count(0), os.stat(name)])


@behaviour(SECTION, "O_TRUNC is seen at once by who has the file open: its end, then the new content",
           prepare=make_sizes)
def truncated_under_reader(place: str, trace: Trace) -> None:
    os.chdir(place)
    name = str(3 * MIB)
    reader = os.open(name, RD)
    trace.note("before", os.read(reader, 100_000))
    writer = os.open(name, WR | TRUNC)
    trace.note("end", [os.read(reader, 10), os.fstat(reader).st_size])
    write_all(writer, content(150_000, "second"))
    trace.note("goes on", [os.read(reader, MIB), os.pread(reader, MIB, 0)])
    os.close(writer)
    trace.note("closed", os.pread(reader, MIB, 0))
    os.close(reader)


@behaviour(SECTION, "sparse files up to 16 TiB take no space; beyond the local disk's limit is EFBIG")
def sparse(place: str, trace: Trace) -> None:
    os.chdir(place)
    top = 16 << 40
    fd = os.open("sparse", RW | CREAT)
    for offset in (0, 1 << 32, 1 << 40, top - 8192):
        trace.call(f"write at {offset}", os.pwrite, fd, b"here", offset)
        trace.call(f"read around {offset}", os.pread, fd, 8192, max(offset - 4096, 0))
    trace.note("size", os.fstat(fd))
    trace.claim("blocks", os.fstat(fd).st_blocks < 1000)
    trace.call("too far", os.pwrite, fd, b"x", top)
    trace.call("too large", os.ftruncate, fd, top + 1)
    positions = []
    at = 0
    while (found := outcome(os.lseek, fd, at, SEEK_DATA)) != "ENXIO":
        at = os.lseek(fd, found, SEEK_HOLE)
        positions.append([found, at])
    trace.note("data", positions)
    os.ftruncate(fd, 1 << 30)
    trace.note("cut", os.fstat(fd).st_size)
    os.close(fd)


@behaviour(SECTION, "SEEK_DATA and SEEK_HOLE tell the local disk's extents, ENXIO at the end")
def seek_hole(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("f", RW | CREAT)
    for offset in (0, 2 * MIB, 5 * MIB + 4096):
        os.pwrite(fd, b"x" * 4096, offset)
    os.ftruncate(fd, 8 * MIB)
    for offset in (0, 1, 4096, MIB, 2 * MIB, 6 * MIB, 8 * MIB - 1, 8 * MIB, 9 * MIB):
        trace.call(f"data from {offset}", os.lseek, fd, offset, SEEK_DATA)
        trace.call(f"hole from {offset}", os.lseek, fd, offset, SEEK_HOLE)
    os.close(fd)


@behaviour(SECTION, "fallocate: mode 0 and KEEP_SIZE, punching and zeroing; other modes may be EOPNOTSUPP",
           prepare=make_sizes)
def allocation(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ("fresh", str(MIB)):
        fd = os.open(name, RW | CREAT)
        trace.call(f"{name}: extends", system.fallocate, fd, 0, 0, 2 * MIB)
        trace.note(f"{name}: size", os.fstat(fd).st_size)
        trace.call(f"{name}: keeps", system.fallocate, fd, system.FALLOC_KEEP_SIZE, 2 * MIB, 4 * MIB)
        trace.note(f"{name}: size kept", [os.fstat(fd).st_size, elsewhere(os.path.getsize, name)])
        os.pwrite(fd, content(MIB), MIB)
        punch = system.FALLOC_PUNCH_HOLE | system.FALLOC_KEEP_SIZE
        trace.call(f"{name}: punch", system.fallocate, fd, punch, 5000, 100_000)
        trace.call(f"{name}: zero", system.fallocate, fd, system.FALLOC_ZERO_RANGE, MIB + 10, 5000)
        trace.note(f"{name}: read", os.pread(fd, 3 * MIB, 0))
        for mode in (system.FALLOC_COLLAPSE_RANGE, system.FALLOC_INSERT_RANGE):
            answer = outcome(system.fallocate, fd, mode, 0, MIB)
            trace.one_of(f"{name}: mode {mode}", answer, "EOPNOTSUPP", "ok")
        trace.call(f"{name}: nothing", system.fallocate, fd, 0, 0, 0)
        os.close(fd)
    reader = os.open("1", RD)
    trace.call("a reader", system.fallocate, reader, 0, 0, 10)
    os.close(reader)
    fd = os.open("posix", RW | CREAT)
    trace.call("posix_fallocate", os.posix_fallocate, fd, 10, 100)
    trace.note("its size", os.fstat(fd).st_size)
    os.close(fd)


@behaviour(SECTION, "numpy's tofile: fallocate, dup, fdopen; the positions agree")
def tofile(place: str, trace: Trace) -> None:
    os.chdir(place)
    files = [open(f"shard-{number}", "wb") for number in range(3)]
    for number, file in enumerate(files):
        file.write(b"magic")
        file.flush()
        copy = os.dup(file.fileno())
        with os.fdopen(copy, "wb") as stream:
            at = stream.tell()
            trace.call("allocates", system.fallocate, stream.fileno(), system.FALLOC_KEEP_SIZE, at, 2 * MIB)
            trace.note(f"size {number}", os.fstat(stream.fileno()).st_size)
            stream.write(content(MIB, str(number)))
        file.seek(0, os.SEEK_END)
        trace.note(f"end {number}", file.tell())
        file.write(b"tail")
    for number, file in enumerate(files):
        file.close()
        trace.note(f"content {number}", read(f"shard-{number}"))


def copied(source: int, target: int, count: int, at: int, to: int) -> int:
    total = 0
    while total < count:
        part = os.copy_file_range(source, target, count - total, at + total, to + total)
        if part == 0:
            break
        total += part
    return total


@behaviour(SECTION, "copy_file_range within the mount copies; to another file system it may be EXDEV",
           prepare=make_sizes)
def copy_file_range(place: str, trace: Trace) -> None:
    os.chdir(place)
    source = os.open(str(3 * MIB), RW)
    target = os.open("target", RW | CREAT)
    trace.note("whole", copied(source, target, 3 * MIB, 0, 0))
    trace.note("its content", digest("target"))
    trace.note("into the middle", copied(source, target, 100_000, 12_345, MIB - 7))
    trace.note("beyond the end", copied(source, target, MIB, 3 * MIB - 10, 4 * MIB))
    trace.note("from the end", copied(source, target, 10, 3 * MIB, 0))
    trace.note("target", [os.fstat(target), digest("target"), elsewhere(os.path.getsize, "target")])
    trace.note("within one file", copied(source, source, 1000, 0, 2 * MIB))
    trace.call("over itself", os.copy_file_range, source, source, 1000, 0, 10)
    appender = os.open("target", WR | APPEND)
    trace.call("to an appender", os.copy_file_range, source, appender, 10, 0)
    reader = os.open("target", RD)
    trace.call("to a reader", os.copy_file_range, source, reader, 10, 0)
    outside = os.open(os.path.join(trace.scratch, "outside"), RW | CREAT)
    for label, one, other in (("out", source, outside), ("in", outside, target)):
        answer = outcome(os.copy_file_range, one, other, 1000, 0, 0)
        allowed = ["EXDEV", "EOPNOTSUPP", "EINVAL", 1000]
        trace.one_of(label, answer, *allowed, *([0] if label == "in" else []))
    clone = outcome(lambda: __import__("fcntl").ioctl(target, system.FICLONE, source))
    trace.one_of("FICLONE", clone, "EOPNOTSUPP", "ENOTTY", "EXDEV", "EINVAL", 0)
    for fd in (source, target, appender, reader, outside):
        os.close(fd)


@behaviour(SECTION, "sendfile and splice, out of the mount and into it", prepare=make_sizes)
def sending(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open(str(3 * MIB), RD)
    ours, theirs = socket.socketpair()
    received: list[bytes] = []

    def receives() -> None:
        while part := theirs.recv(MIB):
            received.append(part)

    thread = threading.Thread(target=receives)
    thread.start()
    sent = 0
    while sent < 3 * MIB:
        sent += os.sendfile(ours.fileno(), fd, sent, 3 * MIB - sent)
    ours.close()
    thread.join()
    trace.note("sent to a socket", b"".join(received))
    target = os.open("by-sendfile", WR | CREAT)
    sent = 0
    while sent < 3 * MIB:
        sent += os.sendfile(target, fd, sent, 3 * MIB - sent)
    os.close(target)
    trace.note("sent to a file", [os.stat("by-sendfile"), digest("by-sendfile")])
    read_end, write_end = os.pipe()
    target = os.open("by-splice", WR | CREAT)
    os.lseek(fd, 0, os.SEEK_SET)
    total = 0
    while moved := system.splice(fd, write_end, 65_536):
        while moved:
            part = system.splice(read_end, target, moved)
            moved -= part
            total += part
    trace.note("spliced", [total, digest("by-splice")])
    for end in (fd, target, read_end, write_end):
        os.close(end)


@behaviour(SECTION, "eight threads that write and read their own parts of one file", prepare=make_sizes)
def parallel_parts(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open(str(MIB), RW)
    wrong: list[int] = []

    def works(number: int) -> None:
        for turn in range(40):
            offset = (turn * 8 + number) * 10_007
            data = content(10_007, f"{number} {turn}")
            os.pwrite(fd, data, offset)
            if os.pread(fd, 10_007, offset) != data:
                wrong.append(offset)

    threads = [threading.Thread(target=works, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    trace.note("wrong", wrong)
    trace.note("in the end", [os.stat(str(MIB)), digest(str(MIB))])


@behaviour(SECTION, "large vectors: 24 buffers of 4 MiB in one writev")
def large_vectors(place: str, trace: Trace) -> None:
    os.chdir(place)
    buffers = [bytes([number]) * (4 * MIB) for number in range(24)]
    fd = os.open("f", WR | CREAT)
    written = os.writev(fd, buffers)
    trace.note("written", written)
    os.close(fd)
    trace.note("content", [os.stat("f"), digest("f")])
    trace.call("opened", opened, "f", RD)


@behaviour(SECTION, "copy_file_range refuses what a local disk refuses: directories, FIFOs, closed and negative ones",
           prepare=make_sizes)
def copy_refused(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("dir")
    os.mkfifo("fifo")
    source, target = os.open(str(MIB), RD), os.open("target", RW | CREAT)
    directory, fifo = os.open("dir", RD), os.open("fifo", RW)
    closed = os.dup(source)
    os.close(closed)
    for label, one, other in (
        ("from a directory", directory, target),
        ("to a directory", source, directory),
        ("from a FIFO", fifo, target),
        ("to a FIFO", source, fifo),
        ("from what is closed", closed, target),
        ("to a reader", target, source),
    ):
        trace.call(label, os.copy_file_range, one, other, 100, 0, 0)
    trace.call("from before the beginning", os.copy_file_range, source, target, 100, -1, 0)
    trace.call("nothing", os.copy_file_range, source, target, 0, 0, 0)
    trace.call("beyond every end", os.copy_file_range, source, target, 100, (1 << 63) - 1, 0)
    trace.note("nothing came", os.stat("target"))
    for fd in (source, target, directory, fifo):
        os.close(fd)


@behaviour(SECTION, "sendfile and splice send what was written a moment ago, and end where the file ends",
           prepare=make_sizes)
def sending_what_changes(place: str, trace: Trace) -> None:
    os.chdir(place)
    reader, writer = os.open(str(MIB), RD), os.open(str(MIB), WR)
    read_end, write_end = os.pipe()
    out = os.open(os.path.join(trace.scratch, "out"), RW | CREAT)
    for turn in range(20):
        at = turn * 50_000
        os.pwrite(writer, b"turn %2d" % turn, at)
        moved = system.splice_at(reader, at, write_end, 7)
        trace.note("spliced", [moved, os.read(read_end, 100)])
        trace.note("sent", [os.sendfile(out, reader, at, 7), os.pread(out, 7, turn * 7)])
    os.ftruncate(writer, 500_000)
    trace.note("to the end", [os.sendfile(out, reader, 499_990, 100), os.sendfile(out, reader, 500_000, 100)])
    trace.note("spliced to the end", [system.splice_at(reader, 499_990, write_end, 100), os.read(read_end, 100)])
    trace.note("and beyond", system.splice_at(reader, 600_000, write_end, 100))
    os.unlink(str(MIB))
    trace.note("without a name", [os.sendfile(out, reader, 0, 100), system.splice_at(reader, 0, write_end, 100)])
    for fd in (reader, writer, read_end, write_end, out):
        os.close(fd)


LIMIT = 400_000


def random_step(rng: random.Random, fd: int, model: bytearray) -> str | None:
    """One step of fsx: the same to the file and to the bytes that it must hold. What went wrong."""
    at, length = rng.randrange(LIMIT), rng.choice([1, 100, 4096, 5000, 70_000])
    end = min(at + length, LIMIT)
    kind = rng.choice(["read", "read", "write", "write", "map", "store", "cut", "punch", "copy"])
    if kind == "read":
        return None if os.pread(fd, end - at, at) == model[at:end] else f"read of {end - at} at {at}"
    if kind == "cut":
        os.ftruncate(fd, at)
        model[at:] = bytes(max(at - len(model), 0))
    elif kind == "write":
        data = rng.randbytes(end - at)
        os.pwrite(fd, data, at)
        model.extend(bytes(max(end - len(model), 0)))
        model[at:end] = data
    elif kind == "punch":
        punch = system.FALLOC_PUNCH_HOLE | system.FALLOC_KEEP_SIZE
        if outcome(system.fallocate, fd, punch, at, end - at) == "ok":
            hole = max(min(end, len(model)) - at, 0)
            model[at : at + hole] = bytes(hole)
    elif kind == "copy":
        to = rng.randrange(LIMIT - (end - at) + 1)
        if end <= len(model) and (to >= end or to + end - at <= at):
            part = bytes(model[at:end])
            if copied(fd, fd, len(part), at, to) != len(part):
                return f"copy of {len(part)} at {at}"
            model.extend(bytes(max(to + len(part) - len(model), 0)))
            model[to : to + len(part)] = part
    elif at < len(model):
        end = min(end, len(model))
        with mmap.mmap(fd, len(model)) as mapping:
            if mapping[at:end] != model[at:end]:
                return f"mapped {end - at} at {at}"
            if kind == "store":
                model[at:end] = mapping[at:end] = rng.randbytes(end - at)
    return None


@behaviour(SECTION, "fsx: random reads, writes, mapped ones, cuts, holes and copies of one file leave no wrong byte",
           prepare=make_sizes)
def random_steps(place: str, trace: Trace) -> None:
    os.chdir(place)
    for seed, name in enumerate(("fresh", str(MIB), "4097")):
        rng = random.Random(seed)
        fd = os.open(name, RW | CREAT)
        if os.fstat(fd).st_size > LIMIT:
            os.ftruncate(fd, LIMIT)
        model = bytearray(read(name))
        wrong = []
        for step in range(5000 if os.environ.get("MODELCACHE_TEST_LONG") == "1" else 400):
            answer = random_step(rng, fd, model)
            if answer is None and os.fstat(fd).st_size != len(model):
                answer = f"size {os.fstat(fd).st_size}, not {len(model)}"
            if answer is not None:
                wrong.append(f"seed {seed}, step {step}: {answer}")
                break
        trace.claim(f"{name}: {wrong}", wrong == [])
        os.close(fd)
        trace.claim(f"{name}: in the end", read(name) == model and elsewhere(digest, name) == digest(name))
