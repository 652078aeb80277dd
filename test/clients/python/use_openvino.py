"""OpenVINO: convert, save as IR, compile with CACHE_DIR, and compile again from that cache.

usage: use_openvino.py write|read DIRECTORY

Prints one JSON line.
"""

import hashlib
import json
import os
import sys

import numpy as np
import openvino
from openvino import opset13 as ops

ROWS, WIDTH = 4096, 128


def make_model() -> openvino.Model:
    random = np.random.default_rng(20260204)
    ids = ops.parameter([-1], np.int64, name="ids")
    table = ops.constant(random.standard_normal((ROWS, WIDTH)).astype(np.float32))
    weight = ops.constant((random.standard_normal((WIDTH, 16)) * 0.1).astype(np.float32))
    gathered = ops.gather(table, ids, ops.constant(np.int64(0)))
    return openvino.Model([ops.softmax(ops.matmul(gathered, weight, False, False), -1)], [ids], "tiny")


def compile_and_run(directory: str, **properties) -> dict:
    core = openvino.Core()
    core.set_property({"CACHE_DIR": os.path.join(directory, "cache"), **properties})
    compiled = core.compile_model(os.path.join(directory, "model.xml"), "CPU", {"INFERENCE_NUM_THREADS": 1})
    [out] = compiled(np.arange(0, ROWS, 5)).values()
    return {
        "out": hashlib.sha256(out.tobytes()).hexdigest(),
        "from_cache": compiled.get_property("LOADED_FROM_CACHE"),
    }


def blobs(directory: str) -> dict[str, str]:
    cache = os.path.join(directory, "cache")
    return {name: oct(os.stat(os.path.join(cache, name)).st_mode & 0o7777) for name in sorted(os.listdir(cache))}


def write(directory: str) -> dict:
    openvino.save_model(make_model(), os.path.join(directory, "model.xml"), compress_to_fp16=False)
    result = {"first": compile_and_run(directory), "second": compile_and_run(directory)}
    result["modes"] = list(blobs(directory).values())
    return result


def read(directory: str) -> dict:
    before = blobs(directory)
    mapped = compile_and_run(directory)
    copied = compile_and_run(directory, ENABLE_MMAP=False)
    return {"mapped": mapped, "copied": copied, "same": before == blobs(directory)}


verb, place = sys.argv[1:]
print(json.dumps({"write": write, "read": read}[verb](place)))
