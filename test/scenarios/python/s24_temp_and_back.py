"""transformers_integration: a whole model into a private temporary directory and back in one read."""

import hashlib
import os
import stat
import tempfile

from trace import blob

SIZE = (100 if os.environ.get("MODELCACHE_TEST_LONG") == "1" else 24) * 1024 * 1024 + 13
CONTENT = blob(24, SIZE)


def read_at_once(path):
    """One read(2) of all of it: a short one would be a model that is cut."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


def run(root, trace):
    directory = tempfile.mkdtemp(dir=root)
    trace.fact("mode", oct(stat.S_IMODE(os.stat(directory).st_mode)))
    out = os.path.join(directory, "model")
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(out, "content"), "wb") as file:
        trace.fact("written", file.write(CONTENT))
    check(root, trace, second=False)


def check(root, trace, second):
    # The name is random, and on this machine only: it is there again after a mount.
    (name,) = os.listdir(root)
    path = os.path.join(root, name, "model", "content")
    trace.fact("kinds", [os.path.isdir(os.path.dirname(path)), os.path.isfile(path)])
    content = read_at_once(path)
    trace.fact("in one read", [len(content) == SIZE, content == CONTENT])
    with open(path, "rb") as file:
        whole = file.read()
    trace.fact("add reads it whole", hashlib.sha256(whole).hexdigest())
