"""common/base_cache: many small files rewritten in place, without rename and without fsync."""

import glob
import json
import os

FILES = 200


def key(index):
    return f"bafy_{index:03}_" + "k" * 50


def value(index, generation):
    return {"generation": generation, "index": index, "payload": f"{generation}-" * 4000}


def write(directory, index, generation):
    with open(os.path.join(directory, f"{key(index)}.json"), "w") as file:
        json.dump(value(index, generation), file, indent=2)


def complete(directory, index, generations):
    with open(os.path.join(directory, f"{key(index)}.json")) as file:
        return json.load(file) in [value(index, generation) for generation in generations]


def run(root, trace):
    directory = os.path.join(root, "cache", "base")
    os.makedirs(directory)
    probe = os.path.join(directory, ".write_test")
    with open(probe, "w") as file:
        file.write("test")
    os.unlink(probe)
    for index in range(FILES):
        write(directory, index, 1)
    found = glob.glob(os.path.join(directory, "*.json"))
    trace.fact("found", len(found))
    for index in range(FILES // 2):
        write(directory, index, 2)
    trace.pause("kill-daemon")
    for index in range(FILES // 2, FILES):
        write(directory, index, 2)
    trace.fact("complete", [i for i in range(FILES) if not complete(directory, i, [2])])
    trace.pause("commit")
    for index in range(FILES):
        write(directory, index, 3)
    expired = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            if int(entry.name.split("_")[1]) % 4 == 0:
                os.unlink(entry.path)
                expired += 1
    trace.fact("unlinked while iterating", expired)
    trace.call("unlink twice", os.unlink, os.path.join(directory, f"{key(0)}.json"))
    check(root, trace, second=False)


def check(root, trace, second):
    directory = os.path.join(root, "cache", "base")
    trace.fact("names", sorted(os.listdir(directory)))
    trace.fact("not complete", [i for i in range(FILES) if i % 4 and not complete(directory, i, [3])])
    trace.tree("cache", os.path.join(root, "cache"))
