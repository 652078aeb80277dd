"""The shortest list of operations that still goes another way than the model."""

import os
import shutil
import time

from disk import Disk, tree_of
from model import Model, described

# Each try makes a directory and repeats the list in it; a long list has many parts to leave out.
SECONDS = 40
LAST = 60


def minimised(operations: list[list], directory: str) -> dict:
    """Repeated in directories beside the first; if it does not show there, its last operations."""
    end = time.monotonic() + SECONDS
    number = 0

    def differs(part: list[list]) -> bool:
        nonlocal number
        number += 1
        return _differs(part, f"{directory}-{number}")

    if not differs(operations):
        return {"repeated": False, "last": operations[-LAST:]}
    length = max(1, len(operations) // 2)
    while time.monotonic() < end:
        at, shorter = 0, False
        while at < len(operations) and time.monotonic() < end:
            part = operations[:at] + operations[at + length :]
            if differs(part):
                operations, shorter = part, True
            else:
                at += length
        if length == 1 and not shorter:
            break
        length = max(1, length // 2)
    return {"repeated": True, "least": operations}


def _differs(operations: list[list], directory: str) -> bool:
    os.mkdir(directory)
    model, disk = Model(), Disk(directory)
    try:
        if any(model.apply(operation) != disk.apply(operation) for operation in operations):
            return True
        disk.drop_all()
        expected = {path: described(node) for path, node in _names(model.root)}
        return expected != {path: facts for path, (facts, _) in tree_of(directory).items()}
    finally:
        disk.drop_all()
        shutil.rmtree(directory)


def _names(node, above: str = ""):
    for name, below in node.entries.items():
        yield above + name, below
        yield from _names(below, f"{above}{name}/")
