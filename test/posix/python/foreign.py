"""What an ordinary user may do among files of others, and among his own that he closed:
`foreign.py make DIR` as root, in a directory of his; `foreign.py look DIR` as him."""

import json
import os
import sys

from children import NOBODY
from files import listing, opened, read, write
from trace import Trace, outcome

RD, WR, RW, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT
# Of root: the name and its mode. Of the ordinary user: the same.
THEIRS = {"theirs": 0o644, "shared": 0o666, "secret": 0o600, "readable": 0o444, "set-id": 0o6777,
          "set-id-write": 0o6777, "set-id-empty": 0o6777, "set-id-allocate": 0o6777}
OWN = {"own": 0o644, "own-read-only": 0o444, "own-closed": 0, "own-write-only": 0o200, "own-set-id": 0o6755}
THEIR_FOLDERS = {"their-folder": 0o755, "their-closed": 0o700, "their-open": 0o777, "sticky": 0o1777}
OWN_FOLDERS = {"read-only": 0o555, "no-search": 0o600, "no-list": 0o300, "closed": 0}


def make(place: str) -> None:
    """Directories first, so that their times are those of what is in them."""
    os.chown(place, NOBODY, NOBODY)
    for folders, owner in ((THEIR_FOLDERS, 0), (OWN_FOLDERS, NOBODY)):
        for name, mode in folders.items():
            folder = os.path.join(place, name)
            os.mkdir(folder)
            put(folder, THEIRS, 0)
            put(folder, OWN, NOBODY)
            os.chown(folder, owner, owner)
            os.chmod(folder, mode)
    put(place, THEIRS, 0)
    put(place, OWN, NOBODY)


def put(folder: str, files: dict[str, int], owner: int) -> None:
    for name, mode in files.items():
        path = write(os.path.join(folder, name), f"the bytes of {name}".encode())
        os.chown(path, owner, owner)
        os.chmod(path, mode)


def look(place: str) -> None:
    trace = Trace("user", "")
    os.chdir(place)
    for folder in (".", *THEIR_FOLDERS, *OWN_FOLDERS):
        trace.call(f"{folder}", os.lstat, folder)
        trace.call(f"{folder}: names", lambda: sorted(os.listdir(folder)))
        trace.call(f"{folder}: create", opened, f"{folder}/new", WR | CREAT | os.O_EXCL)
        trace.call(f"{folder}: mkdir", os.mkdir, f"{folder}/new.d")
        trace.call(f"{folder}: symlink", os.symlink, "x", f"{folder}/new.l")
        trace.call(f"{folder}: set times", os.utime, folder, ns=(1, 2))
        for name in (*THEIRS, *OWN):
            read_one(trace, f"{folder}/{name}")
        for name in (*THEIRS, *OWN):
            change_one(trace, f"{folder}/{name}")
    for folder in (*THEIR_FOLDERS, *OWN_FOLDERS):
        trace.call(f"{folder}: rename it", os.rename, folder, f"{folder}.moved")
        trace.call(f"{folder}: chmod", os.chmod, f"{folder}.moved", 0o755)
        trace.call(f"{folder}: rmdir", os.rmdir, f"{folder}.moved")
        trace.call(f"{folder}: in the end", lambda: listing(f"{folder}.moved"))
    print(json.dumps(trace.facts))


def read_one(trace: Trace, path: str) -> None:
    trace.call(f"{path}: stat", os.lstat, path)
    trace.call(f"{path}: bytes", read, path)
    trace.call(f"{path}: access", lambda: [os.access(path, how) for how in (os.R_OK, os.W_OK, os.X_OK)])
    trace.call(f"{path}: open for writing", opened, path, WR)
    trace.call(f"{path}: open for both", opened, path, RW)
    trace.call(f"{path}: append", opened, path, WR | os.O_APPEND)
    trace.call(f"{path}: O_NOATIME", opened, path, RD | os.O_NOATIME)
    trace.call(f"{path}: O_EXCL", opened, path, WR | CREAT | os.O_EXCL)
    trace.call(f"{path}: attributes", os.listxattr, path)


def change_one(trace: Trace, path: str) -> None:
    if path.endswith("-write"):
        trace.call(f"{path}: first", lambda: os.pwrite(os.open(path, WR), b"first", 2))
    elif path.endswith("-empty"):
        trace.call(f"{path}: first", opened, path, WR | os.O_TRUNC)
    elif path.endswith("-allocate"):
        trace.call(f"{path}: first", lambda: os.posix_fallocate(os.open(path, WR), 0, 100))
    trace.call(f"{path}: after the first", os.lstat, path)
    trace.call(f"{path}: set an attribute", os.setxattr, path, "user.a", b"x")
    trace.call(f"{path}: times", os.utime, path, ns=(5, 6))
    trace.call(f"{path}: times now", os.utime, path)
    trace.call(f"{path}: link", os.link, path, f"{path}.link")
    trace.call(f"{path}: link gone", os.unlink, f"{path}.link")
    trace.call(f"{path}: chown", os.chown, path, NOBODY, NOBODY)
    trace.call(f"{path}: truncate", os.truncate, path, 7)
    trace.call(f"{path}: write", lambda: os.pwrite(os.open(path, WR), b"W", 0))
    trace.call(f"{path}: after it", os.lstat, path)
    trace.call(f"{path}: empty it", opened, path, WR | os.O_TRUNC)
    trace.call(f"{path}: chmod", os.chmod, path, 0o640)
    trace.call(f"{path}: bytes after it", read, path)
    trace.call(f"{path}: rename", os.rename, path, f"{path}.moved")
    trace.call(f"{path}: replace it", lambda: (write("fresh"), os.rename("fresh", f"{path}.moved"))[1])
    trace.note(f"{path}: left", [outcome(os.lstat, p) for p in (path, f"{path}.moved", "fresh")])
    trace.call(f"{path}: no more", os.unlink, f"{path}.moved")
    trace.call(f"{path}: fresh one", os.unlink, "fresh")


command, directory = sys.argv[1:]
(make if command == "make" else look)(directory)
