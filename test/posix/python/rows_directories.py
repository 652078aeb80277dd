"""Reading directories."""

import os
import random
import shutil
import stat
import subprocess

from children import Child, at_once, elsewhere
from files import listing, write
from registry import behaviour
from system import DirStream
from trace import Trace, link_count, outcome

SECTION = "Directories"
DT = {4: "directory", 8: "file", 10: "link", 1: "fifo"}
MANY = 10_000


def ten_thousand(place: str) -> None:
    """Most are links, whose content needs no file to be settled or fetched."""
    for number in range(MANY):
        if number % 20:
            os.symlink(f"../{number}", f"{place}/n{number:05d}")
        else:
            write(f"{place}/n{number:05d}", b"x")


@behaviour(SECTION, "names are listed in the order of their bytes, so that a client's first match is right")
def sorted_names(place: str, trace: Trace) -> None:
    os.chdir(place)
    names = ["b", "a", "org--bert-large", "org--bert", "Z", "~", "\u00e9", "a.b", "a-b", "ab", "10", "9"]
    random.Random(1).shuffle(names)
    for name in names:
        os.mkdir(name)
    seen = os.listdir(b".")
    trace.note("all", sorted(seen))
    if trace.mounted:
        trace.claim("sorted", seen == sorted(seen))
        stream = DirStream(".")
        trace.claim("dots first", [name for name, _, _ in stream.read_all()][:2] == [".", ".."])
        stream.close()


@behaviour(SECTION, "readdir gives `.`, `..`, the right types and the inode numbers of lstat and fstat")
def entry_types(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("dir")
    write("file", b"x")
    os.symlink("file", "link")
    os.mkfifo("fifo")
    stream = DirStream(".")
    entries = stream.read_all()
    stream.close()
    trace.note("entries", sorted([name, DT.get(kind, str(kind))] for name, _, kind in entries))
    numbers = {name: ino for name, ino, _ in entries}
    for name in [".", "dir", "file", "link", "fifo"]:
        trace.claim(f"the number of {name}", numbers[name] == os.lstat(name).st_ino)
    trace.claim("the number of ..", numbers[".."] == os.lstat("..").st_ino)
    fd = os.open("file", os.O_RDONLY)
    trace.claim("fstat", os.fstat(fd).st_ino == numbers["file"])
    trace.claim("device", len({os.lstat(name).st_dev for name in numbers}) == 1)
    trace.claim("unique", len(set(numbers.values())) == len(numbers))
    os.close(fd)
    root = os.path.dirname(place)
    outer = DirStream(root)
    known = {name: ino for name, ino, _ in outer.read_all()}
    outer.close()
    trace.claim("as its parent says", known[os.path.basename(place)] == os.stat(".").st_ino)
    sub = DirStream("dir")
    inner = {name: ino for name, ino, _ in sub.read_all()}
    sub.close()
    trace.claim("`..` of a directory", inner[".."] == os.stat(".").st_ino)


@behaviour(SECTION, "10,000 names are listed once each, while others come and go", prepare=ten_thousand)
def many_names(place: str, trace: Trace) -> None:
    os.chdir(place)
    expected = {f"n{number:05d}" for number in range(MANY)}
    trace.note("at rest", len(os.listdir()))

    def churns(child: Child) -> int:
        turns = 0
        while not child.heard(0):
            name = f"n{turns * 37 % MANY:05d}-extra"
            write(name)
            os.rename(name, name + "-extra")
            os.unlink(name + "-extra")
            os.mkdir(name)
            os.rmdir(name)
            turns += 1
        return turns

    churner = Child(churns)
    for turn in range(5):
        names = os.listdir()
        stable = [name for name in names if not name.endswith("-extra")]
        trace.claim(f"each once {turn}", len(stable) == MANY and set(stable) == expected)
        trace.claim(f"no name twice {turn}", len(names) == len(set(names)))
    churner.tell()
    trace.claim("they came and went", churner.result() > 0)
    with os.scandir() as entries:
        trace.note("types", sum(entry.is_file(follow_symlinks=False) for entry in entries))
    trace.note("sizes", sum(os.lstat(name).st_size for name in os.listdir()))


@behaviour(SECTION, "a position of telldir leads back to the same name; rewinddir sees what is new")
def seekable(place: str, trace: Trace) -> None:
    os.chdir(place)
    for number in range(500):
        write(f"s{number:03d}")
    stream = DirStream(".")
    names, positions = [], []
    while True:
        positions.append(stream.tell())
        entry = stream.read()
        if entry is None:
            break
        names.append(entry[0])
    trace.note("read", len(names))
    for index in [0, 1, 2, 250, 499, 501]:
        stream.seek(positions[index])
        entry = stream.read()
        trace.claim(f"position {index}", entry is not None and entry[0] == names[index])
    stream.seek(positions[100])
    trace.claim("and on from there", [name for name, _, _ in stream.read_all()] == names[100:])
    write("new")
    stream.rewind()
    again = [name for name, _, _ in stream.read_all()]
    trace.note("new is seen", "new" in again)
    trace.note("and all else", len(again))
    stream.close()


@behaviour(SECTION, "removing what was listed, part by part, leaves nothing out")
def removed_while_read(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("d")
    for number in range(3000):
        write(f"d/r{number}")
    stream = DirStream("d")
    removed = 0
    while (entry := stream.read()) is not None:
        if entry[0] not in (".", ".."):
            os.unlink(f"d/{entry[0]}")
            removed += 1
    stream.close()
    trace.note("removed", removed)
    trace.note("left", os.listdir("d"))
    trace.call("rmdir", os.rmdir, "d")


@behaviour(SECTION, "a directory that was removed while open is empty, and nothing can be made in it")
def removed_directory(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir("d")
    trace.call("list", os.listdir, fd)
    trace.call("links", lambda: os.fstat(fd).st_nlink)
    trace.call("create", lambda: os.close(os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)))
    trace.call("mkdir", lambda: os.mkdir("x", dir_fd=fd))
    trace.call("stat in it", lambda: os.stat("x", dir_fd=fd))
    trace.call("up", lambda: os.stat("..", dir_fd=fd) and None)
    trace.call("chmod", os.fchmod, fd, 0o700)
    trace.call("mode", os.fstat, fd)
    trace.call("fsync", os.fsync, fd)
    os.close(fd)
    os.mkdir("d")
    trace.note("the name is free", listing("."))


@behaviour(SECTION, "eight processes that make and remove in one directory leave what they meant to")
def shared_churn(place: str, trace: Trace) -> None:
    os.chdir(place)

    def works(number: int) -> list[str]:
        failed = []
        for turn in range(60):
            os.makedirs("deep/er/still", exist_ok=True)
            name = f"deep/er/still/{number}-{turn}"
            write(name + ".tmp", b"x" * turn)
            os.replace(name + ".tmp", name)
            if turn % 3:
                os.unlink(name)
            answer = outcome(os.mkdir, f"once-{turn}")
            if answer not in ("ok", "EEXIST"):
                failed.append(answer)
        return failed

    trace.note("failed", at_once(8, works))
    trace.note("left", len(os.listdir("deep/er/still")))
    trace.note("tree", listing("."))


@behaviour(SECTION, "exactly one of eight processes wins each O_EXCL, mkdir, link and symlink")
def one_winner(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("source")

    def races(number: int) -> list[int]:
        won = [0, 0, 0, 0]
        for turn in range(40):
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
            attempts = [
                lambda: os.close(os.open(f"file-{turn}", flags)),
                lambda: os.mkdir(f"dir-{turn}"),
                lambda: os.link("source", f"link-{turn}"),
                lambda: os.symlink(str(number), f"sym-{turn}"),
            ]
            for index, attempt in enumerate(attempts):
                answer = outcome(attempt)
                if answer == "ok":
                    won[index] += 1
                elif answer != "EEXIST":
                    raise RuntimeError(answer)
        return won

    wins = at_once(8, races)
    trace.note("winners", [sum(won[index] for won in wins) for index in range(4)])
    trace.note("links", link_count(os.stat("source")))


@behaviour(SECTION, "rmtree (openat, unlinkat) and rm -rf remove a tree, also while others add to it")
def removing_trees(place: str, trace: Trace) -> None:
    os.chdir(place)
    for tree in ("one", "two"):
        for number in range(10):
            os.makedirs(f"{tree}/{number}/deep")
            write(f"{tree}/{number}/deep/file", b"x", 0o400)
            os.symlink("../..", f"{tree}/{number}/deep/up")
    shutil.rmtree("one")
    subprocess.run(["rm", "-rf", "two"], check=True)
    trace.note("left", os.listdir())
    os.mkdir("three")

    def adds(child: Child) -> None:
        for turn in range(300):
            outcome(write, f"three/{turn}")
        child.tell()

    adder = Child(adds)
    while not adder.heard(0):
        shutil.rmtree("three", ignore_errors=True)
    adder.hear()
    adder.result()
    shutil.rmtree("three", ignore_errors=True)
    trace.note("in the end", os.listdir())


@behaviour(SECTION, "the link count and the times of a directory follow what is made in it")
def directory_attributes(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("d")

    def step(name: str, act: object) -> None:
        os.utime("d", ns=(0, 0))
        act()
        st = os.stat("d")
        trace.note(name, [st.st_nlink, st.st_mtime_ns != 0])
        trace.note(f"{name}, elsewhere", elsewhere(lambda: os.stat("d").st_mtime_ns != 0))

    step("mkdir", lambda: os.mkdir("d/sub"))
    step("mkdir again", lambda: os.mkdir("d/sub2"))
    step("create", lambda: write("d/file"))
    step("write", lambda: write("d/file", b"x"))
    step("symlink", lambda: os.symlink("x", "d/link"))
    step("link", lambda: os.link("d/file", "d/file2"))
    step("rename within", lambda: os.rename("d/file", "d/file3"))
    step("rename out", lambda: os.rename("d/sub", "sub"))
    step("unlink", lambda: os.unlink("d/file2"))
    step("chmod of a child", lambda: os.chmod("d/file3", 0o600))
    step("rmdir", lambda: os.rmdir("d/sub2"))
    step("list", lambda: os.listdir("d"))
    st = os.stat("d")
    trace.note("a directory", [stat.S_ISDIR(st.st_mode), st.st_size > 0])
