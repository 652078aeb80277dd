"""huggingface_hub's download of three files, step by step."""

import hashlib
import os

from hf import Cache, git_sha1
from trace import blob

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": (b"{" + b" " * 598 + b"}", git_sha1),
    "vocab.txt": (blob(2, 230 * 1024).hex().encode()[: 230 * 1024], git_sha1),
    "model.safetensors": (blob(3, 64 * 1024 * 1024 + 1), lambda c: hashlib.sha256(c).hexdigest()),
}


def run(root, trace):
    cache = Cache(os.path.join(root, "hub"), "models--org--name", COMMIT)
    cache.prepare()
    cache.write_ref()
    for name, (content, etag_of) in FILES.items():
        etag = etag_of(content)
        trace.fact(f"download {name}", cache.download(name, etag, content))
        # The size must be right the moment that the library returns the path.
        trace.fact(f"size of {name}", os.stat(cache.pointer(name)).st_size)
        trace.fact(f"download {name} again", cache.download(name, etag, content))
    names = os.listdir(os.path.join(cache.root, "blobs"))
    trace.fact("left over", [n for n in names if n.startswith("tmp") or n.endswith("incomplete")])
    check(root, trace, second=False)


def check(root, trace, second):
    cache = Cache(os.path.join(root, "hub"), "models--org--name", COMMIT)
    for name, (content, etag_of) in FILES.items():
        etag = etag_of(content)
        path = cache.lookup(name)
        trace.fact(f"lookup {name}", path == cache.pointer(name))
        trace.fact(f"readlink {name}", os.readlink(cache.pointer(name)) == f"../../blobs/{etag}")
        trace.fact(f"realpath {name}", os.path.realpath(path) == cache.blob_path(etag))
        trace.stat(f"blob of {name}", cache.blob_path(etag))
        trace.content(name, path)
    trace.fact("top", sorted(n for n in os.listdir(cache.cache) if n != ".locks"))
    trace.fact("repository", sorted(os.listdir(cache.root)))
    if not second:
        trace.tree("locks", cache.locks)
    else:
        trace.claim("no lock travels", not os.path.exists(os.path.join(cache.locks)) or not os.listdir(cache.locks))
