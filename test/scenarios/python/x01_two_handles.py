"""hf_xet's writer, replayed: Python holds one descriptor, the library writes through others.

Source: hf_xet 1.1.x (its file writer) and huggingface_hub 0.3x (xet_get). Newer versions
write in sequence with large vectored writes, 1.1.x seeks with several descriptors.
"""

import hashlib
import os

from trace import blob

MIB = 1024 * 1024
CONTENT = blob(301, 20 * MIB + 13)
ETAG = hashlib.sha256(CONTENT).hexdigest()


def write_in_sequence(path):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    pieces = [CONTENT[start : start + 777_777] for start in range(0, len(CONTENT), 777_777)]
    while pieces:
        # A short vectored write is legal: go on behind what was taken.
        done = os.writev(descriptor, pieces[:24])
        while pieces and done >= len(pieces[0]):
            done -= len(pieces.pop(0))
        if done:
            pieces[0] = pieces[0][done:]
    os.close(descriptor)


def write_out_of_order(path):
    descriptors = [os.open(path, os.O_WRONLY | os.O_CREAT, 0o644) for _ in range(3)]
    starts = list(range(0, len(CONTENT), MIB))
    for index, start in enumerate(starts[::2] + starts[1::2][::-1]):
        descriptor = descriptors[index % 3]
        os.lseek(descriptor, start, os.SEEK_SET)
        os.write(descriptor, CONTENT[start : start + MIB])
    for descriptor in descriptors:
        os.close(descriptor)


def run(root, trace):
    blobs = os.path.join(root, "hub", "models--org--xet", "blobs")
    os.makedirs(blobs)
    for name, writer in [("sequence", write_in_sequence), ("order", write_out_of_order)]:
        incomplete = os.path.join(blobs, f"{ETAG}.{name}.incomplete")
        with open(incomplete, "wb") as held:
            writer(incomplete)
            trace.fact(f"size seen by the idle descriptor {name}", os.fstat(held.fileno()).st_size)
            final = os.path.join(blobs, ETAG if name == "sequence" else f"{name}-{ETAG}")
            # The library renames while Python's descriptor is still open.
            os.rename(incomplete, final)
            trace.content(f"before the idle descriptor is closed {name}", final)
        trace.content(f"after it was closed {name}", final)
        trace.fact(f"whole {name}", os.path.getsize(final) == len(CONTENT))
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("hub", os.path.join(root, "hub"))
