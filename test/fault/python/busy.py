"""One kind of work in a mount, again and again for some seconds; every result is compared.

Prints the number of rounds and the slowest single call in milliseconds. Exit code 3: a call failed;
9: wrong bytes.
"""

import json
import mmap
import os
import sys
import time

MOUNT, KIND, SECONDS, MEGABYTES = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
MIB = 1 << 20
slowest = 0.0


def timed(call, *words):
    global slowest
    begin = time.monotonic()
    result = call(*words)
    slowest = max(slowest, time.monotonic() - begin)
    return result


def check(what, here, expected):
    if here != expected:
        print(f"{what}: wrong", file=sys.stderr)
        sys.exit(9)


def chunk(number):
    return (b"%08d" % number) * (MIB // 8)


def write(number):
    path = os.path.join(MOUNT, f"big-{number % 2}")
    fd = timed(os.open, path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    for part in range(MEGABYTES):
        timed(os.write, fd, chunk(number + part))
    os.fsync(fd)
    for part in range(MEGABYTES):
        check(path, timed(os.pread, fd, MIB, part * MIB), chunk(number + part))
    os.close(fd)


def creates(number):
    folder = os.path.join(MOUNT, f"many-{number}")
    timed(os.mkdir, folder)
    for one in range(1000):
        fd = timed(os.open, f"{folder}/{one}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        timed(os.write, fd, b"%d" % one)
        timed(os.close, fd)
    check(folder, sorted(map(int, timed(os.listdir, folder))), list(range(1000)))
    with open(f"{folder}/{number % 1000}", "rb") as file:
        check(folder, file.read(), b"%d" % (number % 1000))
    for one in range(1000):
        timed(os.unlink, f"{folder}/{one}")
    timed(os.rmdir, folder)


def load(_number):
    with open(os.path.join(MOUNT, "local.safetensors"), "rb") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            for part in range(len(view) // MIB):
                check("load", timed(view.__getitem__, slice(part * MIB, part * MIB + MIB)), chunk(part))


def fetch(number):
    """Remote bytes wait for the daemon's return: only what they are is compared."""
    path = os.path.join(MOUNT, f"remote/{number}")
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        check(path, file.read(), chunk(number) * 2)
    return True


end = time.monotonic() + SECONDS
rounds = 0
try:
    while time.monotonic() < end:
        if globals()[KIND](rounds) is False:
            break
        rounds += 1
except OSError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
print(json.dumps({"rounds": rounds, "slowestMs": round(slowest * 1000)}))
