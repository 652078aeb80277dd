"""model_manager: temporary file, fsync, os.replace; and the daemon dies right after it."""

import json
import os
import tempfile
import threading


def document(generation):
    return {"models": {f"m{i}": {"generation": generation, "text": "x" * 90} for i in range(100)}}


def save(path, generation):
    directory, name = os.path.split(path)
    with tempfile.NamedTemporaryFile(
        "w", dir=directory, prefix=f".{name}.", suffix=".tmp", delete=False
    ) as file:
        json.dump(document(generation), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def run(root, trace):
    path = os.path.join(root, "model_metadata.json")
    save(path, 0)
    done, odd = threading.Event(), []
    written = [0]

    def read_all_the_time():
        while not done.is_set():
            low = written[0]
            with open(path) as file:
                text = file.read()
            high = written[0] + 1
            try:
                generation = json.loads(text)["models"]["m0"]["generation"]
                if json.loads(text) != document(generation) or not low <= generation <= high:
                    odd.append([low, generation, high])
            except ValueError as error:
                odd.append([str(error), len(text)])

    reader = threading.Thread(target=read_all_the_time)
    reader.start()
    for generation in range(1, 60):
        save(path, generation)
        written[0] = generation
        if generation == 30:
            trace.pause("kill-daemon")
    save(path, 60)
    trace.pause("kill-daemon")
    done.set()
    reader.join()
    trace.fact("neither old nor new", odd)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    trace.call("O_EXCL collision", os.open, path, flags, 0o600)
    trace.fact("no temporary file left", os.listdir(root))
    check(root, trace, second=False)


def check(root, trace, second):
    path = os.path.join(root, "model_metadata.json")
    with open(path) as file:
        trace.fact("the newest", json.load(file) == document(60))
    trace.tree("root", root)
