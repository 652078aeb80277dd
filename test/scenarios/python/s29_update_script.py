"""convert_hf_to_gguf_update: rewrites its own executable source, copies tokenizers, in and out."""

import errno
import fcntl
import os
import pathlib
import re
import shutil
import subprocess

from trace import blob

FICLONE = 0x40049409
SOURCE = '#!/bin/sh\n# begin of list\necho "models: none"\n# end of list\necho "$1"\n'
TOKENIZER = {"tokenizer.json": 2_100_000, "tokenizer.model": 700_000, "sub dir/vocab.txt": 230_000, "empty": 0}
MTIME = 1_700_000_001_234_567_891


def rewrite(script, trace):
    path = pathlib.Path(script)
    path.write_text(SOURCE)
    path.chmod(0o755)
    for models in ("bert", "bert t5 clip whisper", ""):
        before = os.stat(script)
        text = re.sub(r'echo "models: .*"', f'echo "models: {models}"', path.read_text())
        path.write_text(text)
        after = os.stat(script)
        trace.fact(f"the same file '{models}'", [before.st_ino == after.st_ino, oct(after.st_mode)])
        ran = subprocess.run([script, "done"], capture_output=True, text=True)
        trace.fact(f"runs '{models}'", [ran.returncode, ran.stdout, ran.stderr])


def make_tokenizer(directory):
    os.makedirs(os.path.join(directory, "sub dir"))
    for index, (name, size) in enumerate(TOKENIZER.items()):
        path = os.path.join(directory, name)
        with open(path, "wb") as file:
            file.write(blob(index, size))
        os.chmod(path, 0o640)
    os.symlink("tokenizer.json", os.path.join(directory, "link"))
    os.link(os.path.join(directory, "empty"), os.path.join(directory, "empty too"))
    for index, name in enumerate([*TOKENIZER, "link", "sub dir"]):
        time = MTIME + index
        os.utime(os.path.join(directory, name), ns=(time, time), follow_symlinks=False)


def cp(trace, name, *arguments):
    ran = subprocess.run(["cp", *arguments], capture_output=True, text=True)
    trace.fact(name, [ran.returncode, ran.stderr])


def copy_range(trace, name, source, target):
    """copy_file_range, for which another file system is a reason to refuse."""
    with open(source, "rb") as taken, open(target, "wb") as given:
        left = os.fstat(taken.fileno()).st_size
        try:
            while left > 0:
                done = os.copy_file_range(taken.fileno(), given.fileno(), left)
                if done == 0:
                    break
                left -= done
            trace.claim(f"{name}: all of it", left == 0)
        except OSError as error:
            trace.claim(f"{name}: refused, not broken", error.errno in (errno.EXDEV, errno.EOPNOTSUPP))
            shutil.copyfileobj(taken, given)
    trace.content(name, target)


def clone(trace, name, source, target):
    with open(source, "rb") as taken, open(target, "wb") as given:
        try:
            fcntl.ioctl(given.fileno(), FICLONE, taken.fileno())
            trace.claim(f"{name}: cloned", True)
        except OSError as error:
            refusals = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)
            trace.claim(f"{name}: refused, not broken ({error.errno})", error.errno in refusals)


def run(root, trace):
    rewrite(os.path.join(root, "convert_hf_to_gguf_update.py"), trace)
    outside = os.path.join(trace.scratch, "tokenizers")
    make_tokenizer(outside)
    inside = os.path.join(root, "models", "tokenizers", "bert")
    os.makedirs(inside)
    for name in ("tokenizer.json", "tokenizer.model"):
        shutil.copy2(os.path.join(outside, name), inside)
    trace.tree("copy2", inside, mtime=True)
    cp(trace, "cp -a in", "-a", outside, os.path.join(root, "models", "in"))
    trace.tree("in", os.path.join(root, "models", "in"), mtime=True)
    cp(trace, "cp -a within", "-a", os.path.join(root, "models", "in"), os.path.join(root, "models", "within"))
    back = os.path.join(trace.scratch, "back")
    cp(trace, "cp -a out", "-a", os.path.join(root, "models", "within"), back)
    trace.tree("out", back, mtime=True)
    first = os.path.join(root, "models", "in", "tokenizer.model")
    for name, source, target in (
        ("in", os.path.join(outside, "tokenizer.model"), os.path.join(root, "range in")),
        ("within", first, os.path.join(root, "range within")),
        ("out", first, os.path.join(trace.scratch, "range out")),
    ):
        copy_range(trace, f"copy_file_range {name}", source, target)
        clone(trace, f"FICLONE {name}", source, os.path.join(os.path.dirname(target), "clone"))
        os.unlink(os.path.join(os.path.dirname(target), "clone"))
        cp(trace, f"cp --reflink=auto {name}", "--reflink=auto", source, target + " again")
        trace.content(f"reflink {name}", target + " again")
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("script", root, skip=lambda path: path.startswith("models"))
    trace.tree("copied with their times", os.path.join(root, "models", "in"), mtime=True)
    trace.tree("models", os.path.join(root, "models"))
