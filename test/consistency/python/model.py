"""What a file system must answer: the reference, in memory, for one process in its own directory."""

import errno
import hashlib
import random
import stat

MAX_LINKS_FOLLOWED = 40


def content(seed: int, size: int) -> bytes:
    """Bytes that follow from a number, so that an operation is written down in a line."""
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


class Refused(Exception):
    """The call fails with this errno."""

    def __init__(self, code: int):
        super().__init__(errno.errorcode[code])
        self.code = code


class Node:
    """A file, a directory or a symbolic link, whatever names it has."""

    def __init__(self, kind: str, mode: int, target: str = ""):
        self.kind = kind
        self.mode = mode
        self.target = target
        self.data = bytearray()
        self.entries: dict[str, Node] = {}
        self.links = 1
        # Known from utimes, or from the last look at the tree; None after a change since then.
        self.mtime: int | None = None

    def resize(self, size: int) -> None:
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))
        self.mtime = None

    def put(self, offset: int, data: bytes) -> None:
        if not data:
            return
        if len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self.mtime = None


class Model:
    """Answers operations as `Disk` does; the names of the methods are the operations."""

    def __init__(self) -> None:
        self.root = Node("directory", 0o755)
        self.held: dict[int, tuple[Node, bool]] = {}

    def apply(self, operation: list) -> list:
        name, *arguments = operation
        try:
            return ["ok", getattr(self, name)(*arguments)]
        except Refused as refused:
            return [errno.errorcode[refused.code]]

    # Paths.

    def find(self, path: str, follow: bool = True) -> tuple[Node, str, Node | None]:
        """The directory, the name in it, and what has that name."""
        parts, here, hops = path.split("/"), self.root, 0
        while True:
            name = parts.pop(0)
            if here.kind != "directory":
                raise Refused(errno.ENOTDIR)
            found = here if name == "." else here.entries.get(name)
            if found is None:
                if parts:
                    raise Refused(errno.ENOENT)
                return here, name, None
            if found.kind == "link" and (follow or parts):
                hops += 1
                if hops > MAX_LINKS_FOLLOWED:
                    raise Refused(errno.ELOOP)
                parts = found.target.split("/") + parts
            elif not parts:
                return here, name, found
            else:
                here = found

    def there(self, path: str, follow: bool = True) -> Node:
        found = self.find(path, follow)[2]
        if found is None:
            raise Refused(errno.ENOENT)
        return found

    def file(self, path: str) -> Node:
        found = self.there(path)
        if found.kind == "directory":
            raise Refused(errno.EISDIR)
        return found

    # Files by their names.

    def create(self, path: str, mode: int, seed: int, size: int) -> int:
        parent, name, found = self.find(path, follow=False)
        if found is not None:
            raise Refused(errno.EEXIST)
        parent.entries[name] = made = Node("file", mode)
        made.put(0, content(seed, size))
        return size

    def put(self, path: str, seed: int, size: int) -> int:
        parent, name, found = self.find(path)
        if found is None:
            parent.entries[name] = found = Node("file", 0o644)
        elif found.kind == "directory":
            raise Refused(errno.EISDIR)
        found.resize(0)
        found.put(0, content(seed, size))
        return size

    def write(self, path: str, offset: int, seed: int, size: int) -> int:
        self.file(path).put(offset, content(seed, size))
        return size

    def append(self, path: str, seed: int, size: int) -> int:
        found = self.file(path)
        found.put(len(found.data), content(seed, size))
        return len(found.data)

    def truncate(self, path: str, size: int) -> int:
        self.file(path).resize(size)
        return size

    def read(self, path: str, offset: int, size: int) -> list:
        data = self.file(path).data[offset : offset + size]
        return [len(data), digest(data)]

    def read_mapped(self, path: str) -> list:
        data = self.file(path).data
        return [len(data), digest(data)]

    def write_mapped(self, path: str, offset: int, seed: int, size: int) -> str:
        found = self.file(path)
        if offset + size > len(found.data):
            return "beyond the end"
        found.put(offset, content(seed, size))
        return digest(found.data)

    def copy_range(self, path: str, to: str, offset: int, at: int, size: int) -> int | str:
        source, target = self.file(path), self.file(to)
        if source is target:
            return "the same file"
        data = bytes(source.data[offset : offset + size])
        target.put(at, data)
        return len(data)

    def allocate(self, path: str, offset: int, size: int) -> int:
        found = self.file(path)
        if len(found.data) < offset + size:
            found.resize(offset + size)
        found.mtime = None
        return len(found.data)

    def punch(self, path: str, offset: int, size: int) -> int:
        found = self.file(path)
        end = min(offset + size, len(found.data))
        if end > offset:
            found.put(offset, bytes(end - offset))
        found.mtime = None
        return len(found.data)

    def sync(self, path: str) -> int:
        return len(self.file(path).data)

    # Names.

    def look(self, path: str) -> list:
        found = self.there(path, follow=False)
        if found.kind == "file":
            return ["file", found.mode, len(found.data), found.links]
        return [found.kind, found.target if found.kind == "link" else found.mode]

    def list(self, path: str) -> list[str]:
        found = self.there(path)
        if found.kind != "directory":
            raise Refused(errno.ENOTDIR)
        return sorted(found.entries)

    def rename(self, path: str, to: str) -> None:
        parent, name, found = self.find(path, follow=False)
        new_parent, new_name, target = self.find(to, follow=False)
        if found is None:
            raise Refused(errno.ENOENT)
        if found.kind == "directory" and self.holds(found, new_parent):
            raise Refused(errno.EINVAL)
        if target is not None and target.kind == "directory" and self.holds(target, parent):
            raise Refused(errno.ENOTEMPTY)
        if target is found:
            return
        if target is not None:
            self.replaceable(found, target)
            target.links -= 1
        del parent.entries[name]
        new_parent.entries[new_name] = found

    @staticmethod
    def replaceable(found: Node, target: Node) -> None:
        if found.kind == "directory" and target.kind != "directory":
            raise Refused(errno.ENOTDIR)
        if found.kind != "directory" and target.kind == "directory":
            raise Refused(errno.EISDIR)
        if target.entries:
            raise Refused(errno.ENOTEMPTY)

    def holds(self, above: Node, below: Node) -> bool:
        return above is below or any(self.holds(one, below) for one in above.entries.values())

    def link(self, path: str, to: str) -> int:
        found = self.there(path, follow=False)
        parent, name, target = self.find(to, follow=False)
        if target is not None:
            raise Refused(errno.EEXIST)
        if found.kind == "directory":
            raise Refused(errno.EPERM)
        parent.entries[name] = found
        found.links += 1
        return found.links

    def symlink(self, target: str, path: str) -> None:
        parent, name, found = self.find(path, follow=False)
        if found is not None:
            raise Refused(errno.EEXIST)
        parent.entries[name] = Node("link", 0o777, target)

    def unlink(self, path: str) -> None:
        parent, name, found = self.find(path, follow=False)
        if found is None:
            raise Refused(errno.ENOENT)
        if found.kind == "directory":
            raise Refused(errno.EISDIR)
        del parent.entries[name]
        found.links -= 1

    def mkdir(self, path: str, mode: int) -> None:
        parent, name, found = self.find(path, follow=False)
        if found is not None:
            raise Refused(errno.EEXIST)
        parent.entries[name] = Node("directory", mode)

    def rmdir(self, path: str) -> None:
        parent, name, found = self.find(path, follow=False)
        if found is None:
            raise Refused(errno.ENOENT)
        if found.kind != "directory":
            raise Refused(errno.ENOTDIR)
        if found.entries:
            raise Refused(errno.ENOTEMPTY)
        del parent.entries[name]

    def chmod(self, path: str, mode: int) -> None:
        self.there(path).mode = mode

    def utimes(self, path: str, time: int) -> None:
        self.there(path).mtime = time

    # Files that stay open, by the number of a slot.

    def hold(self, slot: int, path: str, way: str) -> None:
        self.held[slot] = (self.file(path), way == "append")

    def drop(self, slot: int) -> None:
        self.of(slot)
        del self.held[slot]

    def of(self, slot: int) -> Node:
        if slot not in self.held:
            raise Refused(errno.EBADF)
        return self.held[slot][0]

    def held_read(self, slot: int, offset: int, size: int) -> list:
        data = self.of(slot).data[offset : offset + size]
        return [len(data), digest(data)]

    def held_write(self, slot: int, offset: int, seed: int, size: int) -> int:
        found = self.of(slot)
        # Linux appends whatever offset pwrite names.
        found.put(len(found.data) if self.held[slot][1] else offset, content(seed, size))
        return size

    def held_truncate(self, slot: int, size: int) -> int:
        self.of(slot).resize(size)
        return size

    def held_look(self, slot: int) -> list:
        found = self.of(slot)
        return [found.mode, len(found.data), found.links]

    def held_sync(self, slot: int) -> int:
        return len(self.of(slot).data)


def described(node: Node) -> list:
    """What a look at the tree must show of it, without its time."""
    if node.kind == "file":
        return ["file", node.mode, len(node.data), node.links, digest(node.data)]
    return [node.kind, node.target if node.kind == "link" else node.mode]


def seen_kind(mode: int) -> str:
    names = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    return names.get(stat.S_IFMT(mode), "other")
