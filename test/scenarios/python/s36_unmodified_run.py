"""Upstream's skillsets as an installed package that knows nothing of any mount.

Replayed: there is no network to get upstream's text from, so `upstream/` has modules of the same
shape: the same paths, calls and order, with stand-ins of transformers, torch and the converters.
"""

import json
import os
import shutil
import subprocess
import sys

UPSTREAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "upstream")

#: Imported as reference/upstream-operations.md says, and once more as worker.py does: by exec, in
#: its own globals, where the cache lies beside worker.py.
PROGRAM = """
import json, os, sys
from ipfs_accelerate_py.worker.skillset.faster_whisper import faster_whisper
from ipfs_accelerate_py.worker.skillset.hf_bert import hf_bert
from ipfs_accelerate_py.worker.skillset.hf_t5 import hf_t5

checkpoint = sys.argv[1]
bert = hf_bert()
seen = {"bert": bert.init_cpu("org/bert"), "dlc": bert.init_qualcomm("org/bert"), "dlc again": bert.init_qualcomm("org/bert")}
t5 = hf_t5()
seen["t5"] = t5.init_cpu("org/t5-small")
seen["openvino"] = t5.init_openvino("org/t5-small")
seen["mlpackage"] = t5.init_apple("org/t5-small")
whisper = faster_whisper({"checkpoint": checkpoint})
seen["whisper"] = [whisper.load(), whisper.trim(3), whisper.trim(1)]
import ipfs_accelerate_py.worker
package = os.path.dirname(ipfs_accelerate_py.worker.__file__)
names = {"__file__": os.path.join(package, "worker.py"), "__name__": "worker"}
with open(os.path.join(package, "skillset", "hf_bert.py")) as file:
    exec(file.read(), names)
seen["by exec"] = names["hf_bert"]().init_cpu("org/bert")
print(json.dumps(seen))
"""


def install(root, scratch):
    """The package in its place, and both of its cache places led into `root`, as attach does."""
    site = os.path.join(scratch, "site-packages")
    package = os.path.join(site, "ipfs_accelerate_py")
    shutil.copytree(os.path.join(UPSTREAM, "ipfs_accelerate_py"), package)
    cache = os.path.join(root, "model_cache")
    os.makedirs(cache)
    for place in ("worker/skillset/model_cache", "worker/model_cache"):
        os.symlink(cache, os.path.join(package, place))
    return site


def run(root, trace):
    site = install(root, trace.scratch)
    home = os.path.join(root, "home")
    work = os.path.join(root, "work")
    checkpoint = os.path.join(home, "whisper")
    for directory in (work, checkpoint):
        os.makedirs(directory)
    for name, size in (("model.bin", 3_000_000), ("header.bin", 512)):
        with open(os.path.join(checkpoint, name), "wb") as file:
            file.write(b"%d" % (size % 10) * size)
    environment = {
        **os.environ,
        "HOME": home,
        "HF_HOME": root,
        "TMPDIR": trace.scratch,
        "PYTHONPATH": os.pathsep.join([site, os.path.join(UPSTREAM, "stubs"), os.path.dirname(UPSTREAM)]),
        "PATH": os.pathsep.join([os.path.join(UPSTREAM, "bin"), os.environ["PATH"]]),
    }
    ran = subprocess.run([sys.executable, "-B", "-c", PROGRAM, checkpoint],
                         env=environment, cwd=work, capture_output=True, text=True)
    trace.fact("ended", [ran.returncode, ran.stderr])
    trace.fact("saw", json.loads(ran.stdout or "null"))
    # Nothing of the package's caches is outside of the directory.
    outside = [n for _, names, files in os.walk(site) for n in names + files if "models--" in n]
    trace.fact("outside", outside)
    check(root, trace, second=False)


def check(root, trace, second):
    for place in ("model_cache", "hub", "home", "work"):
        names = os.path.join(root, place)
        trace.tree(place, names, skip=lambda path: second and ".lock" in path)
