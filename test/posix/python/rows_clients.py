"""What clients do to a cache directory, each as its source does it."""

import errno
import json
import mmap
import os
import shutil
import tempfile
import threading
import uuid

import system
from children import elsewhere
from files import MIB, content, digest, listing, opened, read, write
from registry import behaviour
from trace import Trace, link_count, outcome

SECTION = "Clients"
RD, WR, RW = os.O_RDONLY, os.O_WRONLY, os.O_RDWR
CREAT, EXCL, TRUNC = os.O_CREAT, os.O_EXCL, os.O_TRUNC


@behaviour(SECTION, "triton: files replaced into the parent, then removedirs: the emptied one goes, the parent stays")
def emptied_by_rename(place: str, trace: Trace) -> None:
    os.chdir(place)
    for turn in range(10):
        temporary = f"cache/tmp.pid_1_{turn}"
        os.makedirs(temporary)
        for name in ("kernel.so", "kernel.json"):
            write(f"{temporary}/{name}", content(5000, f"{turn} {name}"))
            os.replace(f"{temporary}/{name}", f"cache/{name}")
            trace.note("at once elsewhere", elsewhere(digest, f"cache/{name}"))
        trace.call("the emptied one", os.rmdir, temporary)
        trace.call("its parent", os.rmdir, "cache")
    os.makedirs("one/two/three")
    write("one/stays")
    trace.call("removedirs", os.removedirs, "one/two/three")
    trace.note("left", listing("."))
    for name in list(os.listdir("cache")):
        os.unlink(f"cache/{name}")
    trace.note("kagglehub: empty at once", [os.listdir("cache"), elsewhere(os.listdir, "cache")])
    trace.call("and gone", os.rmdir, "cache")


def make_dataset(place: str) -> None:
    os.mkdir(f"{place}/set")
    for number in range(3):
        write(f"{place}/set/part-{number}.arrow", content(200_000, f"old {number}"))


@behaviour(SECTION, "datasets: built in x.incomplete/, which takes the place of a directory that is mapped",
           prepare=make_dataset)
def incomplete_directory(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("set/part-1.arrow", RD)
    mapping = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    os.close(fd)
    os.mkdir("set.incomplete")
    for number in range(3):
        with tempfile.NamedTemporaryFile("wb", dir="set.incomplete", delete=False) as part:
            part.write(content(100_000, f"new {number}"))
        shutil.move(part.name, f"set.incomplete/part-{number}.arrow")
        os.chmod(f"set.incomplete/part-{number}.arrow", 0o644)
    trace.call("onto what is there", os.rename, "set.incomplete", "set")
    trace.call("the old one goes", shutil.rmtree, "set")
    os.rename("set.incomplete", "set")
    trace.note("the mapping keeps the old", mapping[:])
    trace.note("new", listing("set"))
    trace.note("elsewhere", elsewhere(lambda: [os.path.getsize(f"set/part-{n}.arrow") for n in range(3)]))
    times = [os.path.getmtime(f"set/part-{number}.arrow") for number in range(3)]
    trace.pause("commit-all")
    trace.claim("the fingerprint's mtime stays", times == [os.path.getmtime(f"set/part-{n}.arrow") for n in range(3)])
    trace.note("attributes", [os.stat(f"set/part-{number}.arrow") for number in range(3)])


@behaviour(SECTION, "OpenVINO: a blob written in place, seen at once, chmod 0440 before it is settled, then mapped")
def read_only_at_once(place: str, trace: Trace) -> None:
    os.chdir(place)
    name = "1234567890.blob"
    with open(name, "wb", buffering=0) as blob:
        for number in range(8):
            blob.write(content(65_536, str(number)))
        blob.flush()
        trace.note("visible before close", [os.path.exists(name), elsewhere(os.path.getsize, name)])
        os.chmod(name, 0o440)
        blob.write(b"the rest")
    trace.note("closed", [os.stat(name), digest(name)])
    trace.pause("commit-all")
    trace.note("settled", [os.stat(name), digest(name)])
    with open(name, "rb") as blob:
        mapping = mmap.mmap(blob.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    trace.note("mapped", mapping[:])
    # TensorRT and SNPE write their results over the old ones, in place.
    os.chmod(name, 0o640)
    with open(name, "r+b") as blob:
        blob.write(b"in place")
    trace.note("in place", [mapping[:20], os.stat(name), digest(name)])


@behaviour(SECTION, "Ollama: ftruncate to the full size, sixteen writers of parts, part files, rename, read back")
def parts_of_one_file(place: str, trace: Trace) -> None:
    os.chdir(place)
    total, parts = 2 * MIB + 77, 16
    whole = content(total)
    fd = os.open("sha256-x-partial", RW | CREAT, 0o644)
    os.ftruncate(fd, total)
    trace.note("as large as it will be", os.stat("sha256-x-partial"))

    def downloads(number: int) -> None:
        begin, end = total * number // parts, total * (number + 1) // parts
        for at in range(begin, end, 32_768):
            os.pwrite(fd, whole[at : min(at + 32_768, end)], at)
            write(f"sha256-x-partial-{number}", json.dumps({"done": at}).encode())

    threads = [threading.Thread(target=downloads, args=(number,)) for number in range(parts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.close(fd)
    for number in range(parts):
        trace.note("part", read(f"sha256-x-partial-{number}"))
        os.unlink(f"sha256-x-partial-{number}")
    os.rename("sha256-x-partial", "sha256-x")
    trace.claim("read back", read("sha256-x") == whole)
    os.utime("sha256-x", ns=(1, 1_700_000_000_000_000_005))
    os.link("sha256-x", "split")
    trace.note("left", [listing("."), os.stat("split"), os.stat("split").st_mtime_ns])


@behaviour(SECTION, "huggingface_hub: the probes for symbolic links and for the umask, CACHEDIR.TAG, login's chmod")
def hub_probes(place: str, trace: Trace) -> None:
    os.chdir(place)
    probe = tempfile.mkdtemp(dir=".")
    write(f"{probe}/dummy_file_src")
    os.symlink("dummy_file_src", f"{probe}/dummy_file_dst")
    trace.note("links", os.readlink(f"{probe}/dummy_file_dst"))
    shutil.rmtree(probe)
    trace.note("nothing is left", os.listdir())
    os.umask(0o027)
    partial = write("x.incomplete", content(1000))
    for turn in range(3):
        name = f"tmp_{uuid.uuid4()}"
        write(name, mode=0o666)
        mode = os.stat(name).st_mode & 0o777
        os.chmod(partial, mode)
        os.unlink(name)
        trace.note(f"umask {turn}", [oct(mode), os.stat(partial)])
    write("CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55")
    write("token", b"hf_not_a_token", 0o600)
    os.chmod(".", 0o700)
    trace.note("login", [os.stat("token"), os.stat(".")])
    os.chmod(".", 0o755)


def make_streams(place: str) -> None:
    for number in range(100):
        write(f"{place}/{number}", content(5000 + number, str(number)))


@behaviour(SECTION, "transformers.js: a hundred streams stay open unread while names move; each then gives its file",
           prepare=make_streams)
def idle_streams(place: str, trace: Trace) -> None:
    os.chdir(place)
    before = [os.stat(str(number)).st_blocks for number in range(100)]
    streams = [os.open(str(number), RD) for number in range(100)]
    if trace.way == "remote":
        after = [os.fstat(stream).st_blocks for stream in streams]
        trace.claim("opening fetches nothing", after == before)
    for number in range(0, 100, 4):
        os.unlink(str(number))
        os.rename(str(number + 1), f"{number + 1}.moved")
        write("new", b"new")
        os.rename("new", str(number + 2))
    wrong = [n for n, fd in enumerate(streams) if os.read(fd, MIB) != content(5000 + n, str(n))]
    trace.note("wrong", wrong)
    trace.note("links", [link_count(os.fstat(stream)) for stream in streams])
    for stream in streams:
        os.close(stream)
    trace.note("left", listing("."))


@behaviour(SECTION, "git-lfs: an exclusive temporary name renamed over, objects of mode 0444, linked or copied out")
def large_objects(place: str, trace: Trace) -> None:
    os.chdir(place)
    os.makedirs("tmp")
    os.makedirs("objects/ab")
    fd = os.open("tmp/object", RW | CREAT | EXCL, 0o600)
    os.write(fd, content(100_000))
    part = write("tmp/object.part", content(200_000))
    os.rename(part, "tmp/object")
    trace.note("the temporary one lives on unnamed", [os.fstat(fd), os.pread(fd, 100_000, 0)])
    os.close(fd)
    os.chmod("tmp/object", 0o444)
    os.rename("tmp/object", "objects/ab/abcd")
    trace.call("linked out", os.link, "objects/ab/abcd", "working-copy")
    shutil.copyfile("objects/ab/abcd", "copied")
    trace.note("all", [os.stat("working-copy"), os.stat("copied"), listing(".")])
    os.truncate("copied", 0)
    trace.note("emptied", os.stat("copied"))


@behaviour(SECTION, "safetensors: ftruncate first, write, rename over the file that is mapped by the same process",
           prepare=lambda place: write(f"{place}/model.safetensors", content(MIB, "old")) and None)
def saved_over_mapped(place: str, trace: Trace) -> None:
    os.chdir(place)
    fd = os.open("model.safetensors", RD)
    mapping = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    os.close(fd)
    new = os.open(".tmpA1b2C3", RW | CREAT | EXCL, 0o600)
    os.ftruncate(new, 2 * MIB)
    for at in range(0, 2 * MIB, 100_000):
        # The new tensors are read from the old mapping.
        os.pwrite(new, mapping[at // 2 : at // 2 + 50_000] * 2, at)
    os.ftruncate(new, 2 * MIB)
    os.close(new)
    os.rename(".tmpA1b2C3", "model.safetensors")
    trace.note("old", mapping[:])
    trace.note("new", [os.stat("model.safetensors"), digest("model.safetensors"), os.listdir()])


@behaviour(SECTION, "the errno of what a cache finds in its way is the local disk's")
def in_the_way(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("blobs")
    os.mkdir("refs")
    os.symlink("refs", "snapshots")
    trace.call("a file where a directory is wanted", os.makedirs, "blobs/x", exist_ok=True)
    trace.call("a directory where a ref is wanted", opened, "refs", WR | CREAT | TRUNC)
    trace.call("replaced by a file", os.replace, "blobs", "refs")
    trace.call("a link where a directory is wanted", os.mkdir, "snapshots")
    trace.call("a listing of a file", os.listdir, "blobs")
    trace.call("a link that exists", os.symlink, "x", "snapshots")
    trace.call("statfs of nothing", os.statvfs, "none/at/all")
    trace.call("copied onto itself", lambda: shutil.copyfile("blobs", "blobs") and None)
    trace.note("no stray errno", outcome(os.stat, "blobs/x") == errno.errorcode[errno.ENOTDIR])
    trace.call("clone", system.renameat2, "blobs", "none/x", 0)
