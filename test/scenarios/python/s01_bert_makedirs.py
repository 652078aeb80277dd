"""hf_bert, default_embed, hf_t5: os.makedirs of the cache directory, three times, and through links."""

import os


def run(root, trace):
    cache = os.path.join(root, "model_cache")
    for index in range(3):
        trace.call(f"makedirs {index}", os.makedirs, cache, exist_ok=True)
    trace.call("makedirs strict", os.makedirs, cache)
    trace.call("mkdir", os.mkdir, cache)
    trace.call("mkdir below nothing", os.mkdir, os.path.join(root, "none", "deep"))
    inside = os.path.join(root, "link")
    trace.call("symlink", os.symlink, "model_cache", inside)
    trace.call("makedirs through a link", os.makedirs, inside, exist_ok=True)
    trace.call("makedirs below a link", os.makedirs, os.path.join(inside, "a", "b"), exist_ok=True)
    outside = os.path.join(trace.scratch, "package_model_cache")
    os.symlink(cache, outside)
    trace.call("makedirs through a link outside", os.makedirs, outside, exist_ok=True)
    trace.call("makedirs below it", os.makedirs, os.path.join(outside, "c"), exist_ok=True)
    dangling = os.path.join(root, "dangling")
    trace.call("dangling symlink", os.symlink, "nowhere", dangling)
    trace.call("makedirs of a dangling link", os.makedirs, dangling, exist_ok=True)
    trace.call("mkdir of a dangling link", os.mkdir, dangling)
    os.unlink(dangling)
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
