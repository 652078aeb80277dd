"""Every rename that the components make, and those that must fail."""

import os

from trace import blob

SIZE = 2_100_000


def write(path, seed, size=1000):
    with open(path, "wb") as file:
        file.write(blob(seed, size))


def kinds(base, trace):
    """Each kind onto each other, in a folder of its own, so that one outcome is not the next one's start."""
    names = ["file", "empty", "full", "link", "nothing"]
    for source in names:
        for target in names:
            place = os.path.join(base, f"{source} to {target}")
            for side, kind in (("a", source), ("b", target)):
                make(os.path.join(place, side), kind)
            trace.call(f"{source} onto {target}", os.rename, f"{place}/a", f"{place}/b")
            trace.tree(f"{source} onto {target}", place)


def make(path, kind):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if kind == "file":
        write(path, 1 if path.endswith("a") else 2)
    elif kind in ("empty", "full"):
        os.mkdir(path)
        if kind == "full":
            write(os.path.join(path, "inside"), 3)
    elif kind == "link":
        os.symlink("nowhere", path)


def odd(base, trace):
    os.makedirs(os.path.join(base, "d", "child"))
    write(os.path.join(base, "f"), 1)
    call = lambda name, a, b: trace.call(name, os.rename, os.path.join(base, a), os.path.join(base, b))
    call("into its own child", "d", "d/child/d")
    call("onto itself", "d", "d")
    call("a child onto its parent", "d/child", "d")
    call("through a file", "f", "f/x")
    call("from nowhere", "none", "x")
    call("into nowhere", "f", "none/x")
    call("to a name with a slash", "f", "x/")
    call("to a name too long", "f", "n" * 256)
    call("case only", "f", "F")
    trace.fact("case is kept", sorted(os.listdir(base)))
    os.link(os.path.join(base, "F"), os.path.join(base, "same"))
    call("onto another name of itself", "F", "same")
    trace.fact("both stay", sorted(os.listdir(base)))


def open_files(base, trace):
    os.makedirs(os.path.join(base, "blobs"))
    path = os.path.join(base, "blobs", "x.incomplete")
    content = blob(31, SIZE)
    dirty = open(path, "wb", buffering=0)
    dirty.write(content[:1_000_000])
    os.rename(path, os.path.join(base, "blobs", "x"))
    dirty.write(content[1_000_000:])
    trace.content("renamed while it was written, before close", os.path.join(base, "blobs", "x"))
    # The folder of what is open goes too.
    os.rename(os.path.join(base, "blobs"), os.path.join(base, "moved"))
    dirty.write(b"tail")
    trace.fact("size by descriptor and name", [os.fstat(dirty.fileno()).st_size, os.path.getsize(os.path.join(base, "moved", "x"))])
    dirty.close()
    trace.content("after close", os.path.join(base, "moved", "x"))

    target = os.path.join(base, "target")
    write(target, 32, SIZE)
    reader = open(target, "rb", buffering=0)
    writer = open(target, "r+b", buffering=0)
    first = reader.read(100_000)
    write(target + ".new", 33, 500_000)
    os.replace(target + ".new", target)
    writer.write(b"into the orphan")
    trace.fact("the reader of what was replaced", (first + reader.read()) == blob(32, SIZE))
    reader.seek(0)
    trace.fact("sees what its writer writes", reader.read(15).decode())
    trace.fact("no name is left", [os.fstat(reader.fileno()).st_nlink, os.path.getsize(target)])
    reader.close()
    writer.close()
    trace.content("the new one", target)


def run(root, trace):
    for name, part in (("kinds", kinds), ("odd", odd), ("open", open_files)):
        base = os.path.join(root, name)
        os.mkdir(base)
        part(base, trace)
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
