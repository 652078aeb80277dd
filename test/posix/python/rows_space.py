"""statfs, block sizes, sizes on disk."""

import os
import shutil

from files import MIB, content, write
from registry import behaviour
from trace import Trace

SECTION = "Space"


@behaviour(SECTION, "statfs gives the disk's real free space, names of 255 bytes, blocks of 4,096, everywhere")
def file_system(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.makedirs("a/b")
    write("a/b/f", b"x")
    fd = os.open("a/b/f", os.O_RDONLY)
    disk = os.statvfs(trace.scratch)
    for path in (place, "a/b", "a/b/f", fd, os.path.dirname(place)):
        found = os.statvfs(path)
        trace.note("name length and block", [found.f_namemax, found.f_bsize, found.f_frsize])
        free, real = found.f_bavail * found.f_frsize, disk.f_bavail * disk.f_frsize
        # Others write on this disk meanwhile.
        trace.claim(f"free: {free} of {real}", abs(free - real) < real // 4)
        trace.claim("whole", found.f_blocks * found.f_frsize == disk.f_blocks * disk.f_frsize)
        trace.claim("inodes", 0 < found.f_ffree <= found.f_files)
        trace.claim("free for all", found.f_bavail <= found.f_bfree <= found.f_blocks)
    usage = shutil.disk_usage(place)
    trace.claim("disk_usage", usage.free > 0 and usage.total > usage.free)
    os.close(fd)
    trace.note("flags", bool(os.statvfs(place).f_flag & os.ST_RDONLY))


@behaviour(SECTION, "st_blksize is 4,096; st_blocks is what lies on the local disk",
           prepare=lambda place: write(f"{place}/settled", content(4 * MIB)) and None)
def blocks(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("full", content(4 * MIB))
    fd = os.open("full", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    fd = os.open("hollow", os.O_WRONLY | os.O_CREAT)
    os.ftruncate(fd, 1 << 30)
    os.close(fd)
    for name in ("full", "hollow", "settled", "."):
        trace.note(name, os.stat(name).st_blksize)
    trace.claim("full", os.stat("full").st_blocks * 512 >= 4 * MIB)
    trace.claim("hollow", os.stat("hollow").st_blocks < 100)
    if trace.way == "remote":
        trace.claim("nothing is here yet", os.stat("settled").st_blocks * 512 < MIB)
        with open("settled", "rb") as file:
            whole = file.read()
        trace.claim("it is what it was", whole == content(4 * MIB))
    trace.note("size", os.stat("settled").st_size)
