"""Eight processes download the same file: the lock lets exactly one of them write it."""

import hashlib
import os

from hf import Cache
from trace import blob

COMMIT = "1" * 40
CONTENT = blob(31, 24 * 1024 * 1024 + 7)
ETAG = hashlib.sha256(CONTENT).hexdigest()


def run(root, trace):
    children = []
    ready_read, ready_write = os.pipe()
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            code = 2
            try:
                os.close(ready_write)
                os.read(ready_read, 1)  # all start together, when the parent closes its end
                cache = Cache(os.path.join(root, "hub"), "models--org--shared", COMMIT)
                code = 1 if cache.download("model.safetensors", ETAG, CONTENT) else 0
            finally:
                os._exit(code)
        children.append(pid)
    os.close(ready_read)
    os.close(ready_write)
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)
    trace.fact("exit codes (1 wrote it)", codes)
    cache = Cache(os.path.join(root, "hub"), "models--org--shared", COMMIT)
    trace.stat("lock file", os.path.join(cache.locks, f"{ETAG}.lock"))
    check(root, trace, second=False)


def check(root, trace, second):
    cache = Cache(os.path.join(root, "hub"), "models--org--shared", COMMIT)
    trace.fact("blobs", os.listdir(os.path.join(cache.root, "blobs")) == [ETAG])
    trace.content("blob", cache.blob_path(ETAG))
    trace.fact("hash is the name", hashlib.sha256(open(cache.pointer("model.safetensors"), "rb").read()).hexdigest() == ETAG)
    trace.tree("snapshots", os.path.join(cache.root, "snapshots"))
