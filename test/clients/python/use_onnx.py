"""An ONNX model with external data: made, checked, run, and saved optimised, by onnxruntime.

usage: use_onnx.py write|read DIRECTORY

The directory is laid out as the hub's cache: blobs, and a snapshot of relative links to them.
Prints one JSON line.
"""

import hashlib
import json
import os
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROWS, WIDTH = 4096, 128


def make_model() -> onnx.ModelProto:
    """An embedding, two layers and a softmax; 2 MiB and a bit of weights (fixed seed)."""
    random = np.random.default_rng(20260203)
    weights = {
        "embedding": random.standard_normal((ROWS, WIDTH)).astype(np.float32),
        "first": (random.standard_normal((WIDTH, WIDTH)) * 0.1).astype(np.float32),
        "second": (random.standard_normal((WIDTH, 16)) * 0.1).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "ids"], ["gathered"]),
        helper.make_node("MatMul", ["gathered", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "second"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["out"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 16])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def options(optimized: str = "") -> onnxruntime.SessionOptions:
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = 1
    made.log_severity_level = 3
    if optimized:
        made.optimized_model_filepath = optimized
        made.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimized.data")
        made.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    return made


def run(path: str, optimized: str = "") -> str:
    session = onnxruntime.InferenceSession(path, options(optimized), providers=["CPUExecutionProvider"])
    [out] = session.run(None, {"ids": np.arange(0, ROWS, 7)})
    return hashlib.sha256(out.tobytes()).hexdigest()


def publish(directory: str, path: str) -> None:
    """As the hub's client does: the blob by its hash, and a relative link in the snapshot."""
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    os.rename(path, os.path.join(directory, "blobs", digest))
    os.symlink(f"../../blobs/{digest}", os.path.join(directory, "snapshots", "c0ffee", os.path.basename(path)))


def write(directory: str) -> dict:
    plain, snapshot = os.path.join(directory, "plain"), os.path.join(directory, "snapshots", "c0ffee")
    for path in (plain, snapshot, os.path.join(directory, "blobs"), os.path.join(directory, "optimized")):
        os.makedirs(path)
    external = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 0}
    model = os.path.join(plain, "model.onnx")
    onnx.save(make_model(), model, **external)
    # The checker refuses external data whose link count is not 1.
    onnx.checker.check_model(model)
    whole = os.path.join(directory, "whole.onnx")
    onnx.save(onnx.load(model), whole)
    result = {"external": run(model), "whole": run(whole)}
    result["optimized"] = run(model, os.path.join(directory, "optimized", "model.onnx"))
    # Saved again over itself: onnx appends to external data that is there, so it goes first.
    os.unlink(os.path.join(plain, "model.onnx_data"))
    onnx.save(make_model(), model, **external)
    for name in ("model.onnx_data", "model.onnx"):
        publish(directory, os.path.join(plain, name))
    result["linked"] = run(os.path.join(snapshot, "model.onnx"))
    return result


def load_tensors(path: str) -> dict[str, str] | str:
    try:
        initializers = onnx.load(path).graph.initializer
    except onnx.checker.ValidationError as error:
        return "a symbolic link" if "is a symbolic link" in str(error) else str(error)
    return {tensor.name: hashlib.sha256(numpy_helper.to_array(tensor).tobytes()).hexdigest() for tensor in initializers}


def read(directory: str) -> dict:
    linked = os.path.join(directory, "snapshots", "c0ffee", "model.onnx")
    optimized = os.path.join(directory, "optimized", "model.onnx")
    # What was committed has a link in the store, which must not show: the checker wants one link.
    onnx.checker.check_model(optimized)
    return {
        "linked": run(linked),
        "whole": run(os.path.join(directory, "whole.onnx")),
        "optimized": run(optimized),
        # The package itself follows no link to external data, on any disk; the runtime does.
        "tensors": [load_tensors(linked), load_tensors(optimized)],
    }


verb, place = sys.argv[1:]
print(json.dumps({"write": write, "read": read}[verb](place)))
