"""Holds a write lease on a file: whoever opens it waits, until a line comes on stdin.

Prints `held`, then `asked` when somebody wants to open it. That is how a test stops another process
right before it opens the file.
"""

import errno
import fcntl
import os
import signal
import sys
import time

DEADLINE_S = 20


def main() -> None:
    signal.signal(signal.SIGIO, lambda *_: print("asked", flush=True))
    fd = os.open(sys.argv[1], os.O_RDWR)
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            break
        except OSError as error:
            # Somebody has it open at this moment.
            if error.errno != errno.EAGAIN or time.monotonic() > end:
                raise
    print("held", flush=True)
    sys.stdin.readline()


main()
