"""Named temporary files that a child writes, unnamed ones, and private directories."""

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile

CHILD = "import sys; open(sys.argv[1], 'r+b' if sys.argv[2] == 'keep' else 'wb').write(b'c' * int(sys.argv[3]))"


def run(root, trace):
    with tempfile.NamedTemporaryFile(dir=root, suffix=".ogg") as file:
        trace.fact("mode", oct(stat.S_IMODE(os.fstat(file.fileno()).st_mode)))
        for size in (100, 1_500_000, 10):
            subprocess.run([sys.executable, "-c", CHILD, file.name, "truncate", str(size)], check=True)
            trace.fact(f"size seen by the first descriptor {size}", os.fstat(file.fileno()).st_size)
            file.seek(0)
            trace.fact(f"bytes seen by it {size}", file.read() == b"c" * size)
        file.seek(5)
        file.write(b"parent")
        file.flush()
        trace.fact("seen by name", open(file.name, "rb").read().decode())
        name = file.name
    trace.fact("removed at close", not os.path.exists(name))

    try:
        descriptor = os.open(root, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.write(descriptor, b"no name")
        trace.claim("O_TMPFILE works", os.pread(descriptor, 100, 0) == b"no name")
        os.close(descriptor)
    except OSError as error:
        trace.claim("O_TMPFILE is refused as unsupported", error.errno == errno.EOPNOTSUPP)

    with tempfile.TemporaryFile(dir=root) as file:
        trace.fact("links of an unnamed file", os.fstat(file.fileno()).st_nlink)
        file.write(b"x" * 3_000_000)
        file.seek(1_000_000)
        file.write(b"y" * 10)
        file.seek(999_995)
        trace.fact("read back without a name", file.read(20).decode())
        file.truncate(100)
        trace.fact("truncated without a name", os.fstat(file.fileno()).st_size)
    path = os.path.join(root, "unlinked")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, b"first")
    trace.fact("links before", os.fstat(descriptor).st_nlink)
    os.unlink(path)
    trace.fact("links after unlink", os.fstat(descriptor).st_nlink)
    trace.fact("nothing listed", os.listdir(root))
    os.write(descriptor, b" second")
    trace.fact("written after unlink", os.pread(descriptor, 100, 0).decode())
    trace.call("fsync after unlink", os.fsync, descriptor)
    trace.call("fchmod after unlink", os.fchmod, descriptor, 0o640)
    os.close(descriptor)

    directory = tempfile.mkdtemp(dir=root)
    trace.fact("mode of mkdtemp", oct(stat.S_IMODE(os.stat(directory).st_mode)))
    with open(os.path.join(directory, "a"), "w") as file:
        file.write("a")
    shutil.rmtree(directory)
    with open(os.path.join(root, "kept"), "w") as file:
        file.write("kept")
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
