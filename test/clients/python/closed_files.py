"""Write files until the file system goes away, and say which were closed.

usage: closed_files.py DIRECTORY ROUND

A line `begin NAME` comes before a file is touched, `done NAME SHA256` after it was closed (and
renamed). New names, files replaced by rename, files rewritten and patched in place, by turns.
"""

import hashlib
import os
import random
import sys

directory, number = sys.argv[1], int(sys.argv[2])
pick = random.Random(number)


def content() -> bytes:
    return pick.randbytes(pick.choice([0, 1, 5000, 700_000, 1 << 20, (2 << 20) + 1]))


def say(*words: str) -> None:
    print(*words, flush=True)


def step(index: int) -> None:
    name = f"file-{pick.randrange(40)}"
    path = os.path.join(directory, name)
    say("begin", name)
    kind = index % 3
    if kind == 2 and os.path.exists(path) and os.path.getsize(path) > 8:
        with open(path, "r+b") as file:
            file.seek(pick.randrange(os.path.getsize(path) - 8))
            file.write(index.to_bytes(8, "little"))
        with open(path, "rb") as file:
            data = file.read()
    else:
        data = content()
        target = path if kind == 1 else f"{path}.{number}.tmp"
        with open(target, "wb") as file:
            file.write(data)
        if target != path:
            os.replace(target, path)
    say("done", name, hashlib.sha256(data).hexdigest())


index = 0
while True:
    try:
        step(index)
    except OSError as error:
        say("ended", str(error.errno))
        break
    index += 1
