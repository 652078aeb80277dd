"""Remembered misses are empty files; a ref is replaced while a reader reads it all the time."""

import os
import threading

from hf import Cache

COMMITS = ["a" * 40, "b" * 40]
REPLACEMENTS = 400


def run(root, trace):
    cache = Cache(os.path.join(root, "hub"), "models--org--refs", COMMITS[0])
    cache.prepare()
    for name in ["adapter_config.json", "model.safetensors.index.json", "sub/none.json"]:
        cache.miss(name)
    cache.write_ref()
    path = os.path.join(cache.root, "refs", "main")
    done = threading.Event()
    seen, odd = set(), []

    def read_all_the_time():
        while not done.is_set():
            with open(path) as file:
                text = file.read()
            seen.add(text)
            if text not in COMMITS:
                odd.append(text)

    reader = threading.Thread(target=read_all_the_time)
    reader.start()
    for index in range(REPLACEMENTS):
        cache.commit = COMMITS[index % 2]
        cache.write_ref()
    done.set()
    reader.join()
    trace.fact("neither old nor new", odd)
    trace.fact("nothing else in refs", os.listdir(os.path.dirname(path)))
    # The older library rewrites in place: a new reader sees the new content at once.
    with open(path, "w") as file:
        file.write(COMMITS[0])
    with open(path) as file:
        trace.fact("rewritten in place", file.read() == COMMITS[0])
    check(root, trace, second=False)


def check(root, trace, second):
    cache = Cache(os.path.join(root, "hub"), "models--org--refs", COMMITS[0])
    trace.tree("repository", cache.root)
    trace.fact("a remembered miss", cache.lookup("adapter_config.json") is False)
    trace.fact("an unknown file", cache.lookup("unknown.json") is None)
