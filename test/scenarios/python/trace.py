"""What a scenario saw: results, exact errnos and bytes, in a form that two runs can be compared by."""

import errno
import hashlib
import os
import random
import stat
import sys


class Trace:
    """Facts must be equal on a plain directory and on a mount; claims must hold on the mount.

    A claim is something that a mount promises beyond a local disk, or that a local disk decides
    for itself, such as the order of names in a directory.
    """

    def __init__(self, scratch: str):
        self.scratch = scratch
        self.facts: list = []
        self.claims: list = []

    def fact(self, name: str, value=True) -> None:
        self.facts.append([name, value])

    def claim(self, name: str, holds: bool) -> None:
        self.claims.append([name, bool(holds)])

    def call(self, name: str, function, *args, **kwargs):
        """Calls it and records its result or its errno; the result is returned, None after an error."""
        try:
            result = function(*args, **kwargs)
        except OSError as error:
            self.fact(name, errno.errorcode.get(error.errno, str(error.errno)))
            return None
        plain = result is None or isinstance(result, (bool, int, str, list))
        self.fact(name, ["ok", result if plain else type(result).__name__])
        return result

    def stat(self, name: str, path: str, mtime: bool = False) -> None:
        """Type, mode, size and number of links of what `path` names, without following a link."""
        try:
            found = os.lstat(path)
        except OSError as error:
            self.fact(f"lstat {name}", errno.errorcode[error.errno])
            return
        kind = stat.S_IFMT(found.st_mode)
        facts = {"kind": oct(kind)}
        if not stat.S_ISLNK(found.st_mode):
            facts["mode"] = oct(stat.S_IMODE(found.st_mode))
        if stat.S_ISREG(found.st_mode):
            facts["size"] = found.st_size
            facts["nlink"] = found.st_nlink
        if stat.S_ISLNK(found.st_mode):
            facts["target"] = os.readlink(path)
        if mtime:
            facts["mtime_ns"] = str(found.st_mtime_ns)
        self.fact(f"lstat {name}", facts)

    def content(self, name: str, path: str) -> None:
        """The SHA-256 of a file, read as applications read: through links, in pieces of 1 MiB."""
        digest = hashlib.sha256()
        try:
            with open(path, "rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
        except OSError as error:
            self.fact(f"read {name}", errno.errorcode[error.errno])
            return
        self.fact(f"read {name}", digest.hexdigest())

    def tree(self, name: str, root: str, mtime: bool = False, skip=lambda path: False) -> None:
        """Every name below `root` with its attributes and bytes."""
        for directory, names, files in os.walk(root):
            names.sort()
            for entry in sorted(names + files):
                path = os.path.join(directory, entry)
                relative = os.path.relpath(path, root)
                if skip(relative):
                    continue
                self.stat(f"{name}/{relative}", path, mtime)
                if os.path.isfile(path) and not os.path.islink(path):
                    self.content(f"{name}/{relative}", path)

    def pause(self, what: str) -> None:
        """Lets the driver do something to the mount (on the oracle it does nothing), and waits."""
        print(f"PAUSE {what}", flush=True)
        if sys.stdin.readline().strip() != "go":
            raise SystemExit(f"the driver went away at: {what}")


def blob(seed: int, size: int) -> bytes:
    """`size` bytes that look random and are the same in every run."""
    return random.Random(seed).randbytes(size)
