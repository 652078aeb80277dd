"""Save over an existing model and read what was written in every way that loaders use.

usage: save_and_map.py MODEL OUT

Runs save_pretrained twice into the same directory (many shards, then few, while the first ones are
mapped), torch.save and torch.load(mmap=True), safetensors through its mapping, and a memory map
that outlives its file's name. Prints one JSON line of digests and file names.
"""

import hashlib
import json
import os
import sys

import numpy as np
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()


def digest(tensors: dict) -> str:
    whole = hashlib.sha256()
    for name in sorted(tensors):
        whole.update(name.encode())
        whole.update(tensors[name].contiguous().numpy().tobytes())
    return whole.hexdigest()


def shards(directory: str) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name.endswith(".safetensors"))


def main() -> None:
    name, out = sys.argv[1:]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(name)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    result = {"state": digest(state)}

    directory = os.path.join(out, "saved")
    model.save_pretrained(directory, max_shard_size="300KB")
    result["many"] = shards(directory)
    # What was loaded from the shards stays mapped while they are replaced by fewer and larger ones.
    mapped = {}
    for shard in shards(directory):
        with safe_open(os.path.join(directory, shard), framework="pt") as tensors:
            mapped.update({key: tensors.get_tensor(key) for key in tensors.keys()})
    model.save_pretrained(directory, max_shard_size="1MB")
    result["few"] = shards(directory)
    result["mapped"] = digest(mapped)
    reloaded = {}
    for shard in shards(directory):
        reloaded.update(load_file(os.path.join(directory, shard)))
    result["reloaded"] = digest(reloaded)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(directory)
    result["again"] = digest(again.state_dict())

    archive = os.path.join(out, "model.pt")
    torch.save(state, archive)
    result["torch"] = digest(torch.load(archive, mmap=True, weights_only=True))
    loaded = torch.load(archive, mmap=True, weights_only=True)
    torch.save({"other": torch.zeros(1 << 20)}, archive + ".new")
    os.replace(archive + ".new", archive)
    result["torch_replaced"] = digest(loaded)

    array = np.memmap(os.path.join(out, "array.bin"), dtype=np.uint8, mode="w+", shape=(3 << 20,))
    array[:] = np.arange(3 << 20, dtype=np.uint64).astype(np.uint8)
    array.flush()
    result["memmap"] = hashlib.sha256(open(os.path.join(out, "array.bin"), "rb").read()).hexdigest()
    result["files"] = sorted(os.listdir(directory))
    print(json.dumps(result))


main()
