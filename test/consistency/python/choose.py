"""Which operation comes next: drawn from a seed, written down whole, so that it can be repeated."""

import random

from model import Model, Node

FILES = [f"{number}.bin" for number in range(6)] + ["a", "b", "model.bin", "config.json"]
DIRECTORIES = ["d0", "d1", "sub"]
SIZES = [0, 1, 100, 4096, 5000, 70_000, 300_000]
REMOTE_SIZES = [0, 1, 5000, 300_000, 1_048_575, 1_048_577, 2_200_000]
SLOTS = 4

WEIGHTS = {
    "create": 4, "put": 4, "write": 6, "append": 4, "truncate": 4, "read": 8, "read_mapped": 3,
    "write_mapped": 4, "copy_range": 3, "allocate": 1, "punch": 2, "sync": 2, "look": 5,
    "list": 3, "rename": 6, "rename_directory": 2, "link": 3, "symlink": 1, "unlink": 4,
    "mkdir": 4, "rmdir": 2, "chmod": 3, "utimes": 3, "hold": 5, "drop": 2, "held_read": 6,
    "held_write": 4, "held_truncate": 1, "held_look": 3, "held_sync": 1,
}  # fmt: skip


def first_tree(seed: int) -> list[list]:
    """Operations that make what is there before the rounds begin, and is fetched then."""
    rng = random.Random(seed)
    made: list[list] = []
    for directory in ["", "d0/", "d0/sub/", "d1/"]:
        if directory:
            made.append(["mkdir", directory[:-1], 0o755])
        for name in FILES[:5]:
            path, size = directory + name, rng.choice(REMOTE_SIZES)
            made.append(["create", path, rng.choice([0o600, 0o644, 0o755]), rng.getrandbits(30), size])
            made.append(["utimes", path, rng.randrange(10**18)])
        made.append(["symlink", rng.choice(FILES), directory + "model.bin"])
    return made


class Chooser:
    """Draws operations; without a model (a shared directory) nobody knows what is there."""

    def __init__(self, seed: int, portable: bool, model: Model | None):
        self.rng = random.Random(seed)
        self.portable = portable
        self.model = model
        self.weights = {name: weight for name, weight in WEIGHTS.items() if self.offered(name)}

    def offered(self, name: str) -> bool:
        """What docs/semantics.md says that libfuse 2 cannot keep is left out on that engine."""
        if not self.portable:
            return True
        if name in ("allocate", "punch"):
            return False
        # Without a model nobody can tell which files have two names, or are open without one.
        return self.model is not None or not (name == "link" or "hold" in name or "held" in name)

    def next(self) -> list:
        while True:
            name = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
            operation = getattr(self, "draw_" + name, lambda: [name, self.path()])()
            if self.model is None or not self.portable or self.kept(operation, self.model):
                return operation

    def kept(self, operation: list, model: Model) -> bool:
        """Whether the portable engine can answer as a local disk, by what is there now."""
        name, held = operation[0], {id(node) for node, _ in model.held.values()}
        nameless = any(node.links == 0 for node, _ in model.held.values())
        if name == "link":
            return id(self.target(model, operation[1], False)) not in held
        if name == "hold":
            found = self.target(model, operation[2], True)
            return found is None or found.links == 1
        if name in ("write_mapped", "read_mapped"):
            found = self.target(model, operation[1], True)
            return found is None or found.links == 1
        return not (nameless and name in ("rmdir", "rename"))

    @staticmethod
    def target(model: Model, path: str, follow: bool) -> Node | None:
        try:
            return model.find(path, follow)[2]
        except Exception as error:
            if hasattr(error, "code"):
                return None
            raise

    # What operations are made of.

    def directory(self) -> str:
        return "/".join(self.rng.choices(DIRECTORIES, k=self.rng.choice([1, 1, 2]))) or "."

    def path(self) -> str:
        where = self.rng.choice(["", "", "d0/", "d0/sub/", "d1/", "sub/", "d1/d0/"])
        # Now and then a directory where a file belongs, or the other way round.
        return where + self.rng.choice(FILES + DIRECTORIES[:1])

    def size(self) -> int:
        return self.rng.choice(SIZES)

    def offset(self) -> int:
        return self.rng.choice([0, 0, 1, 4095, 4096, 50_000, self.rng.randrange(1_200_000)])

    def seed(self) -> int:
        return self.rng.getrandbits(30)

    def slot(self) -> int:
        return self.rng.randrange(SLOTS)

    # The operations whose arguments are more than a path.

    def draw_create(self) -> list:
        mode = self.rng.choice([0o600, 0o644, 0o755, 0o444])
        return ["create", self.path(), mode, self.seed(), self.size()]

    def draw_put(self) -> list:
        return ["put", self.path(), self.seed(), self.size()]

    def draw_write(self) -> list:
        return ["write", self.path(), self.offset(), self.seed(), self.size()]

    def draw_append(self) -> list:
        return ["append", self.path(), self.seed(), self.size()]

    def draw_truncate(self) -> list:
        return ["truncate", self.path(), self.offset()]

    def draw_read(self) -> list:
        return ["read", self.path(), self.offset(), self.rng.choice([*SIZES, 4_000_000])]

    def draw_write_mapped(self) -> list:
        offset = self.rng.choice([0, 1, 4090, 60_000])
        return ["write_mapped", self.path(), offset, self.seed(), self.rng.choice([1, 10, 5000])]

    def draw_copy_range(self) -> list:
        return ["copy_range", self.path(), self.path(), self.offset(), self.offset(), self.size()]

    def draw_allocate(self) -> list:
        return ["allocate", self.path(), self.offset(), self.size() + 1]

    def draw_punch(self) -> list:
        return ["punch", self.path(), self.offset(), self.size() + 1]

    def draw_list(self) -> list:
        return ["list", self.rng.choice([".", self.directory()])]

    def draw_rename(self) -> list:
        return ["rename", self.path(), self.path()]

    def draw_rename_directory(self) -> list:
        return ["rename", self.directory(), self.directory()]

    def draw_link(self) -> list:
        return ["link", self.path(), self.path()]

    def draw_symlink(self) -> list:
        # To a neighbour: upwards could, after a rename, lead out of the directory.
        return ["symlink", self.rng.choice(FILES), self.path()]

    def draw_mkdir(self) -> list:
        return ["mkdir", self.directory(), self.rng.choice([0o755, 0o755, 0o700])]

    def draw_rmdir(self) -> list:
        return ["rmdir", self.directory()]

    def draw_chmod(self) -> list:
        path = self.rng.choice([self.path(), self.directory()])
        return ["chmod", path, self.rng.choice([0o600, 0o644, 0o755, 0o444, 0o700])]

    def draw_utimes(self) -> list:
        return ["utimes", self.path(), self.rng.randrange(10**18)]

    def draw_hold(self) -> list:
        return ["hold", self.slot(), self.path(), self.rng.choice(["read", "write", "append"])]

    def draw_drop(self) -> list:
        return ["drop", self.slot()]

    def draw_held_read(self) -> list:
        return ["held_read", self.slot(), self.offset(), self.rng.choice([*SIZES, 4_000_000])]

    def draw_held_write(self) -> list:
        return ["held_write", self.slot(), self.offset(), self.seed(), self.size()]

    def draw_held_truncate(self) -> list:
        return ["held_truncate", self.slot(), self.offset()]

    def draw_held_look(self) -> list:
        return ["held_look", self.slot()]

    def draw_held_sync(self) -> list:
        return ["held_sync", self.slot()]
