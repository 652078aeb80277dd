"""hf_vit names its output by Python's random string hash: the same bytes under many names."""

import os
import shutil
import tempfile

from trace import blob

NAMES = 20
#: Upstream's is about 50 MiB.
SIZE = (50 if os.environ.get("MODELCACHE_TEST_LONG") == "1" else 3) * 1024 * 1024 + 77


def run(root, trace):
    models = os.path.join(root, ".cache", "openvino_models")
    os.makedirs(models, exist_ok=True)
    content = blob(15, SIZE)
    for index in range(NAMES):
        with tempfile.TemporaryDirectory(dir=root) as directory:
            onnx = os.path.join(directory, "vit.onnx")
            with open(onnx, "wb") as file:
                file.write(content[: SIZE // 2])
            os.makedirs(os.path.join(directory, "external", "data"))
            with open(os.path.join(directory, "external", "data", "w0"), "wb") as file:
                file.write(content[SIZE // 2 :])
            with open(os.path.join(models, f"vit_{index + 1}.xml"), "wb") as out:
                for name in (onnx, os.path.join(directory, "external", "data", "w0")):
                    with open(name, "rb") as file:
                        shutil.copyfileobj(file, out, 1 << 20)
        trace.fact(f"the temporary directory {index} is gone", not os.path.lexists(directory))
    trace.fact("nothing temporary is left", os.listdir(root))
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("models", os.path.join(root, ".cache", "openvino_models"))
