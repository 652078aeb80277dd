"""llama.cpp loads a GGUF: mapped shared and read-only, WILLNEED, faults of many threads at random."""

import ctypes
import mmap
import os
import random
import sys
import threading

from trace import blob

MIB = 1024 * 1024
PAGE = 4096
PIECES = 1536 if os.environ.get("MODELCACHE_TEST_LONG") == "1" else 192
THREADS = 16
FAULTS = 150
#: Three of four pieces are zeros but for their number, as quantised models have long runs.
PATTERN = blob(26, MIB)

#: Foreign calls let other Python threads run: so do the faults in them.
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]


def piece(index):
    number = b"GGUF" + index.to_bytes(4, "little")
    return number + (PATTERN[8:] if index % 4 == 0 else bytes(MIB - 8))


def page(number):
    index, place = divmod(number * PAGE, MIB)
    if place == 0:
        return piece(index)[:PAGE]
    return PATTERN[place : place + PAGE] if index % 4 == 0 else bytes(PAGE)


class Mapping:
    """mmap(2) as C programs call it; Python's own copies under its lock, one fault at a time."""

    def __init__(self, path):
        fd = os.open(path, os.O_RDONLY)
        self.size = os.fstat(fd).st_size
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        self.address = libc.mmap(None, self.size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        os.close(fd)
        if self.address in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "mmap")

    def advise(self, advice):
        if libc.madvise(self.address, self.size, advice) != 0:
            raise OSError(ctypes.get_errno(), "madvise")

    def page(self, number):
        copy = ctypes.create_string_buffer(PAGE)
        libc.memcpy(copy, self.address + number * PAGE, PAGE)
        return copy.raw

    def close(self):
        libc.munmap(self.address, self.size)


def fault_at_random(path, trace):
    mapping = Mapping(path)
    trace.fact("size", mapping.size)
    mapping.advise(mmap.MADV_WILLNEED)
    wrong = []

    def work(seed):
        pick = random.Random(seed)
        for _ in range(FAULTS):
            number = pick.randrange(mapping.size // PAGE)
            if mapping.page(number) != page(number):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trace.fact("wrong pages", wrong)
    mapping.close()


def run(root, trace):
    path = os.path.join(root, "model.gguf")
    with open(path, "wb", buffering=0) as file:
        for index in range(PIECES):
            file.write(piece(index))
    trace.fact("size right after close", os.stat(path).st_size)
    check(root, trace, second=False)


def check(root, trace, second):
    path = os.path.join(root, "model.gguf")
    fault_at_random(path, trace)
    if second:
        trace.content("whole", path)


if __name__ == "__main__":
    # The page that one fault brings; the driver looks at how this ends when there is none.
    sys.stdout.write("right" if Mapping(sys.argv[1]).page(int(sys.argv[2])) == page(int(sys.argv[2])) else "wrong")
