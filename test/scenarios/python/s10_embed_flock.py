"""default_embed's conversion lock: contention, release, the orphan of the unlink race, and a kill."""

import errno
import fcntl
import os

from actor import Actor
from plock import PLock
from trace import blob

NAME = ".embed_conversion.lock"


def locker(path):
    """One process that plays its part of the lock step by step."""
    held = {}

    def open_it():
        if "fd" in held:
            os.close(held["fd"])
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        held["fd"] = os.open(path, flags, 0o666)

    return {
        "open": open_it,
        "lock": lambda: fcntl.flock(held["fd"], fcntl.LOCK_EX | fcntl.LOCK_NB),
        "unlock": lambda: fcntl.flock(held["fd"], fcntl.LOCK_UN),
        "close": lambda: os.close(held.pop("fd")),
        "unlink": lambda: os.unlink(path),
        "links": lambda: os.fstat(held["fd"]).st_nlink,
        "ino": lambda: os.fstat(held["fd"]).st_ino,
        "write": lambda text: os.write(held["fd"], text.encode()),
        "truncate": lambda: os.ftruncate(held["fd"], 0),
        "sync": lambda: os.fsync(held["fd"]),
    }


def play(path, trace):
    a, b, c = (Actor(locker(path)) for _ in range(3))
    step = lambda name, actor, *call: trace.fact(name, actor(*call))
    step("A opens", a, "open")
    step("A locks", a, "lock")
    step("A has one link", a, "links")
    for turn in range(3):
        step(f"B opens, truncating {turn}", b, "open")
        step(f"B is refused {turn}", b, "lock")
    step("A unlocks", a, "unlock")
    step("A closes", a, "close")
    step("A unlinks", a, "unlink")
    step("B locks the orphan", b, "lock")
    step("which has no name", b, "links")
    trace.call("no name is left", os.stat, path)
    step("C opens anew", c, "open")
    step("C locks too", c, "lock")
    step("C has a name", c, "links")
    trace.fact("the name is C's", os.stat(path).st_ino == c("ino"))
    trace.fact("and not B's", c("ino") != b("ino"))
    for call in (["write", "orphan"], ["truncate"], ["write", "x"], ["sync"], ["links"], ["unlock"]):
        step(f"B on the orphan: {call}", b, *call)
    step("B opens what C holds", b, "open")
    step("B is refused by C", b, "lock")
    c.kill()
    step("B locks what the killed one held", b, "lock")
    trace.fact("the same file", os.stat(path).st_ino == b("ino"))
    b("close")
    a.end()
    b.end()


def convert(target, path, fd):
    """The two turns of a conversion: the tokenizer, then the model, if nobody has made them."""
    lock = PLock(path)
    for name, size in (("tokenizer.xml", 20_000), ("model.bin", 2_000_000)):
        with lock:
            made = os.path.join(target, name)
            if not os.path.exists(made):
                with open(made, "wb") as file:
                    file.write(blob(size, size))
    os.write(fd, bytes(sorted(lock.seen)))


def contend(target, path, trace):
    """Four processes that want the same conversion."""
    seen, report = os.pipe()
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                convert(target, path, report)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    os.close(report)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    trace.fact("all came through", codes)
    with os.fdopen(seen, "rb") as pipe:
        odd = set(pipe.read()) - {errno.EWOULDBLOCK}
    trace.fact("errnos other than EWOULDBLOCK", sorted(odd))


def run(root, trace):
    target = os.path.join(root, ".cache", "openvino_models", "org--embed", "openvino_int8")
    os.makedirs(target)
    path = os.path.join(os.path.dirname(target), NAME)
    play(path, trace)
    trace.pause("commit")
    contend(target, path, trace)
    # Who holds the lock while a root is made, and dies: the file stays, and travels nowhere.
    holder = Actor(locker(path))
    holder("open")
    holder("lock")
    trace.pause("commit")
    holder.kill()
    check(root, trace, second=False)


def check(root, trace, second):
    trace.tree("cache", os.path.join(root, ".cache"), skip=lambda path: path.endswith(NAME))
    lock = os.path.join(root, ".cache", "openvino_models", "org--embed", NAME)
    if not second:
        trace.stat("lock", lock)
    trace.claim("no lock travels", not second or not os.path.lexists(lock))
