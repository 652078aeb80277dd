"""save_pretrained: shards and an index, then saved again with fewer shards."""

import json
import os

from trace import blob

MIB = 1024 * 1024


def save(directory, trace, shards, seed):
    os.makedirs(directory, exist_ok=True)
    stale = sorted(n for n in os.listdir(directory) if n.endswith(".safetensors"))
    trace.fact(f"found by save {seed}", stale)
    with open(os.path.join(directory, "config.json"), "w") as file:
        json.dump({"model_type": "bert", "seed": seed}, file, indent=2)
    names = [f"model-{i + 1:05}-of-{shards:05}.safetensors" for i in range(shards)]
    for name in stale:
        if name not in names:
            os.unlink(os.path.join(directory, name))
    for index, name in enumerate(names):
        content = blob(seed * 10 + index, 5 * MIB + index)
        with open(os.path.join(directory, name), "wb", buffering=0) as file:
            for start in range(0, len(content), MIB):
                file.write(content[start : start + MIB])
    with open(os.path.join(directory, "model.safetensors.index.json"), "w") as file:
        json.dump({"weight_map": {f"w{i}": name for i, name in enumerate(names)}}, file)


def run(root, trace):
    directory = os.path.join(root, "saved", "bert")
    save(directory, trace, shards=3, seed=1)
    trace.tree("three", directory)
    save(directory, trace, shards=2, seed=2)
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("two", os.path.join(root, "saved", "bert"))
