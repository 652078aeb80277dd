"""open(2), its flags, and what a descriptor keeps after its name went."""

import array
import fcntl
import mmap
import os
import resource
import socket
import tempfile

import system
from children import Child, at_once, elsewhere
from files import MIB, content, listing, opened, read, read_fd, write
from registry import behaviour
from trace import Trace, outcome

SECTION = "Opening, and open files"
RD, WR, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
CREAT, EXCL, TRUNC = os.O_CREAT, os.O_EXCL, os.O_TRUNC
NOFOLLOW, DIRECTORY = os.O_NOFOLLOW, os.O_DIRECTORY


def make_kinds(place: str) -> None:
    write(f"{place}/file", b"content")
    os.mkdir(f"{place}/dir")
    os.symlink("file", f"{place}/to-file")
    os.symlink("dir", f"{place}/to-dir")
    os.symlink("nowhere", f"{place}/dangling")
    os.symlink("loop", f"{place}/loop")


@behaviour(SECTION, "O_CREAT, O_EXCL, O_TRUNC, O_NOFOLLOW, O_DIRECTORY on every kind of name",
           prepare=make_kinds)
def open_flags(place: str, trace: Trace) -> None:
    os.chdir(place)
    combinations = {
        "read": RD,
        "write": WR,
        "create": WR | CREAT,
        "exclusive": WR | CREAT | EXCL,
        "no follow": RD | NOFOLLOW,
        "lock file": RW | CREAT | NOFOLLOW,
        "mkstemp": RW | CREAT | EXCL | NOFOLLOW,
        "directory": RD | DIRECTORY,
        "directory to write": WR | DIRECTORY,
        "create a directory": RD | CREAT | DIRECTORY,
        "append": WR | os.O_APPEND,
        "path": os.O_PATH,
        "path, no follow": os.O_PATH | NOFOLLOW,
    }
    for name in ["file", "dir", "to-file", "to-dir", "loop", "file/", "dir/", "file/x", "no/x", ""]:
        for label, flags in combinations.items():
            trace.call(f"{label}: {name!r}", opened, name, flags)
    trace.call("no follow of a dangling link", opened, "dangling", RD | CREAT | NOFOLLOW)
    trace.call("exclusive on a dangling link", opened, "dangling", WR | CREAT | EXCL)
    trace.call("read a dangling link", opened, "dangling", RD)
    trace.call("create through it", opened, "dangling", WR | CREAT)
    trace.note("made", [os.stat("nowhere"), os.readlink("dangling")])
    trace.call("through it again", opened, "dangling", WR | CREAT)
    trace.call("missing with a slash", opened, "new/", WR | CREAT)
    trace.note("untouched", listing("."))


@behaviour(SECTION, "O_TRUNC empties, also with O_RDONLY; O_CREAT with mode 0 still writes", prepare=make_kinds)
def truncating_opens(place: str, trace: Trace) -> None:
    os.chdir(place)
    trace.call("through a link", opened, "to-file", WR | TRUNC)
    trace.note("size", os.stat("file"))
    write("file", b"again")
    trace.call("read only", opened, "file", RD | TRUNC)
    trace.note("size again", os.stat("file").st_size)
    trace.call("a directory", opened, "dir", RD | TRUNC)
    fd = os.open("secret", RW | CREAT, 0)
    os.write(fd, b"x")
    trace.note("mode 0", [os.fstat(fd), os.pread(fd, 5, 0)])
    os.close(fd)
    fd = os.open("read-only", RW | CREAT | EXCL, 0o444)
    os.write(fd, b"written")
    os.close(fd)
    trace.note("mode 0444", [os.stat("read-only"), read("read-only")])


@behaviour(SECTION, "a descriptor reads and writes only as it was opened; offsets as on a local disk",
           prepare=make_kinds)
def descriptor_errors(place: str, trace: Trace) -> None:
    os.chdir(place)
    reader, writer = os.open("file", RD), os.open("file", WR)
    directory, path = os.open("dir", RD), os.open("file", os.O_PATH)
    trace.call("write to a reader", os.write, reader, b"x")
    trace.call("read from a writer", os.read, writer, 1)
    trace.call("read a directory", os.read, directory, 1)
    trace.call("read a path", os.read, path, 1)
    trace.call("fchmod a path", os.fchmod, path, 0o600)
    trace.call("fstat a path", os.fstat, path)
    trace.call("truncate a reader", os.ftruncate, reader, 0)
    trace.call("truncate a directory", os.truncate, "dir", 0)
    trace.call("truncate below 0", os.ftruncate, writer, -1)
    trace.call("read before 0", os.pread, reader, 1, -1)
    trace.call("seek before 0", os.lseek, reader, -1, os.SEEK_SET)
    trace.call("seek by nonsense", os.lseek, reader, 0, 99)
    trace.call("seek to the end", os.lseek, reader, 3, os.SEEK_END)
    trace.call("read there", os.read, reader, 10)
    trace.call("read far", os.pread, reader, 10, 1 << 40)
    trace.call("write nothing", os.write, writer, b"")
    trace.call("fsync of a reader", os.fsync, reader)
    trace.call("fsync of a directory", os.fsync, directory)
    trace.call("fdatasync", os.fdatasync, writer)
    trace.call("syncfs", system.syncfs, writer)
    trace.call("fadvise", os.posix_fadvise, reader, 0, 0, os.POSIX_FADV_WILLNEED)
    trace.call("fadvise away", os.posix_fadvise, reader, 0, 0, os.POSIX_FADV_DONTNEED)
    trace.note("still", read("file"))
    bytes_left = array.array("i", [0])
    os.lseek(reader, 2, os.SEEK_SET)
    fcntl.ioctl(reader, 0x541B, bytes_left)
    trace.note("FIONREAD", bytes_left[0])
    trace.note("flags", [fcntl.fcntl(fd, fcntl.F_GETFL) & 0o2000003 for fd in (reader, writer)])
    for fd in (reader, writer, directory, path):
        os.close(fd)
    trace.call("closed", os.fstat, reader)


@behaviour(SECTION, "an unlinked open file does everything still, and its link count is 0", prepare=make_kinds)
def unlinked_open(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("file", RW)
    ino = os.fstat(fd).st_ino
    os.unlink("file")
    trace.note("links", os.fstat(fd))
    trace.note("read", os.pread(fd, 100, 0))
    os.pwrite(fd, content(MIB), 100)
    trace.note("written", [os.fstat(fd).st_size, os.pread(fd, MIB, 100)])
    os.ftruncate(fd, 500)
    os.fchmod(fd, 0o600)
    trace.call("fchown", os.fchown, fd, 1, 2)
    os.utime(fd, ns=(1, 1_600_000_000_987_654_321))
    trace.note("changed", [os.fstat(fd), os.fstat(fd).st_mtime_ns])
    trace.call("xattr", os.setxattr, fd, "user.a", b"b")
    trace.call("xattr read", os.getxattr, fd, "user.a")
    trace.call("fallocate", system.fallocate, fd, 0, 0, 10_000)
    trace.call("fsync", os.fsync, fd)
    os.ftruncate(fd, 10_000)
    trace.note("size", os.fstat(fd).st_size)
    mapping = mmap.mmap(fd, 4096)
    mapping[0:4] = b"maps"
    trace.note("mapped", os.pread(fd, 8, 0))
    mapping.close()
    trace.call("reopened by /proc", opened, f"/proc/self/fd/{fd}", RW)
    again = os.open(f"/proc/self/fd/{fd}", RD)
    trace.note("read again", os.read(again, 8))
    os.close(again)
    trace.call("linked back", system.linkat, system.AT_FDCWD, f"/proc/self/fd/{fd}", "back",
               system.AT_SYMLINK_FOLLOW)
    trace.note("no name", sorted(os.listdir()))
    write("file", b"another")
    trace.claim("another inode", os.stat("file").st_ino != ino)
    trace.note("both", [os.pread(fd, 8, 0), read("file")])
    os.close(fd)
    trace.note("left", read("file"))


@behaviour(SECTION, "TemporaryFile, NamedTemporaryFile reopened by another process, mkdtemp 0700")
def temporary_files(place: str, trace: Trace) -> None:
    os.chdir(place)
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(b"unseen")
        file.seek(0)
        trace.note("read", file.read())
        trace.note("no name", os.listdir())
        trace.note("links", os.fstat(file.fileno()).st_nlink)
    with tempfile.NamedTemporaryFile(dir=".", suffix=".ogg") as named:
        elsewhere(lambda: write(named.name, b"by the other process") and None)
        trace.note("size", os.fstat(named.fileno()))
        trace.note("content", named.read())
    directory = tempfile.mkdtemp(dir=".")
    trace.note("mkdtemp", os.stat(directory))
    os.rmdir(directory)
    trace.note("left", os.listdir())


@behaviour(SECTION, "O_TMPFILE is EOPNOTSUPP, after which tempfile takes a name; or it works, and can be linked")
def unnamed_files(place: str, trace: Trace) -> None:
    os.chdir(place)
    for flags in (RW, WR, RW | EXCL):
        answer = outcome(opened, ".", flags | os.O_TMPFILE, 0o600)
        trace.one_of(f"O_TMPFILE {flags}", answer, "EOPNOTSUPP", *([] if trace.mounted else ["ok"]))
    trace.call("to read", opened, ".", RD | os.O_TMPFILE, 0o600)
    trace.call("in nothing", opened, "none", RW | os.O_TMPFILE, 0o600)
    with tempfile.TemporaryFile(dir=".") as file:
        file.write(content(100_000))
        file.seek(0)
        trace.note("tempfile's", [file.read(), os.fstat(file.fileno()), os.listdir()])
    if outcome(opened, ".", RW | os.O_TMPFILE, 0o600) == "ok":
        fd = os.open(".", RW | os.O_TMPFILE, 0o600)
        os.write(fd, b"named later")
        trace.claim("no links", os.fstat(fd).st_nlink == 0)
        system.linkat(system.AT_FDCWD, f"/proc/self/fd/{fd}", "named", system.AT_SYMLINK_FOLLOW)
        trace.claim("named", read("named") == b"named later" and os.fstat(fd).st_nlink == 1)
        os.close(fd)
        os.unlink("named")
    trace.note("nothing is left", os.listdir())


@behaviour(SECTION, "dup, fork and SCM_RIGHTS share one open file: offset, and life after the sender")
def shared_descriptors(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("f", RW | CREAT)
    os.write(fd, b"0123456789")
    copy = os.dup(fd)
    os.lseek(copy, 4, os.SEEK_SET)
    trace.note("one offset", os.read(fd, 2))
    trace.note("in a child", elsewhere(lambda: os.read(fd, 2).decode()))
    trace.note("and back", os.read(fd, 2))
    ours, theirs = socket.socketpair(socket.AF_UNIX)

    def sends(_: Child) -> None:
        ours.close()
        made = os.open("sent", RW | CREAT)
        os.write(made, b"by the sender, ")
        socket.send_fds(theirs, [b"x"], [made])
        os._exit(0)

    sender = Child(sends)
    _, received, _, _ = socket.recv_fds(ours, 1, 1)
    sender.reap()
    os.write(received[0], b"by the receiver")
    trace.note("sent", [read("sent"), os.fstat(received[0])])
    os.close(received[0])
    os.close(copy)
    trace.note("still open", os.pread(fd, 3, 0))
    os.close(fd)


@behaviour(SECTION, "two descriptors of one process, of which one writes nothing: its close changes nothing")
def silent_descriptor(place: str, trace: Trace) -> None:
    os.chdir(place)
    for truncates in (False, True):
        silent = os.open("x.incomplete", WR | CREAT | TRUNC)
        flags = WR | CREAT | (TRUNC if truncates else 0)
        writer = os.open("x.incomplete", flags)
        os.writev(writer, [content(100_000, str(n)) for n in range(24)])
        written = os.fstat(writer).st_mtime_ns
        os.close(writer)
        trace.note(f"size {truncates}", os.fstat(silent).st_size)
        os.fsync(silent)
        os.close(silent)
        trace.note(f"content {truncates}", read("x.incomplete"))
        trace.claim("mtime", os.stat("x.incomplete").st_mtime_ns == written)
        os.rename("x.incomplete", "x")
        trace.note(f"renamed {truncates}", os.stat("x"))


@behaviour(SECTION, "3,000 files are open at once, each with its own content")
def many_open(place: str, trace: Trace) -> None:
    os.chdir(place)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    fds = []
    for number in range(3000):
        fds.append(os.open(str(number), RW | CREAT))
        os.write(fds[-1], b"%d" % number)
    wrong = [n for n, fd in enumerate(fds) if os.pread(fd, 10, 0) != b"%d" % n]
    trace.note("wrong", wrong)
    for number in range(0, 3000, 100):
        os.pwrite(fds[number], b"written", 0)
    trace.note("seen", [read(str(number)) for number in range(0, 3000, 100)])
    # Without names they are there as well, and nothing has to settle them afterwards.
    for number in range(3000):
        os.unlink(str(number))
    trace.note("unlinked", [os.pread(fd, 10, 0) for fd in fds[::100]])
    trace.note("left", os.listdir())
    for fd in fds:
        os.close(fd)


@behaviour(SECTION, "O_CREAT never answers a spurious ENOENT, however often the name comes and goes")
def create_race(place: str, trace: Trace) -> None:
    os.chdir(place)

    def contends(number: int) -> list[str]:
        odd = []
        for _ in range(300):
            answer = outcome(opened, "x.lock", RW | CREAT | NOFOLLOW, 0o664)
            if answer != "ok":
                odd.append(answer)
            answer = outcome(os.unlink, "x.lock")
            if answer not in ("ok", "ENOENT"):
                odd.append(answer)
        return odd

    trace.note("odd", at_once(4, contends))


@behaviour(SECTION, "O_DIRECT opens; aligned reads and writes are exact, others are exact or EINVAL",
           prepare=lambda place: write(f"{place}/f", content(3 * MIB + 123)) and None)
def direct_io(place: str, trace: Trace) -> None:
    os.chdir(place)
    whole = content(3 * MIB + 123)
    fd = os.open("f", RD | os.O_DIRECT)
    buffer = mmap.mmap(-1, MIB)
    trace.note("aligned", [os.preadv(fd, [buffer], offset) for offset in (0, MIB, 3 * MIB)])
    os.preadv(fd, [buffer], MIB)
    trace.note("bytes", buffer[:] == whole[MIB : 2 * MIB])
    for offset in (1, 100, 4097):
        answer = outcome(os.pread, fd, 1000, offset)
        exact = os.path.getsize("f") and answer not in ("EINVAL",)
        if exact:
            with open("f", "rb") as plain:
                plain.seek(offset)
                trace.claim(f"unaligned {offset}", os.pread(fd, 1000, offset) == plain.read(1000))
    os.close(fd)
    fd = os.open("new", RW | CREAT | os.O_DIRECT)
    buffer[:] = whole[:MIB]
    trace.note("written", os.pwritev(fd, [buffer], 0))
    buffer[:] = whole[MIB : 2 * MIB]
    trace.note("and more", os.pwritev(fd, [buffer], MIB))
    trace.note("read back", read("new"))
    os.close(fd)


@behaviour(SECTION, "O_SYNC and O_DSYNC write through; RLIMIT_FSIZE is EFBIG")
def synchronous(place: str, trace: Trace) -> None:
    os.chdir(place)
    for number, flag in enumerate((os.O_SYNC, os.O_DSYNC)):
        fd = os.open(f"f{number}", WR | CREAT | flag)
        trace.note(f"write {number}", os.write(fd, content(10_000)))
        os.close(fd)
        trace.note(f"read {number}", read(f"f{number}"))

    def beyond() -> list:
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        fd = os.open("limited", WR | CREAT)
        return [os.write(fd, b"x" * 10_000), outcome(os.write, fd, b"x"), outcome(os.ftruncate, fd, 9000)]

    trace.note("beyond the limit", elsewhere(beyond))
    trace.note("size", os.stat("limited").st_size)
    reader = os.open("f0", RD)
    trace.note("rest", read_fd(reader))
    os.close(reader)
