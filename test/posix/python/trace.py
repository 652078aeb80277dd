"""What a behaviour saw: facts, which must be those of a plain directory, and claims, which must hold
on their own."""

import errno
import hashlib
import os
import stat
import sys
import time
from typing import Any, Callable

TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}


# Where Linux has one number for two names, Python knows it by the one no manual page uses.
USUAL_NAMES = {errno.EOPNOTSUPP: "EOPNOTSUPP", errno.EDEADLK: "EDEADLK", errno.EAGAIN: "EAGAIN"}


def errno_name(error: OSError) -> str:
    return USUAL_NAMES.get(error.errno or 0) or errno.errorcode.get(error.errno or 0, f"errno {error.errno}")


def shown(value: Any) -> Any:
    """A value as JSON carries it; long bytes by length and digest."""
    if isinstance(value, os.stat_result):
        return stat_facts(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        if len(data) > 64:
            return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
        return data.decode("ascii") if data.isascii() else "hex " + data.hex()
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, int) and abs(value) > 1 << 53:
        # JavaScript, which compares, would round it.
        return str(value)
    if isinstance(value, (list, tuple)):
        return [shown(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(shown(item) for item in value)
    return value


def stat_facts(value: os.stat_result) -> dict[str, Any]:
    """What two file systems must agree on: no inode number, device, times or blocks. Size and link
    count of a directory are the file system's own affair (and 1 for one that is not listed yet)."""
    facts = {
        "type": TYPES[stat.S_IFMT(value.st_mode)],
        "mode": oct(stat.S_IMODE(value.st_mode)),
        "uid": value.st_uid,
        "gid": value.st_gid,
    }
    if not stat.S_ISDIR(value.st_mode):
        facts |= {"size": value.st_size, "nlink": value.st_nlink}
    return facts


def link_count(value: os.stat_result) -> dict[str, int]:
    """A file's link count, by the name under which a mount may count one link more."""
    return {"nlink": value.st_nlink}


def outcome(function: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """What a call answered, or the name of its errno."""
    try:
        value = function(*args, **named)
    except OSError as error:
        return errno_name(error)
    return "ok" if value is None else shown(value)


def eventually(expected: Any, function: Callable[..., Any], *args: Any) -> bool:
    """Whether the call answers so within ten seconds: for what is told to the daemon meanwhile."""
    end = time.monotonic() + 10
    while outcome(function, *args) != expected:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


class Trace:
    def __init__(self, way: str, scratch: str):
        # "plain" is the oracle; every other name is a way into a mount.
        self.way = way
        # A directory outside of the mount, on a local disk.
        self.scratch = scratch
        self.facts: list[tuple[str, Any]] = []
        self.claims: list[tuple[str, bool]] = []

    @property
    def mounted(self) -> bool:
        return self.way != "plain"

    def note(self, name: str, value: Any) -> None:
        """A fact: it must be what a plain directory gives."""
        self.facts.append((name, shown(value)))

    def call(self, name: str, function: Callable[..., Any], *args: Any, **named: Any) -> None:
        self.note(name, outcome(function, *args, **named))

    def claim(self, name: str, holds: bool) -> None:
        """What must be true on every way in, the plain directory included."""
        self.claims.append((name, bool(holds)))

    def one_of(self, name: str, value: Any, *allowed: Any) -> None:
        """Where a mount may answer otherwise than the local disk: one of these."""
        value = shown(value)
        self.claims.append((f"{name}: {value!r} is one of {allowed!r}", value in allowed))

    def pause(self, what: str) -> None:
        """Asks the driver to do something (`commit`, `kill-daemon`) and waits until it is done."""
        sys.stdout.flush()
        os.write(1, f"PAUSE {what}\n".encode())
        answer = b""
        while not answer.endswith(b"\n"):
            byte = os.read(0, 1)
            if byte == b"":
                raise RuntimeError(f"the driver could not {what}")
            answer += byte
