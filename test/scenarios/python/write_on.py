"""Writes a file piece by piece, as a download does, and says after each how much it has written."""

import os
import sys

PIECE = 64 * 1024
#: Far more than a test waits for.
PIECES = 16_384


def main() -> None:
    path = sys.argv[1]
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for index in range(PIECES):
        piece = index.to_bytes(8, "little") * (PIECE // 8)
        while piece:
            piece = piece[os.write(fd, piece) :]
        print(index + 1, flush=True)
        # It goes on when it is told to: a disk is filled soon otherwise.
        if sys.stdin.readline() == "":
            return


main()
