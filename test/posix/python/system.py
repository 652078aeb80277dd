"""System calls that Python has no name for, with their errno as OSError."""

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE = 1, 2
FALLOC_COLLAPSE_RANGE, FALLOC_ZERO_RANGE, FALLOC_INSERT_RANGE = 8, 16, 32
FICLONE = 0x40049409
FS_IOC_GETFLAGS = 0x80086601
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
SEEK_DATA, SEEK_HOLE = os.SEEK_DATA, os.SEEK_HOLE
MAP_SHARED, MAP_PRIVATE, MAP_POPULATE = 1, 2, 0x8000
IN_ACCESS, IN_MODIFY, IN_CLOSE_WRITE = 0x1, 0x2, 0x8
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE = 0x40, 0x80, 0x100, 0x200


class _Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


def _checked(result: int, path: str | bytes | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result


def renameat2(old: str | bytes, new: str | bytes, flags: int) -> None:
    arguments = (AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)
    _checked(_libc.renameat2(*arguments), old)


def linkat(old_dir: int, old: str, new: str, flags: int) -> None:
    _checked(_libc.linkat(old_dir, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags), old)


def utimensat(path: str, atime: tuple[int, int], mtime: tuple[int, int], flags: int = 0) -> None:
    """Seconds and nanoseconds, or (0, UTIME_NOW), or (0, UTIME_OMIT)."""
    times = (_Timespec * 2)(_Timespec(*atime), _Timespec(*mtime))
    _checked(_libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags), path)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    call = _libc.fallocate64
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    _checked(call(fd, mode, offset, length))


def splice(source: int, target: int, count: int) -> int:
    call = _libc.splice
    call.restype = ctypes.c_ssize_t
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    call.argtypes += [ctypes.c_size_t, ctypes.c_uint]
    return _checked(call(source, None, target, None, count, 0))


def splice_at(source: int, offset: int, target: int, count: int) -> int:
    """From that place of a file, whose own position stays."""
    call = _libc.splice
    call.restype = ctypes.c_ssize_t
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    call.argtypes += [ctypes.c_size_t, ctypes.c_uint]
    place = ctypes.c_int64(offset)
    return _checked(call(source, ctypes.addressof(place), target, None, count, 0))


def syncfs(fd: int) -> None:
    _checked(_libc.syncfs(fd))


def inotify(path: str, mask: int) -> int:
    """A descriptor that tells of events in the directory."""
    fd = _checked(_libc.inotify_init1(os.O_NONBLOCK))
    _checked(_libc.inotify_add_watch(fd, os.fsencode(path), mask), path)
    return fd


def inotify_events(fd: int) -> list[tuple[int, str]]:
    try:
        data = os.read(fd, 1 << 16)
    except BlockingIOError:
        return []
    events = []
    while data:
        _, mask, _, length = struct.unpack_from("iIII", data)
        name = data[16 : 16 + length].rstrip(b"\0")
        events.append((mask, os.fsdecode(name)))
        data = data[16 + length :]
    return events


class DirStream:
    """opendir(3) with telldir and seekdir, which Python's os.scandir does not have."""

    _libc.opendir.restype = ctypes.c_void_p
    _libc.readdir64.restype = ctypes.c_void_p
    _libc.telldir.restype = ctypes.c_long
    _libc.readdir64.argtypes = [ctypes.c_void_p]
    _libc.telldir.argtypes = [ctypes.c_void_p]
    _libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    _libc.rewinddir.argtypes = [ctypes.c_void_p]
    _libc.closedir.argtypes = [ctypes.c_void_p]

    def __init__(self, path: str):
        self.stream = _libc.opendir(os.fsencode(path))
        if not self.stream:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)

    def read(self) -> tuple[str, int, int] | None:
        """Name, inode number and d_type, or None at the end. @raises OSError"""
        ctypes.set_errno(0)
        entry = _libc.readdir64(self.stream)
        if not entry:
            code = ctypes.get_errno()
            if code != 0:
                raise OSError(code, os.strerror(code))
            return None
        ino, _, _, kind = struct.unpack_from("<QqHB", ctypes.string_at(entry, 19))
        return os.fsdecode(ctypes.string_at(entry + 19)), ino, kind

    def read_all(self) -> list[tuple[str, int, int]]:
        return list(iter(self.read, None))

    def tell(self) -> int:
        return _libc.telldir(self.stream)

    def seek(self, position: int) -> None:
        _libc.seekdir(self.stream, position)

    def rewind(self) -> None:
        _libc.rewinddir(self.stream)

    def close(self) -> None:
        _libc.closedir(self.stream)
