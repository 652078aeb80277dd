"""Exchanges a directory of the tree with a symbolic link to another place, behind the mount, until
it is told to end: swap.py DIRECTORY LINK. Says how often it did."""

import ctypes
import os
import select
import sys

RENAME_EXCHANGE = 2
libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: bytes, other: bytes) -> None:
    if libc.renameat2(-100, one, -100, other, RENAME_EXCHANGE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


directory, link = (os.fsencode(path) for path in sys.argv[1:])
print("ready", flush=True)
count = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    exchange(directory, link)
    count += 1
if count % 2 == 1:
    exchange(directory, link)
print(count, flush=True)
