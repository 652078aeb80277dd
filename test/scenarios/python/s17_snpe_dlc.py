"""qualcomm_snpe_utils: a shared temp/model.onnx, a converter that patches its header, skip by exists."""

import os
import subprocess
import sys

from trace import blob

ONNX = blob(17, 5_000_011)

#: snpe-onnx-to-dlc: the header is known when the body is written.
CONVERTER = """
import hashlib, os, sys
source, target = sys.argv[1:]
with open(source, "rb") as file:
    content = file.read()
out = os.open(target, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
os.write(out, b"\\0" * 16)
for start in range(0, len(content), 65536):
    os.write(out, content[start : start + 65536][::-1])
end = os.lseek(out, 0, os.SEEK_CUR)
os.lseek(out, 0, os.SEEK_SET)
os.write(out, b"DLC1" + len(content).to_bytes(8, "little") + b"done")
assert os.lseek(out, 0, os.SEEK_END) == end
os.write(out, hashlib.sha256(content).digest())
os.close(out)
"""
PREPARE = "import shutil, sys; shutil.copyfile(*sys.argv[1:])"


def convert(root, name, trace):
    models = os.path.join(root, "snpe_models")
    os.makedirs(models, exist_ok=True)
    dlc = os.path.join(models, f"{name}_bert.dlc")
    if os.path.exists(dlc):
        trace.fact(f"{name} is there", os.path.getsize(dlc))
        return dlc
    os.makedirs(os.path.join(models, "temp"), exist_ok=True)
    onnx = os.path.join(models, "temp", "model.onnx")
    with open(onnx, "wb") as file:
        file.write(ONNX[: len(ONNX) - len(name)])
    ran = subprocess.run([sys.executable, "-c", CONVERTER, onnx, dlc], capture_output=True, text=True)
    # The moment that the converter is gone, its whole output must be seen.
    trace.fact(f"{name} size", os.stat(dlc).st_size)
    trace.fact(f"{name} converter", [ran.returncode, ran.stderr])
    with open(dlc, "rb") as file:
        trace.fact(f"{name} header", file.read(16).hex())
    device = dlc.replace(".dlc", "_htp.dlc")
    prepared = subprocess.run([sys.executable, "-c", PREPARE, dlc, device])
    trace.fact(f"{name} prepared", [prepared.returncode, os.path.getsize(device)])
    return dlc


def run(root, trace):
    for name in ("org--bert", "org--bert-large", "org--bert"):
        path = convert(root, name, trace)
        trace.content(name, path)
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("models", os.path.join(root, "snpe_models"))
