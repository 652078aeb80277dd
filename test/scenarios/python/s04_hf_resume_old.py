"""huggingface_hub up to 1.17 resumes by appending to the partial file that all processes share."""

import hashlib
import os
import shutil

from trace import blob

CONTENT = blob(41, 9 * 1024 * 1024 + 11)
ETAG = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


def run(root, trace):
    blobs = os.path.join(root, "hub", "models--org--old", "blobs")
    os.makedirs(blobs)
    incomplete = os.path.join(blobs, f"{ETAG}.incomplete")
    with open(incomplete, "ab") as file:
        trace.fact("tell at first", file.tell())
        file.write(CONTENT[:HALF])
    trace.stat("half", incomplete)
    with open(incomplete, "ab") as file:
        trace.fact("tell is half", file.tell() == HALF)
        # O_APPEND ignores where the descriptor stands.
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        file.write(CONTENT[HALF : HALF + 1000])
        file.flush()
        with open(incomplete, "ab") as other:
            other.write(CONTENT[HALF + 1000 : HALF + 2000])
        file.write(CONTENT[HALF + 2000 :])
    trace.fact("pwrite-like size", os.path.getsize(incomplete) == len(CONTENT))
    shutil.move(incomplete, os.path.join(blobs, ETAG))
    trace.fact("gone", not os.path.exists(incomplete))
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("hub", os.path.join(root, "hub"))
