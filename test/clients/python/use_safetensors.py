"""Save and load safetensors with both backends, also over a file that is there and mapped.

usage: use_safetensors.py write|read DIRECTORY

Prints one JSON line of digests.
"""

import hashlib
import json
import os
import sys

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from safetensors import safe_open

torch.set_num_threads(1)


def arrays(seed: int, count: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    made = {f"layer.{index:02}": random.standard_normal((128, 257)).astype(np.float32) for index in range(count)}
    made["empty"] = np.zeros((0, 3), np.float32)
    made["one"] = np.array([seed], np.int64)
    return made


def digest(tensors: dict) -> str:
    whole = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        value = value.contiguous().numpy() if isinstance(value, torch.Tensor) else value
        whole.update(f"{name} {value.shape} {value.dtype}".encode())
        whole.update(value.tobytes())
    return whole.hexdigest()


def opened(path: str, framework: str) -> dict:
    with safe_open(path, framework=framework) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def every_way(path: str) -> dict:
    with safe_open(path, framework="pt") as file:
        part = file.get_slice("layer.01")[17:42, ::3].contiguous()
        metadata = file.metadata()
    with open(path, "rb") as file:
        whole = safetensors.numpy.load(file.read())
    return {
        "numpy": digest(safetensors.numpy.load_file(path)),
        "torch": digest(safetensors.torch.load_file(path)),
        "open_numpy": digest(opened(path, "np")),
        "open_torch": digest(opened(path, "pt")),
        "read": digest(whole),
        "slice": digest({"part": part}),
        "metadata": metadata,
        "mode": oct(os.stat(path).st_mode & 0o7777),
    }


def write(directory: str) -> dict:
    by_numpy, by_torch = (os.path.join(directory, f"{name}.safetensors") for name in ("numpy", "torch"))
    first, second = arrays(1, 24), arrays(2, 9)
    safetensors.numpy.save_file(first, by_numpy, metadata={"format": "np"})
    as_torch = {name: torch.from_numpy(value) for name, value in first.items()}
    safetensors.torch.save_file(as_torch, by_torch, metadata={"format": "pt"})
    result = {"first": [every_way(by_numpy), every_way(by_torch)]}
    # What was loaded stays mapped while a smaller file takes the name, and then itself is saved.
    mapped = safetensors.torch.load_file(by_torch)
    safetensors.torch.save_file({name: torch.from_numpy(value) for name, value in second.items()}, by_torch)
    result["replaced"] = every_way(by_torch)
    result["mapped"] = digest(mapped)
    safetensors.torch.save_file(mapped, by_torch)
    result["again"] = every_way(by_torch)
    safetensors.numpy.save_file(second, by_numpy)
    # In place: what is open for reading sees each change of one and the same file.
    shared = safetensors.numpy.load_file(by_numpy)
    with open(by_numpy, "r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"\x00\x00\x80\x3f")
    result["kept"] = digest(shared)
    result["patched"] = every_way(by_numpy)
    result["names"] = sorted(os.listdir(directory))
    return result


def read(directory: str) -> dict:
    return {name: every_way(os.path.join(directory, name)) for name in sorted(os.listdir(directory))}


verb, place = sys.argv[1:]
print(json.dumps({"write": write, "read": read}[verb](place)))
