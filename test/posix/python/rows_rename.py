"""The rename matrix."""

import itertools
import os
import shutil
import subprocess
from typing import Callable

from children import Child, at_once, elsewhere
from files import MIB, content, digest, listing, opened, read, read_fd, write
from registry import NO_LINKS, behaviour, from_elsewhere
from system import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, renameat2
from trace import Trace, outcome

SECTION = "Rename"

KINDS: dict[str, Callable[[str], object]] = {
    "missing": lambda path: None,
    "file": lambda path: write(path, b"file " + path.encode()),
    "empty": os.mkdir,
    "full": lambda path: (os.mkdir(path), write(path + "/x", b"in " + path.encode())),
    "link": lambda path: os.symlink("leads nowhere", path),
    "dirlink": lambda path: os.symlink("some-dir", path),
    "fifo": os.mkfifo,
}


def make_pairs(place: str) -> None:
    for one, other in itertools.product(KINDS, KINDS):
        pair = f"{place}/{one}-{other}"
        os.mkdir(pair)
        os.mkdir(f"{pair}/some-dir")
        KINDS[one](f"{pair}/a")
        KINDS[other](f"{pair}/b")


def kinds_below(path: str) -> list:
    found = []
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if entry.is_symlink():
            found.append([entry.name, "->", os.readlink(entry.path)])
        elif entry.is_dir():
            found.append([entry.name, "/", kinds_below(entry.path)])
        elif entry.is_file():
            found.append([entry.name, "=", read(entry.path).decode()[-20:]])
        else:
            found.append([entry.name, "fifo"])
    return found


def matrix(place: str, trace: Trace, act: Callable[[str, str], None]) -> None:
    for one, other in itertools.product(KINDS, KINDS):
        pair = f"{place}/{one}-{other}"
        os.chdir(pair)
        trace.call(f"{one} to {other}", act, "a", "b")
        trace.note(f"{one} to {other}: left", kinds_below("."))


NO_FIFO = from_elsewhere("FIFOs are local-only")


@behaviour(SECTION, "every kind of name onto every other: the errno and what is left", prepare=make_pairs,
           not_on=NO_FIFO)
def rename_matrix(place: str, trace: Trace) -> None:
    matrix(place, trace, os.rename)


@behaviour(SECTION, "the same with RENAME_NOREPLACE", prepare=make_pairs, not_on=NO_FIFO)
def rename_noreplace_matrix(place: str, trace: Trace) -> None:
    matrix(place, trace, lambda one, other: renameat2(one, other, RENAME_NOREPLACE))


@behaviour(SECTION, "the same with RENAME_EXCHANGE", prepare=make_pairs, not_on=NO_FIFO)
def rename_exchange_matrix(place: str, trace: Trace) -> None:
    matrix(place, trace, lambda one, other: renameat2(one, other, RENAME_EXCHANGE))


@behaviour(SECTION, "into itself, onto an ancestor, with slashes and dots, other flags, case only")
def rename_errors(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.makedirs("a/b/c")
    write("f", b"x")
    os.symlink("a", "to-a")
    pairs = [("a", "a/b/c/d"), ("a", "a/d"), ("a/b/c", "a"), ("a/b", "a"), ("a", "."), (".", "x")]
    pairs += [("a/.", "x"), ("a/..", "x"), ("f/", "g"), ("f", "g/"), ("a", "f"), ("f", "a"), ("", "x")]
    pairs += [("f", ""), ("f", "f"), ("a", "a"), ("f/x", "g"), ("f", "no/g"), ("to-a", "to-a2")]
    pairs += [("a", "to-a2/"), ("f", "F"), ("F", "f"), ("a", "A"), ("A/", "a/")]
    for one, other in pairs:
        trace.call(f"{one!r} to {other!r}", os.rename, one, other)
    trace.note("left", listing("."))
    both = RENAME_NOREPLACE | RENAME_EXCHANGE
    trace.call("both flags", renameat2, "f", "g", both)
    trace.call("unknown flag", renameat2, "f", "g", 1 << 10)
    whiteout = outcome(renameat2, "f", "g", RENAME_WHITEOUT)
    trace.one_of("whiteout", whiteout, "EINVAL", *([] if trace.mounted else ["ok"]))


@behaviour(SECTION, "two names of one file: rename does nothing, both stay", not_on=NO_LINKS)
def rename_same_file(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("a", b"x")
    os.link("a", "b")
    trace.call("rename", os.rename, "a", "b")
    trace.note("left", [sorted(os.listdir()), os.stat("a"), os.stat("b")])
    trace.call("exchange", renameat2, "a", "b", RENAME_EXCHANGE)
    trace.call("noreplace", renameat2, "a", "b", RENAME_NOREPLACE)
    os.unlink("a")
    trace.note("one left", [read("b"), os.stat("b")])


@behaviour(SECTION, "a file that is open and being written can be renamed: before close, before fsync")
def rename_open_writer(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("blobs")
    fd = os.open("x.incomplete", os.O_RDWR | os.O_CREAT, 0o600)
    os.write(fd, content(3 * MIB))
    ino = os.fstat(fd).st_ino
    os.rename("x.incomplete", "blobs/x")
    trace.note("size by name", os.stat("blobs/x"))
    os.write(fd, b"and more")
    trace.note("and more", os.stat("blobs/x").st_size)
    trace.note("elsewhere", elsewhere(digest, "blobs/x"))
    trace.claim("same inode", os.stat("blobs/x").st_ino == ino == os.fstat(fd).st_ino)
    os.fchmod(fd, 0o644)
    os.close(fd)
    trace.note("closed", [os.stat("blobs/x"), digest("blobs/x")])
    trace.call("old name", os.stat, "x.incomplete")


def make_target(place: str) -> None:
    write(f"{place}/target", content(2 * MIB, "old"))


@behaviour(SECTION, "who has the overwritten file open keeps it, with a link count of 0", prepare=make_target)
def rename_over_open(place: str, trace: Trace) -> None:
    os.chdir(place)
    reader = os.open("target", os.O_RDONLY)
    first = os.read(reader, 1000)
    write("new", content(MIB, "new"))
    os.rename("new", "target")
    trace.note("old", [first, read_fd(reader)])
    trace.note("old links", os.fstat(reader))
    trace.note("new", [os.stat("target"), digest("target")])
    trace.claim("two inodes", os.fstat(reader).st_ino != os.stat("target").st_ino)
    trace.note("only one name", os.listdir())
    os.lseek(reader, 0, os.SEEK_SET)
    trace.note("old again", read_fd(reader))
    os.close(reader)
    trace.note("in the end", listing("."))


@behaviour(SECTION, "a looping reader of a replaced name sees one version or another: no ENOENT, no mixture")
def rename_loop(place: str, trace: Trace) -> None:
    os.chdir(place)
    sizes = [1, 4096, 100_000, 2 * MIB, 7, 65_536]
    write("name", b"\0" * 10)

    def reads(child: Child) -> list:
        wrong, seen = [], 0
        while not child.heard(0):
            answer = outcome(read, "name")
            if answer in ("ENOENT", "EIO", "ESTALE"):
                wrong.append(answer)
                continue
            data = read("name")
            if len(set(data)) != 1 or len(data) not in [*sizes, 10]:
                wrong.append([len(data), sorted(set(data))[:5]])
            seen += 1
        return [wrong, seen > 0]

    reader = Child(reads)
    for turn in range(300):
        size = sizes[turn % len(sizes)]
        write("name.tmp", bytes([turn % 256]) * size)
        os.replace("name.tmp", "name")
    reader.tell()
    trace.note("wrong, seen", reader.result())
    trace.note("left", os.listdir())


def make_blobs(place: str) -> None:
    os.makedirs(f"{place}/repo/blobs")
    for number in range(3):
        write(f"{place}/repo/blobs/{number}", content(100_000, str(number)))


@behaviour(SECTION, "a directory moves with its open files; inode numbers stay", prepare=make_blobs)
def rename_directory(place: str, trace: Trace) -> None:
    os.chdir(place)
    numbers = {name: os.stat(f"repo/blobs/{name}").st_ino for name in os.listdir("repo/blobs")}
    numbers["dir"] = os.stat("repo/blobs").st_ino
    reader = os.open("repo/blobs/0", os.O_RDONLY)
    writer = os.open("repo/blobs/1", os.O_WRONLY | os.O_APPEND)
    inside = os.open("repo/blobs", os.O_RDONLY | os.O_DIRECTORY)
    os.mkdir("empty")
    trace.call("onto an empty directory", os.rename, "repo", "empty")
    trace.note("read", read_fd(reader))
    os.write(writer, b"appended")
    trace.note("size", os.stat("empty/blobs/1"))
    trace.call("old path", os.stat, "repo/blobs/1")
    trace.note("in the open directory", sorted(os.listdir(inside)))
    fd = os.open("3", os.O_CREAT | os.O_WRONLY, dir_fd=inside)
    os.close(fd)
    trace.note("made by the descriptor", sorted(os.listdir("empty/blobs")))
    now = {name: os.stat(f"empty/blobs/{name}").st_ino for name in numbers if name != "dir"}
    now["dir"] = os.stat("empty/blobs").st_ino
    trace.claim("inode numbers", now == numbers)
    os.rename("empty/blobs", "blobs2")
    os.rename("blobs2/0", "zero")
    trace.note("after more moves", listing("."))
    for fd in (reader, writer, inside):
        os.close(fd)
    os.mkdir("repo")
    trace.note("the old name is free", os.listdir("repo"))


@behaviour(SECTION, "rename moves neither mtime nor content; ctime and both directories' mtime move")
def rename_times(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("one")
    os.mkdir("other")
    write("one/f", b"x")
    os.utime("one/f", ns=(1, 1_700_000_000_123_456_789))
    for name in ("one", "other"):
        os.utime(name, ns=(0, 0))
    before = os.stat("one/f")
    os.rename("one/f", "other/g")
    after = os.stat("other/g")
    trace.note("mtime", after.st_mtime_ns)
    trace.claim("ctime", after.st_ctime_ns >= before.st_ctime_ns)
    trace.note("directories", [os.stat(name).st_mtime_ns > 0 for name in ("one", "other")])
    os.mkdir("one/sub")
    os.utime("one/sub", ns=(5, 5))
    os.rename("one/sub", "other/sub")
    trace.note("links", [os.stat("one").st_nlink, os.stat("other").st_nlink])
    trace.note("a directory's mtime", os.stat("other/sub").st_mtime_ns)


@behaviour(SECTION, "from and to another file system is EXDEV; mv and cp -a fall back to a copy")
def rename_across(place: str, trace: Trace) -> None:
    os.chdir(place)
    outside = "/dev/shm/modelcache-posix-%d" % os.getpid()
    os.mkdir(outside)
    try:
        write("f", content(100_000))
        os.chmod("f", 0o751)
        os.utime("f", ns=(1, 1_700_000_000_123_456_789))
        trace.call("rename out", os.rename, "f", outside + "/f")
        trace.call("link out", os.link, "f", outside + "/f")
        subprocess.run(["mv", "f", outside + "/f"], check=True)
        trace.call("rename in", os.rename, outside + "/f", "f")
        subprocess.run(["mv", outside + "/f", "f"], check=True)
        trace.note("there and back", [os.stat("f"), os.stat("f").st_mtime_ns, digest("f")])
        os.makedirs("tree/a/b")
        os.symlink("../x", "tree/a/l")
        subprocess.run(["cp", "-a", "tree", outside], check=True)
        subprocess.run(["mv", outside + "/tree", "tree2"], check=True)
        trace.note("trees", [listing("tree"), listing("tree2")])
    finally:
        shutil.rmtree(outside)


@behaviour(SECTION, "eight processes that write O_EXCL and os.replace one name leave one whole version")
def replace_race(place: str, trace: Trace) -> None:
    os.chdir(place)

    def compiles(number: int) -> list[str]:
        wrong = []
        for turn in range(40):
            temporary = f"x.pyc.{number}.{turn}"
            fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            os.write(fd, bytes([number]) * 5000)
            os.close(fd)
            os.replace(temporary, "x.pyc")
            data = read("x.pyc")
            if len(data) != 5000 or len(set(data)) != 1:
                wrong.append(f"{len(data)} bytes of {set(data)}")
        return wrong

    trace.note("wrong", at_once(8, compiles))
    trace.note("left", os.listdir())
    trace.note("size", os.stat("x.pyc"))


@behaviour(SECTION, "convert_models' mv: the original to .bak, the result onto its name, cwd in place")
def swap_by_mv(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("checkpoint.bin", b"original")
    write("checkpoint.gguf.bin", b"converted")
    subprocess.run("mv checkpoint.bin checkpoint.bin.bak; mv checkpoint.gguf.bin checkpoint.bin",
                   shell=True, check=True)
    trace.note("swapped", listing("."))
    trace.call("exchange", renameat2, "checkpoint.bin", "checkpoint.bin.bak", RENAME_EXCHANGE)
    trace.note("exchanged", [read("checkpoint.bin"), read("checkpoint.bin.bak")])
    trace.note("cwd", os.path.samefile(os.getcwd(), place))
    trace.call("open what moved", opened, "checkpoint.gguf.bin", os.O_RDONLY)


@behaviour(SECTION, "a reader that keeps every version open has each of them whole, while others replace the name",
           prepare=make_target)
def held_while_replaced(place: str, trace: Trace) -> None:
    os.chdir(place)

    def holds(child: Child) -> list:
        held, wrong, names = [], [], set()
        while not child.heard(0):
            fd = os.open("target", os.O_RDONLY)
            found = os.fstat(fd)
            if held and found.st_ino == os.fstat(held[-1][0]).st_ino or len(held) > 200:
                os.close(fd)
                continue
            held.append((fd, found.st_size))
            names.update(os.listdir())
        numbers = [os.fstat(fd).st_ino for fd, _ in held]
        links = []
        for fd, size in held:
            data = os.pread(fd, 3 * MIB, 0)
            first = data == content(2 * MIB, "old")
            whole = first or (len(data) > 0 and data == data[:1] * len(data))
            links += [] if first or fd == held[-1][0] else [os.fstat(fd).st_nlink]
            if len(data) != size or os.fstat(fd).st_size != size or not whole:
                wrong.append([size, len(data)])
        return [wrong, len(held) > 1, set(links) <= {0}, len(set(numbers)) == len(numbers), sorted(names)]

    reader = Child(holds)
    # The first version is held for certain.
    first = os.open("target", os.O_RDONLY)
    for turn in range(150):
        write("target.tmp", bytes([turn % 255 + 1]) * (turn * 997 % 100_000 + 1))
        os.replace("target.tmp", "target")
    reader.tell()
    wrong, several, unlinked, unique, names = reader.result()
    trace.note("wrong", wrong)
    trace.claim("it saw several", several)
    trace.note("what was replaced has no name, and its own number", [unlinked, unique])
    trace.claim(f"no other name was listed: {names}", set(names) <= {"target", "target.tmp"})
    trace.note("the first", [os.fstat(first), os.pread(first, 3 * MIB, 0)])
    os.close(first)
    trace.note("left", os.listdir())
