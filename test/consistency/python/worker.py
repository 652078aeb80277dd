"""One of several processes that change a tree at once.

    worker.py SEED NUMBER DIRECTORY JOURNAL portable|whole [replay]
    worker.py fill SEED NUMBER DIRECTORY

In its own directory, `wNUMBER`, each answer must be the model's; in `shared` all workers change the
same names, one operation at a time, and write down the order, which `compare.py` repeats on a
plain directory. Commands come on stdin (`round COUNT`, `close`, `check`, `quit`), answers go to
stdout as JSON: {"done": N}, {"closed": N}, {"checked": N} or {"difference": ...}, which is the end.
"""

import fcntl
import json
import os
import sys

from choose import Chooser, first_tree
from disk import Disk, tree_of
from minimise import minimised
from model import Model, Node, described

SHARED_PART = 0.35


def say(**facts) -> None:
    print(json.dumps(facts), flush=True)


class Difference(Exception):
    """The mount answered otherwise than the model."""


class Shared:
    """The directory of all: an operation and the line that tells of it are one, by a lock."""

    def __init__(self, worker: int, directory: str, journal: str):
        self.worker = worker
        self.disk = Disk(directory)
        self.journal = os.open(journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

    def apply(self, operation: list) -> None:
        fcntl.flock(self.journal, fcntl.LOCK_EX)
        try:
            line = [self.worker, operation, self.disk.apply(operation)]
            os.write(self.journal, json.dumps(line).encode() + b"\n")
        finally:
            fcntl.flock(self.journal, fcntl.LOCK_UN)


class Worker:
    def __init__(self, seed: int, number: int, directory: str, journal: str, portable: bool):
        self.directory = directory
        self.name = f"w{number}"
        self.model = Model()
        self.disk = Disk(os.path.join(directory, self.name))
        self.done: list[list] = first_tree(seed + number)
        for operation in self.done:
            self.model.apply(operation)
        self.own = Chooser(seed * 1_000 + number, portable, self.model)
        self.shared = Shared(number, os.path.join(directory, "shared"), journal)
        self.others = Chooser(seed * 1_000 + 500 + number, portable, None)

    def round(self, count: int) -> None:
        for number in range(count):
            if self.own.rng.random() < SHARED_PART:
                self.shared.apply(self.others.next())
            else:
                self.step(self.own.next())
            if number % 50 == 49:
                say(at=number)

    def step(self, operation: list) -> None:
        self.done.append(operation)
        expected = self.model.apply(operation)
        got = self.disk.apply(operation)
        if got != expected:
            raise Difference(f"{operation}: {expected} but {got}")

    def close(self) -> None:
        for slot in list(self.model.held):
            self.step(["drop", slot])
        for slot in list(self.shared.disk.held):
            self.shared.apply(["drop", slot])

    def check(self) -> int:
        """The whole own directory against the model; what a file's time is, is known from then on."""
        expected = dict(names_of(self.model.root))
        got = tree_of(self.disk.root)
        for path in sorted({*expected, *got}):
            if path not in got or path not in expected:
                raise Difference(f"{path}: only {'expected' if path in expected else 'found'}")
            node, (facts, mtime) = expected[path], got[path]
            if described(node) != facts:
                raise Difference(f"{path}: {described(node)} but {facts}")
            if node.kind != "file":
                continue
            if node.mtime not in (None, mtime):
                raise Difference(f"{path}: mtime {node.mtime} but {mtime}")
            node.mtime = mtime
        return len(expected)


def names_of(node: Node, above: str = ""):
    for name, below in node.entries.items():
        yield above + name, below
        yield from names_of(below, f"{above}{name}/")


def serve(worker: Worker) -> None:
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "round":
            worker.round(int(arguments[0]))
            say(done=len(worker.done))
        elif command == "close":
            worker.close()
            say(closed=0)
        elif command == "check":
            say(checked=worker.check())
        else:
            return


def fill(seed: int, number: int, directory: str) -> None:
    os.mkdir(directory)
    disk = Disk(directory)
    for operation in first_tree(seed + number):
        answer = disk.apply(operation)
        if answer[0] != "ok":
            raise SystemExit(f"{operation}: {answer}")


def main() -> None:
    os.umask(0o022)
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
        return
    seed, number, directory, journal, engine = sys.argv[1:6]
    worker = Worker(int(seed), int(number), directory, journal, engine == "portable")
    try:
        serve(worker)
    except Difference as difference:
        say(
            difference=str(difference),
            worker=worker.name,
            seed=int(seed),
            operations=minimised(worker.done, os.path.join(directory, f"{worker.name}-again")),
        )
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
