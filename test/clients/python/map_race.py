"""Map, close, store and unmap, again and again, on several files: what a commit must not miss.

usage: map_race.py DIRECTORY FILES ROUNDS

Every third round writes with write(2) through a descriptor that is closed at once. The last line
is a JSON object with the SHA-256 of every file as this program left it.
"""

import hashlib
import json
import mmap
import os
import random
import sys

directory, files, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
SIZE = 1_300_000
pick = random.Random(20260105)
paths = [os.path.join(directory, f"mapped-{index}.bin") for index in range(files)]
for path in paths:
    with open(path, "wb") as file:
        file.write(bytes(SIZE))
for number in range(rounds):
    path = pick.choice(paths)
    offset = pick.randrange(SIZE - 8)
    value = number.to_bytes(8, "little")
    if number % 3 == 0:
        descriptor = os.open(path, os.O_WRONLY)
        os.pwrite(descriptor, value, offset)
        os.close(descriptor)
        continue
    descriptor = os.open(path, os.O_RDWR)
    mapped = mmap.mmap(descriptor, SIZE)
    os.close(descriptor)
    mapped[offset : offset + 8] = value
    if number % 2:
        mapped[SIZE - 1 - offset] = number & 255
    mapped.close()
left = {}
for path in paths:
    with open(path, "rb") as file:
        left[os.path.basename(path)] = hashlib.sha256(file.read()).hexdigest()
print(json.dumps(left))
