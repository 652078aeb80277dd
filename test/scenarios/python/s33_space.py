"""A disk that gets full: what is written fails as on a local disk, what is there stays, space comes back."""

import errno
import os
import shutil

from trace import blob

MIB = 1024 * 1024
KEPT = 3 * MIB + 11


def write(path, content):
    with open(path, "wb", buffering=0) as file:
        for start in range(0, len(content), MIB):
            piece = content[start : start + MIB]
            while piece:
                piece = piece[file.write(piece) :]
        os.fsync(file.fileno())


def fill(directory):
    """Whole files, then single bytes, until nothing fits; the errnos that ended it."""
    ends = []
    for size in (4 * MIB, 64 * 1024, 4096):
        while True:
            path = os.path.join(directory, f"filler {len(os.listdir(directory))}")
            try:
                write(path, b"f" * size)
            except OSError as error:
                ends.append(errno.errorcode[error.errno])
                break
    return ends


def outcome(function, *args):
    try:
        function(*args)
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]


def while_full(root, trace):
    kept = os.path.join(root, "kept")
    trace.content("a settled file is read", os.path.join(kept, "settled"))
    trace.content("a dirty one too", os.path.join(kept, "dirty"))
    trace.call("renamed", os.rename, os.path.join(kept, "dirty"), os.path.join(kept, "moved"))
    trace.call("and back", os.rename, os.path.join(kept, "moved"), os.path.join(kept, "dirty"))
    trace.call("chmod", os.chmod, os.path.join(kept, "dirty"), 0o600)
    # Its blocks are there already: an overwrite in place needs no space on a local disk.
    for name in ("settled", "dirty"):
        with open(os.path.join(kept, name), "r+b", buffering=0) as file:
            trace.fact(f"{name} overwritten in place", file.write(b"in place"))
            trace.call(f"{name} synced", os.fsync, file.fileno())
    trace.fact("a new file of a megabyte", outcome(write, os.path.join(root, "new"), b"n" * MIB))
    appended = os.path.join(kept, "appended")
    with open(appended, "ab", buffering=0) as file:
        trace.fact("an append of a megabyte", outcome(lambda: (write_all(file, b"a" * MIB), os.fsync(file.fileno()))))
    trace.fact("what it begins with stays", open(appended, "rb").read(100_000) == b"A" * 100_000)
    for name, function, path in (("mkdir", os.mkdir, "d"), ("symlink", lambda p: os.symlink("x", p), "l")):
        # Directories have room left, or not, as it happens: nothing else may come of it.
        trace.claim(f"{name} works or finds no space", outcome(function, os.path.join(root, path)) in ("ok", "ENOSPC"))


def write_all(file, content):
    while content:
        content = content[file.write(content) :]


def run(root, trace):
    kept, fillers = os.path.join(root, "kept"), os.path.join(root, "fillers")
    os.mkdir(kept)
    os.mkdir(fillers)
    usage = shutil.disk_usage(root)
    trace.claim("free space is between nothing and all", 0 < usage.free <= usage.total)
    write(os.path.join(kept, "settled"), blob(33, KEPT))
    write(os.path.join(kept, "appended"), b"A" * 100_000)
    trace.pause("commit")
    write(os.path.join(kept, "dirty"), blob(34, KEPT))
    # What statvfs promises must be there for who looks first, as downloads do.
    half = shutil.disk_usage(root).free // 2 // MIB * MIB
    trace.fact("half of what is free is there", outcome(write, os.path.join(fillers, "half"), b"h" * half))
    trace.fact("then it is full", fill(fillers))
    trace.claim("and says so", shutil.disk_usage(root).free < MIB)
    while_full(root, trace)
    trace.pause("look")
    trace.content("read while no database has room", os.path.join(kept, "settled"))
    shutil.rmtree(fillers)
    trace.pause("recover")
    trace.fact("there is room again", outcome(write, os.path.join(root, "after"), blob(35, 2 * MIB)))
    for name in ("d", "l", "new"):
        path = os.path.join(root, name)
        if os.path.lexists(path):
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
    os.truncate(os.path.join(kept, "appended"), 100_000)
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
