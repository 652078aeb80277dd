"""llama_cpp's artifact cache: hard link, or symbolic link, or copy; then os.replace; a shared log."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from trace import blob

MODEL = blob(25, 6 * 1024 * 1024 + 1)
#: The detached child that computes the hash, and writes into the log that it was handed.
HASHER = """
import os, sys
for line in range(300):
    os.write(1, b"child %03d\\n" % line)
"""


def link_or_copy(source, target, modes):
    """_link_or_copy_model_file: the first of `modes` that works; the mode that did."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.lexists(target):
        return "there"
    temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.tmp.{os.getpid()}")
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass
    make = {"hardlink": os.link, "symlink": os.symlink, "copy": shutil.copy2}
    for mode in modes:
        try:
            make[mode](source, temporary)
        except OSError:
            continue
        os.replace(temporary, target)
        return mode
    raise OSError(errno.EIO, "no mode works")


def cache_artifacts(root, trace):
    models = os.path.join(root, "llama_cpp", "models")
    source = os.path.join(models, "source.gguf")
    os.makedirs(models)
    with open(source, "wb") as file:
        file.write(MODEL)
    digest = hashlib.sha256(MODEL).hexdigest()
    hashed = os.path.join(models, "sha256", digest[:2], digest, "model.gguf")
    trace.fact("linked as", link_or_copy(source, hashed, ["hardlink", "symlink", "copy"]))
    trace.fact("one file", [os.path.samefile(source, hashed), os.stat(hashed).st_nlink])
    with open(source, "r+b") as file:
        file.write(b"GGUF")
    with open(hashed, "rb") as file:
        trace.fact("written by the other name", file.read(8) == b"GGUF" + MODEL[4:8])
    named = os.path.join(models, "cid-v1", "bafkr", "model.gguf")
    trace.fact("linked again", link_or_copy(hashed, named, ["hardlink"]))
    trace.fact("three names", os.stat(source).st_nlink)
    trace.fact("a second time", link_or_copy(hashed, named, ["hardlink"]))
    trace.pause("commit")
    trace.fact("three names still", os.stat(source).st_nlink)
    os.unlink(source)
    trace.fact("two names", [os.stat(named).st_nlink, os.path.getsize(named)])
    trace.fact("symlinked as", link_or_copy(hashed, os.path.join(models, "by-link.gguf"), ["symlink"]))
    # Absolute, into the mount: what it names is another path in every run.
    os.unlink(os.path.join(models, "by-link.gguf"))
    trace.fact("copied as", link_or_copy(hashed, os.path.join(models, "by-copy.gguf"), ["copy"]))
    trace.fact("the copy is another file", os.stat(os.path.join(models, "by-copy.gguf")).st_nlink)
    refs = os.path.join(models, "refs", "org--name")
    os.makedirs(refs)
    for turn in range(20):
        temporary = os.path.join(refs, f"model.gguf.json.tmp.{os.getpid()}")
        with open(temporary, "w") as file:
            json.dump({"sha256": digest, "turn": turn}, file)
        os.replace(temporary, os.path.join(refs, "model.gguf.json"))


def link_across(root, trace):
    """From a file system of its own, which no directory of a test is on."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="modelcache-s25-") as source:
        source.write(b"GGUF from elsewhere")
        source.flush()
        trace.call("a hard link across", os.link, source.name, os.path.join(root, "across"))
        trace.call("a rename across", os.rename, source.name, os.path.join(root, "across"))
        target = os.path.join(root, "llama_cpp", "across.gguf")
        trace.fact("so it is a symbolic link", link_or_copy(source.name, target, ["hardlink", "symlink", "copy"]))
        with open(target, "rb") as file:
            trace.fact("which is followed out", file.read().decode())
        os.unlink(target)


def share_log(root, trace):
    path = os.path.join(root, "llama_cpp", "hash.log")
    with open(path, "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", HASHER], stdout=log, stderr=log, start_new_session=True
        )
        for line in range(300):
            os.write(log.fileno(), b"parent %03d\n" % line)
        trace.fact("child", child.wait())
    with open(path) as file:
        lines = file.read().splitlines()
    trace.fact("no line is lost", [len(lines), len(set(lines))])
    for who in ("child", "parent"):
        trace.fact(f"{who} in order", [x for x in lines if x.startswith(who)] == [f"{who} {i:03}" for i in range(300)])
    # How the lines interleave is nobody's promise: what is looked at later must not depend on it.
    with open(path, "w") as file:
        file.write("\n".join(sorted(lines)))


def run(root, trace):
    cache_artifacts(root, trace)
    link_across(root, trace)
    share_log(root, trace)
    check(root, trace, second=False)


def check(root, trace, second):
    models = os.path.join(root, "llama_cpp", "models")
    names = [os.path.join(d, n) for d, _, files in os.walk(models) for n in files if n == "model.gguf"]
    trace.fact("still one file of two names", len({os.stat(name).st_ino for name in names}))
    trace.tree("root", root)
