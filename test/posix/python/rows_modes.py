"""Modes, owners, umask, and what an ordinary user may."""

import os
import stat

from children import NOBODY, as_nobody, elsewhere
from files import content, listing, opened, read, write
from registry import NO_OWNERS, behaviour
from trace import Trace, outcome

SECTION = "Modes and owners"
RD, WR, RW, CREAT = os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_CREAT


def make_modes(place: str) -> None:
    write(f"{place}/f", content(1000))
    os.mkdir(f"{place}/d")
    for mode in (0o400, 0o444, 0o640, 0o755, 0o664, 0o000, 0o777):
        write(f"{place}/{mode:04o}", b"x")
        os.chmod(f"{place}/{mode:04o}", mode)
        os.mkdir(f"{place}/d{mode:04o}")
        os.chmod(f"{place}/d{mode:04o}", mode)


@behaviour(SECTION, "modes are kept: of creation under the umask, of chmod and fchmod, all twelve bits",
           prepare=make_modes)
def modes(place: str, trace: Trace) -> None:
    os.chdir(place)
    trace.note("found", {name: os.stat(name) for name in sorted(os.listdir())})
    for umask in (0o000, 0o022, 0o077, 0o777):
        os.umask(umask)
        for mode in (0o666, 0o600, 0o777, 0o640, 0o4755):
            name = f"{umask:o}-{mode:o}"
            os.close(os.open(name, RW | CREAT, mode))
            os.mkdir(name + ".d", mode)
            trace.note(name, [os.stat(name), os.stat(name + ".d")])
    os.umask(0o022)
    for mode in (0o7777, 0o6755, 0o1777, 0o4644, 0o2755, 0, 0o644):
        os.chmod("f", 0o644)
        fd = os.open("f", RD)
        os.chmod("f", mode)
        os.chmod("d", mode)
        trace.note(f"chmod {mode:o}", [os.stat("f"), os.stat("d"), os.fstat(fd)])
        os.fchmod(fd, mode ^ 0o111)
        trace.note(f"fchmod {mode:o}", [os.stat("f"), elsewhere(lambda: os.stat("f").st_mode)])
        os.close(fd)
    os.umask(0o002)
    os.close(os.open("x.lock", RW | CREAT, 0o664))
    trace.note("a lock file", os.stat("x.lock"))


@behaviour(SECTION, "a new name in a set-group-ID directory has the directory's group; directories inherit the bit",
           not_on=NO_OWNERS)
def setgid_directory(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.mkdir("d")
    trace.call("to another group", os.chown, "d", -1, 4321)
    os.chmod("d", 0o2775)
    write("d/file")
    os.mkdir("d/sub")
    os.symlink("x", "d/link")
    os.mkfifo("d/fifo")
    os.mknod("d/node", 0o644)
    names = ["file", "sub", "link", "fifo", "node"]
    trace.note("groups", [os.lstat(f"d/{name}") for name in names])
    os.mkdir("d/sub/deeper")
    trace.note("inherited", os.stat("d/sub/deeper"))
    write("outside")
    os.rename("outside", "d/moved")
    trace.note("moved in", os.stat("d/moved"))


@behaviour(SECTION, "chmod 0444 and an unlink by another do not stop who writes already", prepare=make_modes)
def writer_keeps_right(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.chmod(".", 0o777)
    os.chown("f", NOBODY, NOBODY)
    os.chmod("f", 0o644)

    def writes() -> list:
        fd = os.open("f", RW)
        os.chmod("f", 0o444)
        os.write(fd, b"still")
        os.ftruncate(fd, 500)
        again = outcome(opened, "f", WR)
        os.fchmod(fd, 0o400)
        os.write(fd, b"and still")
        return [again, os.pread(fd, 20, 0).hex(), os.fstat(fd).st_size]

    trace.note("writer", as_nobody(writes))
    trace.note("file", [os.stat("f").st_size, oct(os.stat("f").st_mode), read("f")])


@behaviour(SECTION, "an ordinary user gets EACCES and EPERM where a local disk says so (with --allow-other)",
           prepare=make_modes, not_on=NO_OWNERS)
def permissions(place: str, trace: Trace) -> None:
    os.chdir(place)
    here = os.open(".", RD)
    write("d0755/inside", b"x")
    trace.call("in a read-only directory", opened, "d0400/inside", WR | CREAT)

    def tries() -> dict:
        found = {}
        for name in ("0400", "0444", "0640", "0664", "0777", "0000"):
            for label, flags in (("read", RD), ("write", WR), ("truncate", WR | os.O_TRUNC)):
                found[f"{label} {name}"] = outcome(opened, name, flags)
        for name in ("d0400", "d0755", "d0777", "d0000"):
            found[f"list {name}"] = outcome(lambda: len(os.listdir(name)))
            found[f"stat in {name}"] = outcome(lambda: os.stat(name + "/inside").st_size)
            found[f"create in {name}"] = outcome(opened, name + "/new", WR | CREAT)
            found[f"mkdir in {name}"] = outcome(os.mkdir, name + "/dir")
            found[f"rename in {name}"] = outcome(os.rename, name + "/inside", name + "/x")
            found[f"unlink in {name}"] = outcome(os.unlink, name + "/inside")
            found[f"chdir {name}"] = outcome(os.chdir, name)
            # By descriptor: the way here from the root is not open to everybody.
            os.fchdir(here)
        found["chmod"] = outcome(os.chmod, "0777", 0o700)
        found["chown"] = outcome(os.chown, "0777", NOBODY, -1)
        found["utime"] = outcome(os.utime, "0644" if os.path.exists("0644") else "0755", ns=(1, 1))
        found["utime now"] = outcome(os.utime, "0777")
        found["xattr"] = outcome(os.setxattr, "0444", "user.a", b"x")
        found["link"] = outcome(os.link, "0777", "d0777/linked")
        found["access"] = [os.access("0640", how) for how in (os.R_OK, os.W_OK, os.X_OK)]
        found["access 0755"] = [os.access("0755", how) for how in (os.R_OK, os.W_OK, os.X_OK)]
        found["noatime"] = outcome(opened, "0444", RD | os.O_NOATIME)
        return found

    trace.note("answers", as_nobody(tries))
    made = os.stat("d0777/new")
    trace.note("the caller owns what it made", [made, os.stat("d0777/dir")])
    trace.note("left", sorted(os.listdir("d0777")))


@behaviour(SECTION, "own files of an ordinary user: chmod, chown to itself, sticky directories",
           not_on=NO_OWNERS)
def ordinary_user(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.chmod(".", 0o777)
    os.mkdir("sticky")
    os.chmod("sticky", 0o1777)
    write("sticky/roots", b"x", 0o666)
    os.chmod("sticky/roots", 0o666)

    def lives() -> dict:
        found = {}
        fd = os.open("own", RW | CREAT, 0o666)
        os.write(fd, b"x")
        found["made"] = [os.fstat(fd).st_uid, os.fstat(fd).st_gid, oct(os.fstat(fd).st_mode)]
        found["chmod"] = outcome(os.fchmod, fd, 0o600)
        found["chown to itself"] = outcome(os.chown, "own", NOBODY, NOBODY)
        found["chown to root"] = outcome(os.chown, "own", 0, -1)
        found["chgrp to root"] = outcome(os.chown, "own", -1, 0)
        found["setgid"] = outcome(os.chmod, "own", 0o2755)
        found["its mode"] = oct(os.stat("own").st_mode)
        found["remove root's"] = outcome(os.unlink, "sticky/roots")
        found["rename root's"] = outcome(os.rename, "sticky/roots", "sticky/mine")
        found["write root's"] = outcome(opened, "sticky/roots", WR)
        os.close(os.open("sticky/own", WR | CREAT, 0o600))
        found["remove own"] = outcome(os.unlink, "sticky/own")
        os.mkdir("dir", 0o500)
        found["in a read-only directory"] = outcome(opened, "dir/x", WR | CREAT)
        found["mkdir"] = oct(os.stat("dir").st_mode)
        os.symlink("own", "link")
        found["link"] = [os.lstat("link").st_uid, os.stat("link").st_size]
        os.mknod("node", 0o640)
        found["node"] = [os.stat("node").st_uid, oct(os.stat("node").st_mode)]
        return found

    trace.note("life", as_nobody(lives))
    trace.note("left", listing("."))
    trace.note("owners", [os.lstat(name).st_uid for name in ("own", "dir", "link", "node")])


@behaviour(SECTION, "set-ID bits go when an ordinary user writes, truncates, or the owner changes",
           not_on=NO_OWNERS)
def set_id_bits(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.chmod(".", 0o777)

    def fresh() -> None:
        write("s", b"x" * 100)
        os.chown("s", NOBODY, NOBODY)
        os.chmod("s", 0o6777)

    fresh()
    as_nobody(lambda: os.pwrite(os.open("s", WR), b"y", 0))
    trace.note("written", os.stat("s"))
    fresh()
    as_nobody(lambda: os.truncate("s", 10))
    trace.note("truncated", os.stat("s"))
    fresh()
    as_nobody(lambda: opened("s", WR | os.O_TRUNC))
    trace.note("emptied by open", os.stat("s"))
    fresh()
    os.pwrite(os.open("s", WR), b"y", 0)
    trace.note("written by root", os.stat("s"))
    fresh()
    trace.call("give away", os.chown, "s", 1, 1)
    trace.note("given away", os.stat("s"))
    fresh()
    read("s")
    trace.note("read", os.stat("s"))


@behaviour(SECTION, "chown by root, by name, descriptor and of a link; each id alone", not_on=NO_OWNERS,
           prepare=make_modes)
def owners(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.symlink("f", "l")
    trace.call("give both", os.chown, "f", 11, 22)
    trace.note("both", os.stat("f"))
    trace.call("the owner", os.chown, "f", 33, -1)
    trace.call("the group", os.chown, "f", -1, 44)
    trace.note("each", os.stat("f"))
    os.chown("f", -1, -1)
    trace.note("neither", os.stat("f"))
    trace.call("of a link", os.lchown, "l", 5, 6)
    trace.note("link", [os.lstat("l"), os.stat("f")])
    fd = os.open("d", RD)
    trace.call("by descriptor", os.fchown, fd, 7, 8)
    trace.note("directory", os.stat("d"))
    os.close(fd)
    trace.pause("commit")
    trace.note("after a commit", [os.stat("f"), os.stat("d"), os.lstat("l")])


@behaviour(SECTION, "chmod of the mount's root works, and its attributes are a directory's")
def root_mode(place: str, trace: Trace) -> None:
    root = os.path.dirname(place)
    before = os.stat(root)
    os.chmod(root, 0o751)
    trace.note("changed", oct(stat.S_IMODE(os.stat(root).st_mode)))
    trace.note("elsewhere", elsewhere(lambda: oct(os.stat(root).st_mode)))
    os.chmod(root, stat.S_IMODE(before.st_mode))
    top = os.path.dirname(root) if trace.mounted else root
    if trace.mounted:
        kept = os.stat(top)
        os.chmod(top, 0o755)
        trace.claim("of the mountpoint", stat.S_IMODE(os.stat(top).st_mode) == 0o755)
        trace.claim("a directory", stat.S_ISDIR(kept.st_mode) and kept.st_nlink >= 2)
        os.chmod(top, stat.S_IMODE(kept.st_mode))
