"""GGUFWriter: several shards open at once, tensors by ndarray.tofile, which allocates before it writes."""

import ctypes
import errno
import os

from trace import blob

FALLOC_FL_KEEP_SIZE = 1
SHARDS = 3
#: From 16 MiB on numpy allocates first.
LARGE = 16 * 1024 * 1024
SMALL = 300_000
libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, offset, length):
    arguments = (fd, mode, ctypes.c_long(offset), ctypes.c_long(length))
    if libc.fallocate(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def allocate(trace, name, *arguments):
    """numpy goes on without the space where the file system offers no fallocate."""
    try:
        fallocate(*arguments)
    except OSError as error:
        trace.claim(f"{name}: not offered, and nothing else", error.errno == errno.EOPNOTSUPP)


def tofile(file, data, trace, what):
    """numpy's array_tofile: a second descriptor of the same open file, at the first one's place."""
    file.flush()
    place = file.tell()
    with os.fdopen(os.dup(file.fileno()), "wb") as twin:
        trace.fact(f"{what}: the twin stands where it stood", twin.seek(0, os.SEEK_CUR) == place)
        if len(data) >= LARGE:
            before = os.fstat(twin.fileno()).st_size
            allocate(trace, f"{what}: fallocate", twin.fileno(), FALLOC_FL_KEEP_SIZE, place, len(data))
            trace.fact(f"{what}: the size stays", os.fstat(twin.fileno()).st_size == before)
        twin.write(data)
        twin.flush()
        end = twin.tell()
    # The two share one offset; Python's own idea of it is set by hand, as numpy does.
    trace.fact(f"{what}: they agree", os.lseek(file.fileno(), 0, os.SEEK_CUR) == end == place + len(data))
    file.seek(end)


def run(root, trace):
    names = [os.path.join(root, f"model-{i + 1:05}-of-{SHARDS:05}.gguf") for i in range(SHARDS)]
    files = [open(name, "wb") for name in names]
    for index, file in enumerate(files):
        file.write(b"GGUF" + index.to_bytes(4, "little"))
    for tensor, size in enumerate((SMALL, LARGE + 32, SMALL)):
        for index, file in enumerate(files):
            tofile(file, blob(270 + tensor * 10 + index, size), trace, f"shard {index} tensor {tensor}")
            file.write(bytes(-file.tell() % 32))
    # Whole blocks beyond the end are reserved, and are no part of the file.
    allocate(trace, "32 MiB behind the end", files[0].fileno(), FALLOC_FL_KEEP_SIZE, 20 * 1024 * 1024, 32 * 1024 * 1024)
    for name, file in zip(names, files):
        file.close()
        trace.fact(f"size of {os.path.basename(name)}", os.path.getsize(name))
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
