"""avx2/convert_models.py: stands in the mount, and swaps files there with mv (which asks renameat2)."""

import errno
import os
import subprocess

from renameat2 import EXCHANGE, NOREPLACE, renameat2
from trace import blob

SWAP = "mv checkpoint.bin checkpoint.bin.bak ; mv checkpoint.gguf.bin checkpoint.bin"


def shell(trace, name, command):
    ran = subprocess.run(command, shell=True, capture_output=True, text=True)
    trace.fact(name, [ran.returncode, ran.stderr])


def make(name, seed, size=1_300_000):
    with open(name, "wb") as file:
        file.write(blob(seed, size))


def swap_models(trace):
    make("checkpoint.bin", 281)
    make("checkpoint.gguf.bin", 282)
    files = [f for f in os.listdir(".") if os.path.isfile(f) and f.endswith(".bin")]
    trace.fact("found", sorted(files))
    with open("checkpoint.bin", "rb") as before:
        shell(trace, "mv", SWAP)
        trace.fact("who had it open keeps it", before.read(8).hex())
    trace.tree("swapped", ".")
    # Run twice it loses the original, by design of its mv: so must it here.
    make("checkpoint.gguf.bin", 283)
    shell(trace, "mv twice", SWAP)
    trace.tree("twice", ".")
    shell(trace, "mv without a result", SWAP)
    trace.tree("the result is missing", ".")
    shell(trace, "mv back", "mv -n checkpoint.bin.bak checkpoint.bin")


def move_without_replacing(trace, old, new, expected):
    """What GNU mv asks first; where the flag is not known it looks by itself, and renames."""
    try:
        renameat2(old, new, NOREPLACE)
        answer = None
    except OSError as error:
        answer = error.errno
    trace.claim(f"NOREPLACE of {old} onto {new}", answer in (expected, errno.EINVAL))
    if answer == errno.EINVAL and not os.path.lexists(new):
        os.rename(old, new)


def flags(trace):
    make("one", 284, 100)
    make("two", 285, 200)
    move_without_replacing(trace, "one", "two", errno.EEXIST)
    move_without_replacing(trace, "one", "three", None)
    trace.fact("sizes", [os.path.getsize("three"), os.path.getsize("two")])
    try:
        renameat2("two", "three", EXCHANGE)
        trace.claim("EXCHANGE exchanges", os.path.getsize("three") == 200)
        renameat2("three", "two", EXCHANGE)
    except OSError as error:
        trace.claim("EXCHANGE is refused as unknown", error.errno == errno.EINVAL)
    trace.fact("as before", [os.path.getsize("three"), os.path.getsize("two")])


def run(root, trace):
    here = os.getcwd()
    models = os.path.join(root, "models")
    os.makedirs(os.path.join(models, "x"))
    os.chdir(os.path.join(models, "x"))
    try:
        swap_models(trace)
        flags(trace)
        trace.fact("cwd", os.getcwd() == os.path.realpath(os.path.join(models, "x")))
        # The folder that the process stands in is moved, and the one above it.
        os.rename(os.path.join(models, "x"), os.path.join(models, "y"))
        os.rename(models, os.path.join(root, "moved"))
        trace.fact("cwd moved with it", os.getcwd() == os.path.realpath(os.path.join(root, "moved", "y")))
        make("relative", 286, 50)
        trace.fact("a relative name", os.path.getsize(os.path.join(root, "moved", "y", "relative")))
        shell(trace, "a child stands there too", "test -f ../y/relative && test ! -e ../x")
    finally:
        os.chdir(here)
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
