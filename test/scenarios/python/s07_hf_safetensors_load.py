"""A safetensors file written, then mapped privately as safetensors and torch do."""

import hashlib
import json
import mmap
import os
import random

from trace import blob

TENSOR = 256 * 1024
COUNT = 33


def layout():
    header = {
        f"t{index:02}": {
            "dtype": "U8",
            "shape": [TENSOR],
            "data_offsets": [index * TENSOR, (index + 1) * TENSOR],
        }
        for index in range(COUNT)
    }
    return json.dumps(header).encode()


def run(root, trace):
    path = os.path.join(root, "model.safetensors")
    header, data = layout(), blob(71, TENSOR * COUNT)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        file.write(data)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        names = json.loads(file.read(length))
        trace.fact("header", sorted(names)[:3] + [len(names)])
        mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    base = 8 + length
    pick = random.Random(7)
    for index in range(16):
        start = pick.randrange(len(data) - 5000)
        same = mapped[base + start : base + start + 5000] == data[start : start + 5000]
        trace.fact(f"slice {index}", same)
    before = hashlib.sha256(open(path, "rb").read()).hexdigest()
    mapped[base : base + 4096] = b"\xff" * 4096
    trace.fact("scribbled", mapped[base : base + 4096] == b"\xff" * 4096)
    trace.fact("file unchanged", hashlib.sha256(open(path, "rb").read()).hexdigest() == before)
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(b"another file of the same name")
    whole = hashlib.sha256(mapped[base + 4096 :]).hexdigest()
    trace.fact("map outlives its name", whole == hashlib.sha256(data[4096:]).hexdigest())
    shared_source = os.path.join(root, "shared.bin")
    with open(shared_source, "wb") as file:
        file.write(data)
    with open(shared_source, "rb") as file:
        shared = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
    replacement = shared_source + ".tmp"
    with open(replacement, "wb") as file:
        file.write(data[::-1])
    os.replace(replacement, shared_source)
    trace.fact("shared map outlives rename", hashlib.sha256(shared).hexdigest() == hashlib.sha256(data).hexdigest())
    mapped.close()
    shared.close()
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
