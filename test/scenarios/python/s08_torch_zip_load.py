"""A torch archive: a zip without compression, read from its end first, then mapped whole."""

import hashlib
import mmap
import os
import zipfile

from trace import blob

MEMBERS = {f"archive/data/{index}": blob(80 + index, 5 * 1024 * 1024) for index in range(3)}


def run(root, trace):
    path = os.path.join(root, "pytorch_model.bin")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6)), content)
    check(root, trace, second=False)


def check(root, trace, second):
    path = os.path.join(root, "pytorch_model.bin")
    trace.stat("archive", path)
    with zipfile.ZipFile(path) as archive:
        trace.fact("names", archive.namelist())
        for name in reversed(archive.namelist()):
            with archive.open(name) as member:
                member.seek(4 * 1024 * 1024)
                tail = member.read()
            trace.fact(f"tail of {name}", tail == MEMBERS[name][4 * 1024 * 1024 :])
        trace.fact("testzip", archive.testzip())
    with open(path, "rb") as file:
        with mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapped:
            trace.fact("mapped", hashlib.sha256(mapped).hexdigest())
