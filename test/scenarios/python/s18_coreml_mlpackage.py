"""coremltools copies a bundle of three levels over the same name, times and all."""

import os
import shutil

from trace import blob

TIMES = {
    "": 1_700_000_000_123_456_789,
    "Manifest.json": 1_600_000_000_000_000_001,
    "Data": 1_650_000_000_999_999_999,
    "Data/com.apple.CoreML": 1_500_000_000_000_000_000,
    "Data/com.apple.CoreML/model.mlmodel": 1_400_000_000_111_222_333,
    "Data/com.apple.CoreML/weights": 1_300_000_000_000_000_777,
    "Data/com.apple.CoreML/weights/weight.bin": 1_234_567_890_987_654_321,
}


def make_source(directory):
    weights = os.path.join(directory, "Data", "com.apple.CoreML", "weights")
    os.makedirs(weights)
    with open(os.path.join(directory, "Manifest.json"), "w") as file:
        file.write('{"fileFormatVersion": "1.0.0"}')
    with open(os.path.join(weights, "..", "model.mlmodel"), "wb") as file:
        file.write(blob(181, 70_000))
    with open(os.path.join(weights, "weight.bin"), "wb") as file:
        file.write(blob(182, 3 * 1024 * 1024 + 5))
    os.chmod(os.path.join(weights, "weight.bin"), 0o640)
    os.chmod(weights, 0o750)
    for relative in sorted(TIMES, key=len, reverse=True):
        path = os.path.join(directory, relative)
        os.utime(path, ns=(TIMES[relative], TIMES[relative]))


def run(root, trace):
    source = os.path.join(trace.scratch, "tmp.mlpackage")
    make_source(source)
    target = os.path.join(root, "coreml_models", "bert.mlpackage")
    for index in range(2):
        if os.path.exists(target):
            shutil.rmtree(target)
            trace.fact(f"removed {index}", not os.path.exists(target))
        shutil.copytree(source, target)
        trace.tree(f"copy {index}", target, mtime=True)
    names = trace.call("listxattr", os.listxattr, os.path.join(target, "Manifest.json"))
    trace.claim("no attribute of ours is listed", not names)
    check(root, trace, second=False)


def check(root, trace, second):
    target = os.path.join(root, "coreml_models", "bert.mlpackage")
    trace.stat("bundle", target, mtime=True)
    trace.tree("bundle", target, mtime=True)
