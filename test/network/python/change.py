"""Changes files in a directory as programs do: change.py OPERATION DIRECTORY.

Prints, as JSON, all that the program could see. The same operation on files that are still remote
and on the same files on a local disk must print the same and leave the same.
"""

import errno
import fcntl
import hashlib
import json
import mmap
import os
import shutil
import stat
import sys
import threading

TIME_NS = 1_500_000_000_123_456_789


def sha(data):
    return hashlib.sha256(data).hexdigest()[:16]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def facts(path):
    """What stat says, with the time: only of what a local disk would leave alone.

    How many directories lie in one that is not listed yet is not known.
    """
    found = os.lstat(path)
    names = 0 if stat.S_ISDIR(found.st_mode) else found.st_nlink
    return [stat.filemode(found.st_mode), found.st_size, names, str(found.st_mtime_ns)]


def fails(call, *args):
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "no error"


def pwrite(path, data, offset, flags=os.O_RDWR):
    fd = os.open(path, flags)
    try:
        return os.pwrite(fd, data, offset)
    finally:
        os.close(fd)


def in_processes(works):
    """Runs each of `works` in a process of its own, at once; gives what they return."""
    children = []
    for work in works:
        out, into = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(into, work().encode())
            os._exit(0)
        os.close(into)
        children.append((pid, out))
    results = []
    for pid, out in children:
        with os.fdopen(out, "rb") as pipe:
            results.append(pipe.read().decode())
        results.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return results


# What needs no byte of a file: nothing may be fetched for it.


def rename():
    os.rename("model.bin", "renamed.bin")
    return facts("renamed.bin"), fails(os.stat, "model.bin")


def rename_over():
    os.rename("model.bin", "other.bin")
    return facts("other.bin"), sorted(os.listdir("."))


def rename_between_directories():
    os.rename("sub/inner.bin", "inner.bin")
    os.rename("model.bin", "sub/model.bin")
    return facts("inner.bin"), facts("sub/model.bin")


def link():
    os.link("model.bin", "second.bin")
    same = os.stat("model.bin").st_ino == os.stat("second.bin").st_ino
    return same, facts("model.bin"), facts("second.bin")


def link_and_unlink():
    os.link("model.bin", "sub/second.bin")
    os.unlink("model.bin")
    return facts("sub/second.bin")


def unlink():
    os.unlink("model.bin")
    return sorted(os.listdir(".")), fails(os.stat, "model.bin")


def chmod():
    os.chmod("model.bin", 0o600)
    os.chmod("other.bin", 0o555)
    os.chmod("sub", 0o750)
    return facts("model.bin"), facts("other.bin"), facts("sub")


def utimes():
    os.utime("model.bin", ns=(TIME_NS, TIME_NS))
    os.utime("sub", ns=(TIME_NS, TIME_NS + 1))
    return facts("model.bin"), facts("sub")


def truncate_to_zero():
    os.truncate("model.bin", 0)
    return read("model.bin").decode(), os.stat("model.bin").st_size


def open_truncating():
    with open("model.bin", "wb") as file:
        file.write(b"new content")
    os.close(os.open("other.bin", os.O_WRONLY | os.O_TRUNC))
    return read("model.bin").decode(), read("other.bin").decode()


def replace_by_rename():
    with open("model.bin.new", "wb") as file:
        file.write(b"another version")
        os.fsync(file.fileno())
    os.replace("model.bin.new", "model.bin")
    return read("model.bin").decode()


def flock():
    with open("model.bin", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open("model.bin", "rb") as other:
            return fails(fcntl.flock, other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holes():
    """A file on a local disk that was written has none."""
    with open("model.bin", "rb") as file:
        size = os.fstat(file.fileno()).st_size
        hole = os.lseek(file.fileno(), 0, os.SEEK_HOLE)
        data = os.lseek(file.fileno(), size // 2, os.SEEK_DATA)
        return hole == size, data == size // 2


def create_in_unlisted():
    with open("sub/new", "x") as file:
        file.write("new\n")
    return fails(os.open, "sub/inner.bin", os.O_CREAT | os.O_EXCL | os.O_WRONLY), os.listdir("sub") != []


def make_in_unlisted():
    exists = fails(os.mkdir, "sub/deep"), fails(os.symlink, "x", "sub/inner.bin")
    os.mkdir("sub/made")
    os.symlink("inner.bin", "sub/link")
    return exists, sorted(os.listdir("sub"))


def rename_in_unlisted():
    os.rename("sub/inner.bin", "sub/renamed.bin")
    os.rename("sub/deep", "sub/deeper")
    return facts("sub/renamed.bin"), sorted(os.listdir("sub/deeper"))


def rename_into_unlisted():
    os.rename("other.bin", "sub/deep/other.bin")
    return facts("sub/deep/other.bin"), sorted(os.listdir("sub/deep"))


def unlink_in_unlisted():
    os.unlink("sub/inner.bin")
    return sorted(os.listdir("sub"))


def rmdir_in_unlisted():
    refused = fails(os.rmdir, "sub/deep")
    os.rmdir("sub/empty")
    return refused, sorted(os.listdir("sub"))


def rmdir_of_unlisted():
    return fails(os.rmdir, "sub"), fails(os.unlink, "sub")


def remove_unlisted_tree():
    shutil.rmtree("sub")
    return sorted(os.listdir("."))


def rename_unlisted():
    os.rename("sub", "moved")
    return sorted(os.listdir("moved")), facts("moved/inner.bin")


def move_unlisted_unseen():
    """Neither name is looked into, so the next root has the directory as it came."""
    os.mkdir("holder")
    os.rename("sub", "holder/sub")
    return sorted(os.listdir("holder"))


def rename_over_unlisted():
    os.mkdir("made")
    refused = fails(os.rename, "made", "sub")
    os.mkdir("free")
    os.rename("sub", "free")
    return refused, sorted(os.listdir("free"))


# What needs bytes.


def append():
    with open("model.bin", "ab") as file:
        file.write(b"appended")
    return sha(read("model.bin"))


def append_from_processes():
    def work():
        with open("model.bin", "ab", buffering=0) as file:
            for _ in range(50):
                file.write(b"appended")
        return "done"

    done = in_processes([work] * 4)
    data = read("model.bin")
    return done, len(data), sha(data)


def write_in_the_middle():
    written = pwrite("model.bin", b"x" * 11, 1024 * 1024 - 5)
    pwrite("other.bin", b"y", 0, os.O_WRONLY)
    return written, sha(read("model.bin")), sha(read("other.bin"))


def write_past_the_end():
    pwrite("model.bin", b"far", os.stat("model.bin").st_size + 10_000)
    return sha(read("model.bin"))


def truncate_down():
    os.truncate("model.bin", 1024 * 1024 + 5)
    return os.stat("model.bin").st_size, sha(read("model.bin"))


def truncate_up():
    os.truncate("model.bin", os.stat("model.bin").st_size + 5000)
    with open("other.bin", "rb+") as file:
        file.truncate(3 * 1024 * 1024)
    return sha(read("model.bin")), sha(read("other.bin"))


def truncate_to_same():
    os.truncate("model.bin", os.stat("model.bin").st_size)
    return sha(read("model.bin"))


def fallocate():
    fd = os.open("model.bin", os.O_RDWR)
    size = os.fstat(fd).st_size
    os.posix_fallocate(fd, size - 10, 4096)
    os.close(fd)
    return os.stat("model.bin").st_size - size, sha(read("model.bin"))


def write_through_a_link():
    os.link("model.bin", "second.bin")
    pwrite("second.bin", b"through the link", 500)
    return sha(read("model.bin")), read("model.bin") == read("second.bin")


def unlink_while_open():
    with open("model.bin", "rb") as file:
        start = file.read(100)
        os.unlink("model.bin")
        rest = file.read()
        return sha(start + rest), os.fstat(file.fileno()).st_nlink


def write_while_unlinked():
    fd = os.open("model.bin", os.O_RDWR)
    os.unlink("model.bin")
    os.pwrite(fd, b"nobody sees it", 1000)
    data = os.pread(fd, 4 * 1024 * 1024, 0)
    os.close(fd)
    return sha(data), len(data)


def rename_over_while_open():
    with open("other.bin", "rb") as replaced, open("model.bin", "rb") as moved:
        os.rename("model.bin", "other.bin")
        return sha(replaced.read()), sha(moved.read()), sha(read("other.bin"))


def remove_tree_while_open():
    with open("sub/inner.bin", "rb") as file:
        shutil.rmtree("sub")
        return sha(file.read()), os.path.exists("sub")


def chmod_and_utimes_then_read():
    os.chmod("model.bin", 0o640)
    os.utime("model.bin", ns=(TIME_NS, TIME_NS))
    data = sha(read("model.bin"))
    return data, facts("model.bin")


def read_then_chmod_and_utimes():
    data = sha(read("model.bin"))
    os.chmod("model.bin", 0o640)
    os.utime("model.bin", ns=(TIME_NS, TIME_NS))
    return data, facts("model.bin")


def chmod_and_utimes_while_read():
    with open("model.bin", "rb") as file:
        start = file.read(10)
        os.fchmod(file.fileno(), 0o400)
        os.utime(file.fileno(), ns=(TIME_NS, TIME_NS))
        return sha(start + file.read()), facts("model.bin")


def copy():
    shutil.copyfile("model.bin", "copied.bin")
    shutil.copy2("other.bin", "sub/copied.bin")
    return sha(read("copied.bin")), facts("sub/copied.bin")


def copy_range():
    source, target = os.open("model.bin", os.O_RDONLY), os.open("part.bin", os.O_RDWR | os.O_CREAT)
    copied = 0
    while copied < 1_000_000:
        copied += os.copy_file_range(source, target, 1_000_000 - copied, 500_000 + copied)
    return copied, sha(read("part.bin"))


def map_and_read():
    with open("model.bin", "rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    last = mapping[-100:]
    return sha(last), sha(mapping[:])


def map_and_write():
    """The descriptor is closed before the stores, as torch and numpy do."""
    with open("model.bin", "rb+") as file:
        mapping = mmap.mmap(file.fileno(), 0)
    for offset in (0, 1024 * 1024 - 2, len(mapping) - 4):
        mapping[offset : offset + 4] = b"stor"
    mapping.flush()
    mapping.close()
    return sha(read("model.bin"))


def map_privately():
    with open("model.bin", "rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapping[:4] = b"mine"
    return sha(mapping[:]), sha(read("model.bin"))


def read_ranges_in_processes():
    size = os.stat("model.bin").st_size
    part = size // 6 + 1

    def work(start):
        def run():
            fd = os.open("model.bin", os.O_RDONLY)
            return sha(os.pread(fd, part, start))

        return run

    return in_processes([work(start) for start in (*range(0, size, part), 0, size - 10)])


def read_during_completion():
    """Readers that go on, each with its own descriptor, while a writer needs all of the file."""
    size = os.stat("model.bin").st_size
    started, problems = threading.Barrier(4), []
    expected = {}

    def reader(step):
        with open("model.bin", "rb") as file:
            started.wait()
            for offset in range(0, size - 100, step):
                data = os.pread(file.fileno(), 100, offset)
                if len(data) != 100 or expected.setdefault(offset, data) != data:
                    problems.append(offset)

    readers = [threading.Thread(target=reader, args=(step,)) for step in (9973, 19946, 29919)]
    for thread in readers:
        thread.start()
    started.wait()
    with open("model.bin", "ab") as file:
        file.write(b"the end")
    for thread in readers:
        thread.join()
    return problems, sha(read("model.bin"))


def read_and_write_one_descriptor():
    with open("model.bin", "rb+", buffering=0) as file:
        first = file.read(10)
        file.write(b"0123456789")
        file.seek(0)
        return sha(first), sha(file.read())


FREE = [
    rename, rename_over, rename_between_directories, link, link_and_unlink, unlink, chmod, utimes,
    truncate_to_zero, open_truncating, replace_by_rename, flock, holes, create_in_unlisted,
    make_in_unlisted, rename_in_unlisted, rename_into_unlisted, unlink_in_unlisted,
    rmdir_in_unlisted, rmdir_of_unlisted, remove_unlisted_tree, rename_unlisted,
    move_unlisted_unseen, rename_over_unlisted,
]  # fmt: skip
FETCHING = [
    append, append_from_processes, write_in_the_middle, write_past_the_end, truncate_down,
    truncate_up, truncate_to_same, fallocate, write_through_a_link, unlink_while_open,
    write_while_unlinked, rename_over_while_open, remove_tree_while_open,
    chmod_and_utimes_then_read, read_then_chmod_and_utimes, chmod_and_utimes_while_read, copy,
    copy_range, map_and_read, map_and_write, map_privately, read_ranges_in_processes,
    read_during_completion, read_and_write_one_descriptor,
]  # fmt: skip
OPERATIONS = {operation.__name__: operation for operation in FREE + FETCHING}

if sys.argv[1] == "--names":
    print(json.dumps({"free": [o.__name__ for o in FREE], "fetching": [o.__name__ for o in FETCHING]}))
else:
    os.chdir(sys.argv[2])
    print(json.dumps(OPERATIONS[sys.argv[1]]()))
