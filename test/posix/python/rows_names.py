"""Names, paths and symbolic links."""

import errno
import os
import socket
import subprocess
import unicodedata

from children import elsewhere
from files import content, digest, listing, opened, read, write
from registry import behaviour
from trace import Trace, outcome

SECTION = "Names, paths and links"

ODD_NAMES = [
    "models--org--name",
    "a=b",
    "with space",
    " leading",
    "trailing ",
    "@refs",
    "-rf",
    "new\nline",
    'quote"\'',
    "back\\slash",
    "%2F",
    "#hash?query",
    "\u65e5\u672c\u8a9e",
    "\U0001f917",
    "Case",
    "case",
    unicodedata.normalize("NFC", "\u00e9t\u00e9"),
    unicodedata.normalize("NFD", "\u00e9t\u00e9"),
    "\x01\x7f",
    "...",
    ".hidden",
    "CON",
]


@behaviour(SECTION, "a name has up to 255 bytes; a longer one is ENAMETOOLONG for every call")
def name_length(place: str, trace: Trace) -> None:
    os.chdir(place)
    for name in ["n" * 255, "\u00e9" * 127 + "x", "\U0001f917" * 63 + "abc"]:
        write(name, b"x")
        trace.note("255 bytes", [len(os.fsencode(name)), os.stat(name), read(name)])
        os.rename(name, name[::-1])
        trace.note("listed", os.listdir() == [name[::-1]])
        os.unlink(name[::-1])
    write("short")
    for length in (256, 300, 1000):
        name = "n" * length
        trace.call(f"open {length}", opened, name, os.O_WRONLY | os.O_CREAT)
        trace.call(f"stat {length}", os.stat, name)
        trace.call(f"mkdir {length}", os.mkdir, name)
        trace.call(f"symlink {length}", os.symlink, "short", name)
        trace.call(f"rename {length}", os.rename, "short", name)
        trace.call(f"link {length}", os.link, "short", name)
        trace.call(f"unlink {length}", os.unlink, name)
        trace.call(f"mkfifo {length}", os.mkfifo, name)
    trace.note("left", os.listdir())


@behaviour(SECTION, "names are bytes: case, Unicode forms, control characters and blanks stay as given")
def odd_names(place: str, trace: Trace) -> None:
    os.chdir(place)
    for number, name in enumerate(ODD_NAMES):
        write(name, str(number).encode())
    trace.note("listed", sorted(os.listdir()))
    trace.note("read", [read(name) for name in ODD_NAMES])
    os.mkdir("d")
    for name in ODD_NAMES:
        os.rename(name, os.path.join("d", name))
    trace.note("moved", listing("."))
    trace.note("other case", outcome(os.stat, "D"))
    trace.note("forms differ", len({name for name in os.listdir("d") if "t" in name}) )


@behaviour(
    SECTION,
    "names that are no UTF-8 work on this machine; they are local-only",
)
def names_not_utf8(place: str, trace: Trace) -> None:
    os.chdir(os.fsencode(place))
    names = [b"\xff\xfe", b"latin-\xe9", b"half-\xc3", b"\x80"]
    for name in names:
        write(name, name)
    os.mkdir(b"dir-\xff")
    os.symlink(b"\xff\xfe", b"link-\xfe")
    os.rename(b"\x80", b"dir-\xff/\x81")
    trace.note("listed", sorted(os.listdir(b".")))
    trace.note("within", os.listdir(b"dir-\xff"))
    trace.note("link", [os.readlink(b"link-\xfe"), read(b"link-\xfe")])
    trace.note("read", [read(name) for name in names[:3]])
    trace.pause("commit")
    trace.note("after a commit", sorted(os.listdir(b".")))
    os.unlink(b"\xff\xfe")
    trace.call("gone", os.stat, b"\xff\xfe")


@behaviour(SECTION, "a path of more than 4,096 bytes is ENAMETOOLONG; by chdir there is no depth limit")
def deep_paths(place: str, trace: Trace) -> None:
    os.chdir(place)
    part = "p" * 200
    try:
        for _ in range(30):
            os.mkdir(part)
            os.chdir(part)
        write("file", b"deep")
        trace.note("relative", [os.stat("file"), read("file")])
        trace.note("up and down", read("../" + part + "/file"))
        # Not by getcwd(3), which has to read every directory above, also those of others.
        depths = [depth for depth in range(40) if os.path.samefile("../" * depth + ".", place)]
        trace.note("depth", depths)
        trace.call("absolute", os.stat, os.path.join(place, *[part] * 30, "file"))
        trace.note("moved", outcome(os.rename, "file", "../../file"))
        trace.note("found", read("../../file"))
        trace.note("elsewhere", elsewhere(lambda: os.listdir("../..")))
        os.symlink("../file", "link")
        trace.call("dangling", os.stat, "link")
    finally:
        os.chdir(place)
        # The driver's own clean-up names whole paths.
        subprocess.run(["rm", "-rf", part], check=True)
    trace.note("left", os.listdir())


@behaviour(SECTION, "mkdir, rmdir and unlink refuse exactly what a local disk refuses")
def making_and_removing(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("file", b"x")
    os.mkdir("dir")
    os.mkdir("full")
    write("full/x")
    os.symlink("dir", "to-dir")
    os.symlink("nowhere", "dangling")
    for path in ["file", "dir", "to-dir", "dangling", "no/dir", "file/dir", "new", "new/", "", "/", "."]:
        trace.call(f"mkdir {path!r}", os.mkdir, path)
    for path in ["file", "full", "to-dir", "to-dir/", "dangling", "missing", "dir/.", "file/x", ""]:
        trace.call(f"rmdir {path!r}", os.rmdir, path)
    for path in ["dir", "dir/", "full", "missing", "file/", "file/x", "", ".", ".."]:
        trace.call(f"unlink {path!r}", os.unlink, path)
    trace.call("makedirs again", os.makedirs, "full", exist_ok=True)
    trace.call("makedirs by link", os.makedirs, "to-dir", exist_ok=True)
    trace.call("makedirs dangling", os.makedirs, "dangling", exist_ok=True)
    trace.call("makedirs beneath", os.makedirs, "to-dir/a/b/c", exist_ok=True)
    trace.call("rmdir new", os.rmdir, "new")
    trace.call("rmdir new again", os.rmdir, "new")
    trace.call("unlink", os.unlink, "dangling")
    trace.note("left", listing("."))


@behaviour(SECTION, "a symbolic link keeps its target's bytes, and is followed as on a local disk")
def symlinks(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.makedirs("blobs")
    os.makedirs("snapshots/c/sub")
    write("blobs/b", b"blob")
    targets = ["../../blobs/b", "../../../blobs/b", "x" * 4095, "x" * 4096, "", ".", "/", "a//b/../c"]
    targets += ["\u00e9 \n", "/proc/self/exe"]
    for number, target in enumerate(targets):
        where = f"snapshots/c/{number}"
        trace.call(f"symlink {number}", os.symlink, target, where)
        trace.call(f"readlink {number}", os.readlink, where)
        trace.call(f"lstat {number}", os.lstat, where)
    os.symlink("../../../blobs/b", "snapshots/c/sub/deep")
    os.symlink("sub", "snapshots/c/dirlink")
    os.symlink("0", "snapshots/c/second")
    for path in ["0", "1", "second", "sub/deep", "dirlink/deep"]:
        trace.call(f"read {path}", read, f"snapshots/c/{path}")
    trace.call("exists", os.symlink, "y", "snapshots/c/0")
    trace.call("exists as file", os.symlink, "y", "blobs/b")
    trace.call("readlink of a file", os.readlink, "blobs/b")
    trace.call("readlink of a directory", os.readlink, "blobs")
    os.symlink("loop-b", "loop-a")
    os.symlink("loop-a", "loop-b")
    trace.call("loop", os.stat, "loop-a")
    trace.call("through a file", os.stat, "blobs/b/x")
    trace.call("slash after a link to a file", os.stat, "snapshots/c/0/")
    trace.note("real path", os.path.realpath("snapshots/c/second") == os.path.join(
        os.path.realpath(place), "blobs/b"))
    os.symlink(b"\xff\xfe", b"not-utf8")
    trace.note("not UTF-8", os.readlink(b"not-utf8"))
    entries = {entry.name: entry for entry in os.scandir("snapshots/c")}
    trace.note("types", {name: entry.is_symlink() for name, entry in sorted(entries.items())})
    trace.note("replaced", outcome(os.rename, "loop-a", "snapshots/c/0"))
    trace.note("now", os.readlink("snapshots/c/0"))


@behaviour(SECTION, "a link that led nowhere leads somewhere as soon as its target exists, and back")
def link_before_target(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.symlink("target", "link")
    for turn in range(3):
        trace.call(f"before {turn}", os.stat, "link")
        write("target", b"%d" % turn)
        trace.note(f"there {turn}", read("link"))
        trace.note(f"elsewhere {turn}", elsewhere(lambda: os.stat("link").st_size))
        os.unlink("target")
    write("by-link", b"")
    os.symlink("made", "creates")
    write("creates", b"through the link")
    trace.note("made", read("made"))


@behaviour(SECTION, "what one process looks for in vain, it finds once another has made it")
def negative_names(place: str, trace: Trace) -> None:
    os.chdir(place)
    seen = []
    for turn in range(100):
        name = f"f{turn}"
        absent = outcome(os.stat, name) == "ENOENT"
        elsewhere(lambda name=name: write(name, b"x") and None) if turn % 20 == 0 else write(name)
        seen.append([absent, os.path.exists(name)])
        os.unlink(name)
        seen[-1].append(os.path.exists(name))
    trace.note("seen", seen)


@behaviour(SECTION, "FIFOs and Unix sockets work; devices are EPERM (the mount is nodev)")
def special_files(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkfifo("fifo", 0o640)
    trace.note("fifo", os.stat("fifo"))

    def writes() -> None:
        with open("fifo", "wb") as fifo:
            fifo.write(b"through the fifo")

    pid = os.fork()
    if pid == 0:
        writes()
        os._exit(0)
    with open("fifo", "rb") as fifo:
        trace.note("read", fifo.read())
    os.waitpid(pid, 0)
    server = socket.socket(socket.AF_UNIX)
    server.bind("sock")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("sock")
    accepted, _ = server.accept()
    client.send(b"through the socket")
    trace.note("received", accepted.recv(100))
    trace.note("socket", os.stat("sock"))
    trace.call("open a socket", opened, "sock", os.O_RDONLY)
    trace.note("types", {e.name: [e.is_file(), e.is_dir()] for e in os.scandir(".")})
    device = outcome(os.mknod, "device", 0o600 | 0o020000, os.makedev(1, 3))
    trace.one_of("device", device, "EPERM", *([] if trace.mounted else ["ok"]))
    trace.call("mknod of a file", os.mknod, "plain", 0o100640)
    trace.note("made", os.stat("plain"))
    for name in ("fifo", "sock", "plain"):
        os.unlink(name)


@behaviour(SECTION, "a process whose working directory is in the mount keeps it through renames")
def working_directory(place: str, trace: Trace) -> None:
    os.makedirs(os.path.join(place, "a/b"))
    os.chdir(os.path.join(place, "a/b"))
    write("file", b"x")
    os.rename(os.path.join(place, "a"), os.path.join(place, "c"))
    trace.claim("it is called by the mount's path", os.getcwd().startswith(place + "/"))
    trace.note("cwd", os.path.relpath(os.getcwd(), os.path.realpath(place)))
    trace.note("file", read("file"))
    os.mkdir(os.path.join(place, "d"))
    os.rename(os.path.join(place, "c/b"), os.path.join(place, "d/e"))
    trace.note("cwd again", os.path.relpath(os.getcwd(), os.path.realpath(place)))
    write("new", content(10))
    trace.note("up", sorted(os.listdir("..")))
    os.unlink("file")
    os.unlink("new")
    os.rmdir(os.path.join(place, "d/e"))
    trace.call("cwd of what was removed", os.getcwd)
    trace.call("create there", opened, "x", os.O_CREAT | os.O_WRONLY)
    trace.call("mkdir there", os.mkdir, "x")
    trace.call("stat of it", lambda: os.stat(".").st_nlink)
    trace.call("list it", os.listdir, ".")
    trace.call("go up", os.chdir, "..")


@behaviour(SECTION, "the control of the mount is not in it: a new mount is empty, nothing hides in listings")
def nothing_foreign(place: str, trace: Trace) -> None:
    root = os.path.dirname(os.path.dirname(place))
    if trace.mounted:
        names = os.listdir(root)
        trace.claim(f"only what was made: {names}", set(names) <= {"rows"})
        for name in [".ipfs", ".stats", ".modelcache", ".fuse_hidden", "lost+found"]:
            trace.claim(f"no {name}", outcome(os.lstat, os.path.join(root, name)) == "ENOENT")
    os.chdir(place)
    fd = os.open("file", os.O_RDWR | os.O_CREAT)
    os.unlink("file")
    trace.note("unlinked and open", os.listdir())
    os.close(fd)
    trace.note("errno", errno.errorcode[errno.ENOENT])
    trace.claim("digest", digest(__file__) != "")
