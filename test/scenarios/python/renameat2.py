"""renameat2(2), which Python does not offer."""

import ctypes
import os

NOREPLACE = 1
EXCHANGE = 2
AT_FDCWD = -100
libc = ctypes.CDLL(None, use_errno=True)


def renameat2(old: str, new: str, flags: int) -> None:
    arguments = (AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags)
    if libc.renameat2(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), old, None, new)
