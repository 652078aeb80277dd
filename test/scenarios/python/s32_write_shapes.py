"""Every shape in which the components write: appended, behind the end, cut, mapped, and of odd sizes."""

import mmap
import os
import signal

from trace import blob

CHUNK = 1024 * 1024
SIZES = [0, 1, 4095, 4096, 4097, 262143, 262144, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK - 1, 3 * CHUNK, 3 * CHUNK + 1]
RW, CREAT = os.O_RDWR, os.O_CREAT


def sizes(base, trace):
    for size in SIZES:
        path = os.path.join(base, str(size))
        with open(path, "wb") as file:
            file.write(blob(size, size))
        trace.fact(f"size {size}", os.path.getsize(path))


def appends(base, trace):
    path = os.path.join(base, "appended")
    first, second = (os.open(path, os.O_WRONLY | CREAT | os.O_APPEND, 0o644) for _ in range(2))
    for turn in range(50):
        os.write(first, b"first %02d\n" % turn)
        os.lseek(second, 0, os.SEEK_SET)
        os.write(second, b"second %02d\n" % turn)
    os.ftruncate(first, 100)
    os.write(second, b"after the cut\n")
    os.close(first)
    os.close(second)
    trace.content("appended", path)


def sparse(base, trace):
    path = os.path.join(base, "sparse")
    fd = os.open(path, RW | CREAT, 0o644)
    trace.fact("beyond the end", os.pwrite(fd, b"far", 5 * CHUNK + 17))
    trace.fact("zeros before", os.pread(fd, 2 * CHUNK, CHUNK).count(0))
    trace.call("grown", os.ftruncate, fd, 7 * CHUNK)
    trace.fact("size", os.fstat(fd).st_size)
    trace.call("cut", os.ftruncate, fd, 5 * CHUNK + 18)
    trace.call("grown again", os.ftruncate, fd, 6 * CHUNK)
    trace.fact("what was cut is zeros", os.pread(fd, 10, 5 * CHUNK + 15).hex())
    trace.call("a negative length", os.ftruncate, fd, -1)
    os.close(fd)


def ending(action):
    """How a child that does it ends: by which signal."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGBUS, signal.SIG_DFL)
            action()
        finally:
            os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "ended"


def mapped(base, trace):
    path = os.path.join(base, "mapped")
    fd = os.open(path, RW | CREAT, 0o644)
    os.write(fd, blob(321, 3 * CHUNK))
    mapping = mmap.mmap(fd, 3 * CHUNK, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    mapping[10:14] = b"mmap"
    trace.fact("stored and read", os.pread(fd, 4, 10).decode())
    os.ftruncate(fd, CHUNK + 100)
    trace.fact("the rest of its page", mapping[CHUNK + 100 : CHUNK + 4096].count(0))
    trace.fact("beyond it", ending(lambda: mapping[2 * CHUNK]))
    os.ftruncate(fd, 3 * CHUNK)
    trace.fact("grown under it", [mapping[2 * CHUNK], mapping[CHUNK + 200]])
    mapping[2 * CHUNK : 2 * CHUNK + 4] = b"back"
    mapping.flush()
    trace.fact("and in the file", os.pread(fd, 4, 2 * CHUNK).decode())
    os.close(fd)
    mapping[0:5] = b"close"
    trace.fact("stored after close", open(path, "rb").read(5).decode())
    mapping.close()


def truncated_under_a_reader(base, trace):
    path = os.path.join(base, "rewritten")
    with open(path, "wb") as file:
        file.write(blob(322, 2 * CHUNK))
    reader = os.open(path, os.O_RDONLY)
    trace.fact("read first", len(os.read(reader, 100_000)))
    writer = os.open(path, os.O_WRONLY | os.O_TRUNC)
    trace.fact("the reader sees the end", len(os.read(reader, 100)))
    os.write(writer, b"n" * 150_000)
    trace.fact("then the new content", os.read(reader, 100_000) == b"n" * 50_000)
    os.close(writer)
    os.close(reader)


def names(base, trace):
    def create(name):
        os.close(os.open(os.path.join(base, name), os.O_WRONLY | CREAT | os.O_EXCL, 0o644))

    trace.call("300 characters", create, "n" * 300)
    trace.call("256 bytes", create, "n" * 256)
    trace.call("255 bytes", create, "n" * 255)
    trace.call("255 bytes of UTF-8", create, "ü" * 127 + "x")
    trace.call("256 bytes of UTF-8", create, "ü" * 128)
    trace.call("a four-byte character", create, "🤗" * 63 + "abc")


def run(root, trace):
    for part in (sizes, appends, sparse, mapped, truncated_under_a_reader, names):
        base = os.path.join(root, part.__name__)
        os.mkdir(base)
        part(base, trace)
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
