"""Does random things to a tree: random_changes.py SEED COUNT DIRECTORY.

Prints one line a step: what was done and what came of it. Which steps are taken follows from the
seed and from what the steps before found, so two trees that behave alike print the same lines.
"""

import errno
import hashlib
import mmap
import os
import random
import shutil
import stat
import sys

MIB = 1024 * 1024
NAMES = ["a", "b", "c", "model.bin", "config.json"]


def sha(data):
    return hashlib.sha256(data).hexdigest()[:12]


class Tree:
    """The tree below the working directory, with a few descriptors that stay open."""

    def __init__(self, rng):
        self.rng = rng
        self.held = []

    # Which names there are: a walk would list every directory, so these are kept from the start.

    def directory(self):
        parts = self.rng.choices(["d0", "d1", "sub", "new"], k=self.rng.randrange(3))
        return os.path.join(".", *parts)

    def path(self):
        names = [f"{n}.bin" for n in range(8)] + NAMES
        return os.path.join(self.directory(), self.rng.choice(names))

    def offset(self, path):
        size = os.stat(path).st_size
        return self.rng.choice([0, size, size // 2, self.rng.randrange(size + 1), size + 4321])

    def bytes(self):
        return bytes([self.rng.randrange(256)]) * self.rng.choice([1, 10, 4096, 70_000])

    # Steps; each gives what it saw.

    def read(self):
        path = self.path()
        with open(path, "rb") as file:
            return path, sha(file.read())

    def read_range(self):
        path = self.path()
        with open(path, "rb") as file:
            file.seek(self.offset(path))
            return path, sha(file.read(self.rng.choice([1, 100, 5000, MIB + 1])))

    def stat(self):
        path = self.rng.choice([self.path(), self.directory()])
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            return path, stat.filemode(found.st_mode)
        return path, stat.filemode(found.st_mode), found.st_size, found.st_nlink

    def list(self):
        path = self.directory()
        return path, sorted(os.listdir(path))

    def write(self):
        path = self.path()
        offset, data = self.offset(path), self.bytes()
        with open(path, "rb+", buffering=0) as file:
            file.seek(offset)
            return path, offset, file.write(data)

    def append(self):
        path = self.path()
        with open(path, "ab") as file:
            file.write(self.bytes())
        return path, os.stat(path).st_size

    def replace(self):
        path = self.path()
        with open(path, "wb") as file:
            file.write(self.bytes())
        return (path,)

    def create(self):
        path = self.path()
        with open(path, "xb") as file:
            file.write(self.bytes())
        return (path,)

    def truncate(self):
        path = self.path()
        size = self.offset(path)
        os.truncate(path, size)
        return path, size

    def map_and_write(self):
        path = self.path()
        with open(path, "rb+") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return path, "empty"
            mapping = mmap.mmap(file.fileno(), 0)
        offset = self.rng.randrange(len(mapping))
        mapping[offset] = self.rng.randrange(256)
        result = sha(mapping[max(0, offset - 1000) : offset + 1000])
        mapping.close()
        return path, offset, result

    def rename(self):
        path, to = self.path(), self.path()
        os.rename(path, to)
        return path, to

    def rename_directory(self):
        path, to = self.directory(), self.directory()
        os.rename(path, to)
        return path, to

    def link(self):
        path, to = self.path(), self.path()
        os.link(path, to, follow_symlinks=False)
        return path, to, os.lstat(to).st_nlink

    def symlink(self):
        path = self.path()
        # To a neighbour: upwards could, after a rename, lead out of the tree.
        os.symlink(self.rng.choice(NAMES), path)
        return path, os.readlink(path)

    def unlink(self):
        path = self.path()
        os.unlink(path)
        return (path,)

    def make_directory(self):
        path = self.directory()
        os.mkdir(path)
        return (path,)

    def remove_directory(self):
        path = self.directory()
        os.rmdir(path)
        return (path,)

    def remove_tree(self):
        path = self.directory()
        if path == "." or self.rng.random() < 0.7:
            return path, "spared"
        shutil.rmtree(path)
        return (path,)

    def chmod(self):
        path, mode = self.path(), self.rng.choice([0o600, 0o644, 0o755, 0o400])
        os.chmod(path, mode)
        return path, oct(mode)

    def utime(self):
        path, time = self.path(), self.rng.randrange(10**18)
        os.utime(path, ns=(time, time), follow_symlinks=False)
        return path, os.lstat(path).st_mtime_ns == time

    def copy(self):
        path, to = self.path(), self.path()
        shutil.copyfile(path, to, follow_symlinks=False)
        return path, to

    def hold(self):
        path = self.path()
        flags = self.rng.choice([os.O_RDONLY, os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND])
        if len(self.held) >= 6:
            os.close(self.held.pop(0))
        self.held.append(os.open(path, flags))
        return path, flags

    def read_held(self):
        if not self.held:
            return ("none",)
        fd = self.rng.choice(self.held)
        size = os.fstat(fd).st_size
        data = os.pread(fd, self.rng.choice([10, MIB, 8 * MIB]), self.rng.randrange(size + 1))
        return size, sha(data), os.fstat(fd).st_nlink

    def write_held(self):
        if not self.held:
            return ("none",)
        fd = self.rng.choice(self.held)
        offset, data = self.rng.randrange(os.fstat(fd).st_size + 1), self.bytes()
        return offset, os.pwrite(fd, data, offset), os.fstat(fd).st_size

    def truncate_held(self):
        if not self.held:
            return ("none",)
        fd = self.rng.choice(self.held)
        size = self.rng.randrange(os.fstat(fd).st_size + 1)
        os.ftruncate(fd, size)
        return size, sha(os.pread(fd, MIB, 0))

    def let_go(self):
        if self.held:
            os.close(self.held.pop(self.rng.randrange(len(self.held))))
        return (len(self.held),)


STEPS = {
    Tree.read: 6, Tree.read_range: 8, Tree.stat: 6, Tree.list: 3, Tree.write: 4, Tree.append: 3,
    Tree.replace: 2, Tree.create: 3, Tree.truncate: 3, Tree.map_and_write: 3, Tree.rename: 5,
    Tree.rename_directory: 2, Tree.link: 3, Tree.symlink: 1, Tree.unlink: 3,
    Tree.make_directory: 2, Tree.remove_directory: 1, Tree.remove_tree: 1, Tree.chmod: 2,
    Tree.utime: 2, Tree.copy: 2, Tree.hold: 4, Tree.read_held: 5, Tree.write_held: 2,
    Tree.truncate_held: 1, Tree.let_go: 2,
}  # fmt: skip


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    os.chdir(sys.argv[3])
    tree = Tree(random.Random(seed))
    for number in range(count):
        step = tree.rng.choices(list(STEPS), list(STEPS.values()))[0]
        # A step that fails half-way has drawn less: the next one starts from a known state.
        tree.rng = random.Random(seed * 1_000_003 + number)
        try:
            result = step(tree)
        except shutil.SameFileError:
            result = ("same file",)
        except OSError as error:
            result = (errno.errorcode[error.errno], error.filename, error.filename2)
        print(number, step.__name__, *result, flush=True)


main()
