"""Repeats what several processes did in one directory on a plain one: compare.py SEED JOURNAL MOUNT PLAIN

Prints the differences of answers and of the two trees as JSON; the plain directory, made new, is the oracle.
"""

import json
import os
import sys

from choose import first_tree
from disk import Disk, tree_of

SHARED_SEED = 90
KEPT = 20


def main() -> None:
    os.umask(0o022)
    seed, journal, mount, plain = int(sys.argv[1]), *sys.argv[2:5]
    os.mkdir(plain)
    first = Disk(plain)
    for operation in first_tree(seed + SHARED_SEED):
        first.apply(operation)
    disks: dict[int, Disk] = {}
    before: list[list] = []
    with open(journal, encoding="utf-8") as lines:
        for line in lines:
            worker, operation, got = json.loads(line)
            expected = disks.setdefault(worker, Disk(plain)).apply(operation)
            before.append([worker, operation, got])
            if expected != got:
                report(len(before), [f"{operation}: {expected} but {got}"], before)
                return
    trees = [{path: facts for path, (facts, _) in tree_of(root).items()} for root in (plain, mount)]
    paths = sorted({*trees[0], *trees[1]})
    different = [p for p in paths if trees[0].get(p) != trees[1].get(p)]
    report(
        len(before),
        [f"{path}: {trees[0].get(path)} but {trees[1].get(path)}" for path in different],
        before,
    )


def report(count: int, differences: list[str], before: list[list]) -> None:
    last = before[-KEPT:] if differences else []
    print(json.dumps({"operations": count, "differences": differences, "last": last}))


main()
