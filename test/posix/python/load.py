"""A client at work while the daemon dies: `load.py creates DIR COUNT` or `load.py write FILE MIB`. It says
`begun` when it is well under way, and at the end its longest pause in milliseconds."""

import hashlib
import json
import os
import sys
import time

MIB = 1 << 20


class Pauses:
    def __init__(self) -> None:
        self.last = time.monotonic()
        self.longest = 0.0

    def step(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now


def says(text: str) -> None:
    print(text, flush=True)


def creates(directory: str, count: int) -> dict:
    """Each file is made under a temporary name, written, renamed and looked at."""
    os.makedirs(directory)
    pauses = Pauses()
    for number in range(count):
        name = f"{directory}/{number:04d}"
        with open(name + ".tmp", "wb") as file:
            file.write(b"%d" % number * 100)
        os.replace(name + ".tmp", name)
        if os.stat(name).st_size != len(b"%d" % number * 100):
            raise RuntimeError(f"{name} has another size")
        pauses.step()
        if number == count // 20:
            says("begun")
    wrong = [n for n in range(count) if open(f"{directory}/{n:04d}", "rb").read() != b"%d" % n * 100]
    return {"wrong": wrong, "longest": pauses.longest * 1000, "names": len(os.listdir(directory))}


def writes(path: str, mib: int) -> dict:
    """In pieces that the page cache does not swallow at once: each 8 MiB are fsynced."""
    pauses = Pauses()
    expected = hashlib.sha256()
    with open(path, "wb") as file:
        for number in range(mib):
            piece = number.to_bytes(4, "little") * (MIB // 4)
            file.write(piece)
            expected.update(piece)
            if number % 8 == 7:
                os.fsync(file.fileno())
            pauses.step()
            if number == mib // 20:
                says("begun")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256")
    same = found.digest() == expected.digest()
    return {"wrong": [] if same else [path], "longest": pauses.longest * 1000, "names": 1}


def main() -> None:
    what, path, number = sys.argv[1:]
    act = {"creates": creates, "write": writes}[what]
    says(json.dumps(act(path, int(number))))


main()
