"""torch.save and torch.load(mmap=True), and torch.hub with its own cache directory.

usage: use_torch_files.py write|read DIRECTORY

`write` serves a state file and a hub repository's source from a directory beside, by HTTP on
loopback. Prints one JSON line of digests.
"""

import contextlib
import functools
import hashlib
import http.server
import json
import os
import shutil
import sys
import tempfile
import threading

import torch

torch.set_num_threads(1)

HUBCONF = '''
"""A hub repository: its entry point makes a module of fixed weights."""
dependencies = ["torch"]
import torch


def tiny(rows=4):
    module = torch.nn.Linear(rows, 3)
    torch.nn.init.constant_(module.weight, 0.25)
    torch.nn.init.constant_(module.bias, 1.0)
    return module
'''


def state(seed: int, size: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {f"layer.{index}.weight": torch.randn(size, 33, generator=generator) for index in range(6)}
    made["half"] = torch.randn(size, generator=generator).to(torch.bfloat16)
    return made


def digest(tensors: dict[str, torch.Tensor]) -> str:
    whole = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        whole.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        whole.update(value.view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def every_way(path: str) -> dict[str, str]:
    with open(path, "rb") as file:
        stream = digest(torch.load(file, weights_only=True))
    return {
        "read": digest(torch.load(path, weights_only=True)),
        "mapped": digest(torch.load(path, mmap=True, weights_only=True)),
        "pickled": digest(torch.load(path, mmap=True, weights_only=False)),
        "stream": stream,
    }


@contextlib.contextmanager
def served(directory: str):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=directory))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def write_archives(directory: str) -> dict:
    path = os.path.join(directory, "model.pt")
    torch.save(state(1, 5000), path)
    result = {"first": every_way(path)}
    loaded = torch.load(path, mmap=True, weights_only=True)
    # The replaced archive's bytes stay with who mapped it.
    torch.save(state(2, 3000), path + ".new")
    os.replace(path + ".new", path)
    result["kept"] = digest(loaded)
    # Saving in place, as torch does, over an archive of the same size shows through its mapping.
    shown = torch.load(path, mmap=True, weights_only=True)
    before = digest(shown)
    torch.save(state(5, 3000), path)
    result["shown"] = [before, digest(shown)]
    torch.save(loaded, path)
    result["saved_from_map"] = every_way(path)
    # A private mapping may be written to, and the file keeps what it has.
    private = torch.load(path, mmap=True, weights_only=True)
    for value in private.values():
        value.zero_()
    result["after_private_writes"] = every_way(path)
    legacy = os.path.join(directory, "legacy.bin")
    torch.save(state(3, 2000), legacy, _use_new_zipfile_serialization=False)
    result["legacy"] = digest(torch.load(legacy, weights_only=True))
    shared = torch.from_file(os.path.join(directory, "shared.bin"), shared=True, size=600_000)
    shared.copy_(torch.arange(600_000, dtype=torch.float32))
    return result


def write_hub(directory: str) -> dict:
    torch.hub.set_dir(os.path.join(directory, "hub"))
    with tempfile.TemporaryDirectory() as source:
        torch.save(state(4, 4000), os.path.join(source, "weights.pth"))
        with open(os.path.join(source, "weights.pth"), "rb") as file:
            prefix = hashlib.sha256(file.read()).hexdigest()[:8]
        shutil.move(os.path.join(source, "weights.pth"), os.path.join(source, f"weights-{prefix}.pth"))
        with served(source) as url:
            address = f"{url}/weights-{prefix}.pth"
            loaded = torch.hub.load_state_dict_from_url(address, progress=False, check_hash=True, weights_only=True)
        # The second time nothing is asked of the server, which is gone.
        again = torch.hub.load_state_dict_from_url(address, progress=False, weights_only=True)
    repository = os.path.join(directory, "hub", "owner_repository_main")
    os.mkdir(repository)
    with open(os.path.join(repository, "hubconf.py"), "w") as file:
        file.write(HUBCONF)
    return {"loaded": digest(loaded), "again": digest(again), **from_hub(repository)}


def from_hub(repository: str) -> dict:
    module = torch.hub.load(repository, "tiny", source="local", rows=5)
    return {"hub": digest(module.state_dict()), "output": module(torch.ones(5)).tolist()}


def write(directory: str) -> dict:
    return {"archives": write_archives(directory), **write_hub(directory)}


def read(directory: str) -> dict:
    torch.hub.set_dir(os.path.join(directory, "hub"))
    [checkpoint] = os.listdir(os.path.join(directory, "hub", "checkpoints"))
    # The name alone finds the checkpoint; nobody listens at the address.
    state_dict = torch.hub.load_state_dict_from_url(f"http://127.0.0.1:9/{checkpoint}", weights_only=True)
    shared = torch.from_file(os.path.join(directory, "shared.bin"), shared=False, size=600_000)
    return {
        "archive": every_way(os.path.join(directory, "model.pt")),
        "legacy": digest(torch.load(os.path.join(directory, "legacy.bin"), weights_only=True)),
        "checkpoint": digest(state_dict),
        "shared": digest({"shared": shared}),
        **from_hub(os.path.join(directory, "hub", "owner_repository_main")),
    }


verb, place = sys.argv[1:]
print(json.dumps({"write": write, "read": read}[verb](place)))
