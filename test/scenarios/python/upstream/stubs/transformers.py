"""A stand-in of the standard library only: from_pretrained does what huggingface_hub does on disk."""

import hashlib
import mmap
import os

from hf import Cache, git_sha1
from trace import blob

COMMIT = "36" * 20
MIB = 1024 * 1024


def default_cache():
    home = os.environ.get("HF_HOME") or os.path.join(os.path.expanduser("~"), ".cache", "huggingface")
    return os.path.join(home, "hub")


def fetch(model, name, content, cache_dir, etag):
    cache = Cache(cache_dir or default_cache(), "models--" + model.replace("/", "--"), COMMIT)
    found = cache.lookup(name) if os.path.isdir(os.path.join(cache.root, "refs")) else None
    if not found:
        cache.prepare()
        cache.write_ref()
        cache.download(name, etag, content)
        cache.miss("adapter_config.json")
        found = cache.lookup(name)
    return found


class _Config:
    @classmethod
    def from_pretrained(cls, model, cache_dir=None, **_):
        content = b'{"_name_or_path": "%s"}\n' % model.encode()
        path = fetch(model, "config.json", content, cache_dir, git_sha1(content))
        with open(path, "rb") as file:
            assert file.read() == content
        return cls()


class _Tokenizer:
    @classmethod
    def from_pretrained(cls, model, cache_dir=None, **_):
        for name, size in (("vocab.txt", 230_000), ("tokenizer_config.json", 300)):
            content = blob(size, size)
            with open(fetch(model, name, content, cache_dir, git_sha1(content)), "rb") as file:
                assert file.read() == content
        return cls()


class _Model:
    @classmethod
    def from_pretrained(cls, model, cache_dir=None, **_):
        content = blob(len(model), 5 * MIB + 3)
        etag = hashlib.sha256(content).hexdigest()
        path = fetch(model, "model.safetensors", content, cache_dir, etag)
        with open(path, "rb") as file:
            loaded = cls()
            loaded.weights = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        return loaded

    def checksum(self):
        return hashlib.sha256(self.weights).hexdigest()


AutoConfig = _Config
AutoTokenizer = _Tokenizer
AutoModel = T5ForConditionalGeneration = _Model
