"""Files that behaviours make and read."""

import hashlib
import os
from typing import Any

MIB = 1 << 20


def content(length: int, seed: str = "x") -> bytes:
    """Bytes that look random, and are the same in every run."""
    block = hashlib.shake_256(seed.encode()).digest(min(length, 65536))
    whole = bytearray()
    number = 0
    while len(whole) < length:
        whole += number.to_bytes(8, "little") + block[8:]
        number += 1
        if len(block) < 8:
            return block[:length]
    return bytes(whole[:length])


def write(path: str, data: bytes = b"", mode: int = 0o644) -> str:
    """open, write everything, close."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        write_all(fd, data)
    finally:
        os.close(fd)
    return path


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return read_fd(fd)
    finally:
        os.close(fd)


def read_fd(fd: int) -> bytes:
    """From the descriptor's position to the end."""
    parts = []
    while part := os.read(fd, MIB):
        parts.append(part)
    return b"".join(parts)


def digest(path: str) -> str:
    return hashlib.sha256(read(path)).hexdigest()


def opened(path: str | bytes, flags: int, mode: int = 0o644) -> None:
    """Opens and closes: for what open(2) alone answers."""
    os.close(os.open(path, flags, mode))


def listing(path: str) -> list[Any]:
    """Everything below: name, type and what it holds, sorted."""
    found = []
    for name in sorted(os.listdir(path)):
        whole = os.path.join(path, name)
        if os.path.islink(whole):
            found.append([name, "->", os.readlink(whole)])
        elif os.path.isdir(whole):
            found.append([name, "/", listing(whole)])
        else:
            found.append([name, "=", digest(whole)[:12]])
    return found
