"""hf_whisper and hf_t5 remove a directory as if it were a file; nothing may be lost by that."""

import os


def run(root, trace):
    directory = os.path.join(root, "openvino_model")
    os.makedirs(os.path.join(directory, "sub"))
    file = os.path.join(directory, "model.bin")
    with open(file, "wb") as out:
        out.write(b"weights" * 1000)
    trace.call("remove a directory", os.remove, directory)
    trace.call("mkdir of what exists", os.mkdir, directory)
    trace.call("mkdir over a file", os.mkdir, file)
    trace.call("rmdir of what is not empty", os.rmdir, directory)
    trace.call("unlink of nothing", os.unlink, os.path.join(directory, "none"))
    trace.call("rmdir of nothing", os.rmdir, os.path.join(directory, "none"))
    trace.call("rmdir of a file", os.rmdir, file)
    trace.call("open a directory to write", os.open, directory, os.O_WRONLY)
    trace.call("create over a directory", os.open, directory, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    trace.call("listdir of a file", os.listdir, file)
    trace.call("a path through a file", os.stat, os.path.join(file, "x"))
    trace.call("rename a directory over a file", os.rename, os.path.join(directory, "sub"), file)
    trace.call("rename a file over a directory", os.rename, file, os.path.join(directory, "sub"))
    trace.call("rmdir with a slash", os.rmdir, os.path.join(directory, "sub") + "/")
    trace.call("exclusive create of what exists", os.open, file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    link = os.path.join(directory, "link")
    os.symlink("model.bin", link)
    trace.call("open a link without following", os.open, link, os.O_RDONLY | os.O_NOFOLLOW)
    trace.call("open a file as a directory", os.open, file, os.O_RDONLY | os.O_DIRECTORY)
    trace.call("name too long", os.mkdir, os.path.join(directory, "n" * 256))
    trace.call("longest name", os.mkdir, os.path.join(directory, "ü" * 127 + "n"))
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("root", root)
