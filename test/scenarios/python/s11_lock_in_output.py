"""hf_whisper converts inside its lock: weights in one write, then the .xml that says they are there.

Roots are made all the while. The driver reads every one of them: no lock, and no .xml without its
whole .bin.
"""

import hashlib
import json
import os
import threading

from plock import PLock
from trace import blob

MODELS = 24
#: Upstream's encoder is one write of 200 MB.
LARGE = 200_000_000 if os.environ.get("MODELCACHE_TEST_LONG") == "1" else 40_000_000
SMALL = 1_500_000


def weights(index):
    return blob(1100 + index, LARGE if index == 0 else SMALL + index)


def description(index):
    return json.dumps({"layers": index, "pad": "x" * 3000}).encode()


def write_stream(path, pieces):
    """libstdc++'s ofstream: O_TRUNC, one vectored write of everything."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    while pieces:
        done = os.writev(fd, pieces)
        while pieces and done >= len(pieces[0]):
            done -= len(pieces.pop(0))
        if pieces:
            pieces[0] = memoryview(pieces[0])[done:]
    os.close(fd)


def convert(models):
    """The child: one model after the other, each in its folder and under its lock."""
    for index in range(MODELS):
        target = os.path.join(models, f"org--whisper-{index}")
        os.makedirs(target, exist_ok=True)
        with PLock(os.path.join(target, ".whisper_conversion.lock")):
            content = weights(index)
            half = len(content) // 2
            write_stream(os.path.join(target, "model.bin"), [content[:half], content[half:]])
            write_stream(os.path.join(target, "model.xml"), [description(index)])


def run(root, trace):
    models = os.path.join(root, ".cache", "openvino_models")
    os.makedirs(models)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            convert(models)
            code = 0
        finally:
            os._exit(code)
    ended = threading.Event()
    codes = []

    def wait():
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        ended.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not ended.is_set():
        trace.pause("commit")
    waiter.join()
    trace.fact("the converter ended", codes)
    trace.pause("commit")
    # What the driver compares the roots with.
    trace.fact("bin", [hashlib.sha256(weights(i)).hexdigest() for i in range(MODELS)])
    trace.fact("xml", [hashlib.sha256(description(i)).hexdigest() for i in range(MODELS)])
    check(root, trace, second=False)


def check(root, trace, second):
    models = os.path.join(root, ".cache", "openvino_models")
    trace.fact("models", sorted(os.listdir(models)))
    trace.tree("models", models)
