"""The same operations on a real directory, by the system calls that programs make."""

import ctypes
import errno
import mmap
import os
import stat

from model import content, digest, seen_kind

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate64.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
KEEP_SIZE, PUNCH_HOLE = 1, 2
WAYS = {"read": os.O_RDONLY, "write": os.O_RDWR, "append": os.O_RDWR | os.O_APPEND}


def write_all(fd: int, data: bytes, offset: int) -> int:
    """A regular file takes everything at once, on a local disk as here: less is a difference."""
    return os.pwrite(fd, data, offset) if data else 0


class Disk:
    """Below one directory; with the descriptors of one process."""

    def __init__(self, root: str):
        self.root = root
        self.held: dict[int, int] = {}

    def apply(self, operation: list) -> list:
        name, *arguments = operation
        try:
            return ["ok", getattr(self, name)(*arguments)]
        except OSError as error:
            return [errno.errorcode[error.errno or errno.EIO]]

    def at(self, path: str) -> str:
        return os.path.join(self.root, path)

    def open(self, path: str, flags: int, mode: int = 0o644) -> int:
        fd = os.open(self.at(path), flags | os.O_CLOEXEC, mode)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.close(fd)
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        return fd

    def with_file(self, path: str, flags: int, use, mode: int = 0o644):
        fd = self.open(path, flags, mode)
        try:
            return use(fd)
        finally:
            os.close(fd)

    # Files by their names.

    def create(self, path: str, mode: int, seed: int, size: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        return self.with_file(path, flags, lambda fd: write_all(fd, content(seed, size), 0), mode)

    def put(self, path: str, seed: int, size: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        return self.with_file(path, flags, lambda fd: write_all(fd, content(seed, size), 0))

    def write(self, path: str, offset: int, seed: int, size: int) -> int:
        data = content(seed, size)
        return self.with_file(path, os.O_WRONLY, lambda fd: write_all(fd, data, offset))

    def append(self, path: str, seed: int, size: int) -> int:
        def use(fd: int) -> int:
            os.write(fd, content(seed, size))
            return os.fstat(fd).st_size

        return self.with_file(path, os.O_WRONLY | os.O_APPEND, use)

    def truncate(self, path: str, size: int) -> int:
        os.truncate(self.at(path), size)
        return size

    def read(self, path: str, offset: int, size: int) -> list:
        data = self.with_file(path, os.O_RDONLY, lambda fd: os.pread(fd, size, offset))
        return [len(data), digest(data)]

    def read_mapped(self, path: str) -> list:
        def use(fd: int) -> bytes:
            if os.fstat(fd).st_size == 0:
                return b""
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapping:
                return mapping[:]

        data = self.with_file(path, os.O_RDONLY, use)
        return [len(data), digest(data)]

    def write_mapped(self, path: str, offset: int, seed: int, size: int) -> str:
        def use(fd: int) -> str:
            if offset + size > os.fstat(fd).st_size:
                return "beyond the end"
            with mmap.mmap(fd, 0) as mapping:
                mapping[offset : offset + size] = content(seed, size)
                return digest(mapping[:])

        return self.with_file(path, os.O_RDWR, use)

    def copy_range(self, path: str, to: str, offset: int, at: int, size: int) -> int | str:
        def copy(source: int, target: int) -> int | str:
            if os.path.samestat(os.fstat(source), os.fstat(target)):
                return "the same file"
            done = 0
            while done < size:
                count = os.copy_file_range(
                    source, target, size - done, offset + done, at + done
                )
                if count == 0:
                    break
                done += count
            return done

        flags = os.O_RDONLY
        return self.with_file(
            path, flags, lambda source: self.with_file(to, os.O_WRONLY, lambda fd: copy(source, fd))
        )

    def fallocate(self, path: str, mode: int, offset: int, size: int) -> int:
        def use(fd: int) -> int:
            if _libc.fallocate64(fd, mode, offset, size) < 0:
                raise OSError(ctypes.get_errno(), "fallocate", path)
            return os.fstat(fd).st_size

        return self.with_file(path, os.O_WRONLY, use)

    def allocate(self, path: str, offset: int, size: int) -> int:
        return self.fallocate(path, 0, offset, size)

    def punch(self, path: str, offset: int, size: int) -> int:
        return self.fallocate(path, KEEP_SIZE | PUNCH_HOLE, offset, size)

    def sync(self, path: str) -> int:
        def use(fd: int) -> int:
            os.fsync(fd)
            return os.fstat(fd).st_size

        return self.with_file(path, os.O_RDONLY, use)

    # Names.

    def look(self, path: str) -> list:
        found = os.lstat(self.at(path))
        kind, mode = seen_kind(found.st_mode), stat.S_IMODE(found.st_mode)
        if kind == "file":
            return ["file", mode, found.st_size, found.st_nlink]
        return [kind, os.readlink(self.at(path)) if kind == "link" else mode]

    def list(self, path: str) -> list[str]:
        return sorted(os.listdir(self.at(path)))

    def rename(self, path: str, to: str) -> None:
        os.rename(self.at(path), self.at(to))

    def link(self, path: str, to: str) -> int:
        os.link(self.at(path), self.at(to), follow_symlinks=False)
        return os.lstat(self.at(to)).st_nlink

    def symlink(self, target: str, path: str) -> None:
        os.symlink(target, self.at(path))

    def unlink(self, path: str) -> None:
        os.unlink(self.at(path))

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.at(path), mode)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.at(path))

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.at(path), mode)

    def utimes(self, path: str, time: int) -> None:
        os.utime(self.at(path), ns=(time, time))

    # Files that stay open, by the number of a slot.

    def hold(self, slot: int, path: str, way: str) -> None:
        fd = self.open(path, WAYS[way])
        if slot in self.held:
            os.close(self.held[slot])
        self.held[slot] = fd

    def drop(self, slot: int) -> None:
        os.close(self.of(slot))
        del self.held[slot]

    def drop_all(self) -> None:
        for fd in self.held.values():
            os.close(fd)
        self.held.clear()

    def of(self, slot: int) -> int:
        if slot not in self.held:
            raise OSError(errno.EBADF, "nothing is held there")
        return self.held[slot]

    def held_read(self, slot: int, offset: int, size: int) -> list:
        data = os.pread(self.of(slot), size, offset)
        return [len(data), digest(data)]

    def held_write(self, slot: int, offset: int, seed: int, size: int) -> int:
        return write_all(self.of(slot), content(seed, size), offset)

    def held_truncate(self, slot: int, size: int) -> int:
        os.ftruncate(self.of(slot), size)
        return size

    def held_look(self, slot: int) -> list:
        found = os.fstat(self.of(slot))
        return [stat.S_IMODE(found.st_mode), found.st_size, found.st_nlink]

    def held_sync(self, slot: int) -> int:
        os.fsync(self.of(slot))
        return os.fstat(self.of(slot)).st_size


def tree_of(root: str) -> dict[str, tuple[list, int]]:
    """Every name below, as `model.described` gives it, and its mtime."""
    found: dict[str, tuple[list, int]] = {}
    for directory, names, files in os.walk(root, onerror=_fail):
        for name in names + files:
            path = os.path.join(directory, name)
            facts = os.lstat(path)
            found[os.path.relpath(path, root)] = (_described(path, facts), facts.st_mtime_ns)
    return found


def _fail(error: OSError) -> None:
    raise error


def _described(path: str, facts: os.stat_result) -> list:
    kind, mode = seen_kind(facts.st_mode), stat.S_IMODE(facts.st_mode)
    if kind == "link":
        return ["link", os.readlink(path)]
    if kind != "file":
        return [kind, mode]
    with open(path, "rb") as file:
        data = file.read()
    if len(data) != facts.st_size:
        return ["file", mode, facts.st_size, facts.st_nlink, f"only {len(data)} bytes read"]
    return ["file", mode, facts.st_size, facts.st_nlink, digest(data)]
