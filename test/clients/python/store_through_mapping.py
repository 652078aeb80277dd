"""Hold a writable shared mapping after close, and store through it when told to.

usage: store_through_mapping.py PATH SIZE

Makes the file if it is not there, maps it, closes the descriptor. Then, for each line of stdin:
`store N` fills every page's first byte with N and says `stored N`; `unmap` says `unmapped`.
"""

import mmap
import os
import sys

path, size = sys.argv[1], int(sys.argv[2])
descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(descriptor, size)
mapped = mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
# Python's mmap keeps a duplicate of the descriptor; closing both leaves the mapping alone.
os.close(descriptor)
for name in os.listdir("/proc/self/fd"):
    try:
        if os.readlink(f"/proc/self/fd/{name}") == path:
            os.close(int(name))
    except FileNotFoundError:
        pass
for line in sys.stdin:
    word, *rest = line.split()
    if word == "store":
        for offset in range(0, size, mmap.PAGESIZE):
            mapped[offset] = int(rest[0])
        print(f"stored {rest[0]}", flush=True)
    elif word == "unmap":
        try:
            mapped.close()
        except OSError:
            pass  # its duplicate of the descriptor is closed already; the mapping is gone
        print("unmapped", flush=True)
