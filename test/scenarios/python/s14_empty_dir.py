"""hf_llama takes an empty directory for "already converted": it must stay, and stay empty."""

import os


def run(root, trace):
    target = os.path.join(root, ".cache", "openvino", "llama_int4")
    trace.fact("absent", not os.path.exists(target))
    trace.call("makedirs", os.makedirs, target)
    # Here the converter fails, and leaves nothing.
    trace.call("makedirs again", os.makedirs, target)
    nested = os.path.join(root, "many", "empty")
    for name in ["a", "b b", "ä", ".hidden"]:
        os.makedirs(os.path.join(nested, name, "x", "y"))
    os.chmod(os.path.join(nested, "a"), 0o700)
    check(root, trace, second=False)


def check(root, trace, second):
    target = os.path.join(root, ".cache", "openvino", "llama_int4")
    trace.fact("exists", os.path.isdir(target))
    trace.fact("empty", os.listdir(target))
    trace.tree("root", root)
