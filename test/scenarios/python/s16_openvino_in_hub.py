"""hf_clap, hf_xclip, openvino_utils: converted models inside the hub's folders, found by substring."""

import os

from hf import Cache, git_sha1
from trace import blob

COMMIT = "16" * 20
MODELS = ["models--a--bert-large", "models--a--bert", "models--a--bert-base-uncased", "models--b--clap"]
CONFIG = b'{"model_type": "clap"}\n'


def find(hub, model):
    """openvino_utils: the first folder whose path has the name in it."""
    folders = [os.path.join(hub, name) for name in os.listdir(hub)]
    found = [path for path in folders if os.path.isdir(path) and model.replace("/", "--") in path]
    return os.path.basename(found[0]) if found else None


def run(root, trace):
    hub = os.path.join(root, ".cache", "huggingface", "hub")
    trace.call("a hub that is not there is not listed", os.listdir, hub)
    for name in MODELS:
        cache = Cache(hub, name, COMMIT)
        cache.prepare()
        cache.write_ref()
        cache.download("config.json", git_sha1(CONFIG), CONFIG)
    target = os.path.join(hub, "models--a--bert")
    for name in ("openvino_int8", "openvino_int4", "openvino"):
        folder = os.path.join(target, name)
        trace.fact(f"no {name} yet", os.path.exists(folder))
        os.makedirs(folder, exist_ok=True)
        for part, size in (("openvino_model.bin", 1_100_000), ("openvino_model.xml", 4_000)):
            with open(os.path.join(folder, part), "wb") as file:
                file.write(blob(len(name), size))
    # default_lm's lands among the revisions: the library must go on to find its own there.
    os.makedirs(os.path.join(target, "snapshots", "openvino_model"))
    cache = Cache(hub, "models--a--bert", COMMIT)
    trace.fact("the library still finds its file", cache.lookup("config.json") is not None)
    trace.fact("and downloads another", cache.download("vocab.txt", git_sha1(b"[PAD]\n"), b"[PAD]\n"))
    check(root, trace, second=False)


def check(root, trace, second):
    hub = os.path.join(root, ".cache", "huggingface", "hub")
    target = os.path.join(hub, "models--a--bert")
    trace.fact("the repository's folders", sorted(os.listdir(target)))
    trace.tree("repository", target)
    listed = os.listdir(hub)
    trace.claim("the hub is listed in the order of bytes", listed == sorted(listed, key=os.fsencode))
    trace.claim("the short name is found first", find(hub, "a/bert") == "models--a--bert")
    trace.fact("the long one by its own name", find(hub, "a/bert-large"))
    trace.fact("one that is not there", find(hub, "c/none"))
    with os.scandir(target) as entries:
        trace.fact("all are directories", sorted([e.name, e.is_dir()] for e in entries))
