"""Whole programs: cp, tar, rsync-like moves, find, git, sed -i."""

import os
import shutil
import subprocess

from files import content, digest, listing, read, write
from registry import behaviour
from trace import Trace

SECTION = "Programs"
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b.c",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b.c",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}


def shell(command: str, **named: str) -> str:
    """What the command prints. @raises CalledProcessError"""
    environment = {**ENVIRONMENT, **named}
    done = subprocess.run(["sh", "-c", command], check=True, capture_output=True, env=environment)
    return done.stdout.decode()


def make_tree(place: str) -> None:
    os.makedirs(f"{place}/tree/sub/empty")
    for number in range(20):
        write(f"{place}/tree/sub/file {number}", content(number * 5003, str(number)))
        os.chmod(f"{place}/tree/sub/file {number}", 0o600 + number)
        os.utime(f"{place}/tree/sub/file {number}", ns=(1, 1_600_000_000_000_000_001 + number))
    os.symlink("sub/file 3", f"{place}/tree/link")
    os.chmod(f"{place}/tree/sub/empty", 0o711)


@behaviour(SECTION, "cp -a, tar, diff -r, find, du and rm -rf see and make the same tree", prepare=make_tree)
def coreutils(place: str, trace: Trace) -> None:
    os.chdir(place)
    out = trace.scratch
    shell(f"cp -a tree '{out}/copy' && cp -a '{out}/copy' back && diff -r --no-dereference tree back")
    shell("cp --reflink=auto --sparse=auto -r tree reflinked && diff -r --no-dereference tree reflinked")
    shell(f"tar cf '{out}/t.tar' tree && mkdir untarred && tar xpf '{out}/t.tar' -C untarred")
    shell("diff -r --no-dereference tree untarred/tree && tar df '%s/t.tar'" % out)
    find = "find . -type f -printf '%m %s %P %T@\\n' -o -type l -printf '%P -> %l\\n' | sort"
    trace.note("find", shell(f"cd tree && {find}").splitlines())
    trace.note("find back", shell(f"cd back && {find}").splitlines())
    trace.note("find untarred", shell(f"cd untarred/tree && {find}").splitlines())
    trace.note("empty directory", [os.stat("back/sub/empty"), os.stat("untarred/tree/sub/empty")])
    trace.note("sizes", shell("find tree -type f -printf '%s\\n' | sort -n").split())
    shell("rm -rf back untarred reflinked")
    trace.note("left", listing("."))


@behaviour(SECTION, "sed -i, in-place rewriting of an executable script, atomic saves", prepare=make_tree)
def editing(place: str, trace: Trace) -> None:
    os.chdir(place)
    write("script.sh", b"#!/bin/sh\necho one\n", 0o755)
    trace.note("runs", shell("./script.sh"))
    shell("sed -i s/one/two/ script.sh")
    trace.note("edited", [shell("./script.sh"), os.stat("script.sh")])
    text = read("script.sh").decode().replace("two", "three")
    with open("script.sh", "w") as script:
        script.write(text)
    trace.note("in place", [shell("./script.sh"), os.stat("script.sh")])
    shell("cat 'tree/sub/file 5' >> script.sh && truncate -s 100 script.sh && dd if=/dev/zero of=script.sh"
          " bs=10 seek=20 count=1 conv=notrunc 2>/dev/null")
    trace.note("mangled", [os.stat("script.sh"), digest("script.sh")])
    shutil.copy2("tree/sub/file 7", "copied")
    trace.note("copy2", [os.stat("copied"), os.stat("copied").st_mtime_ns, digest("copied")])
    shell("install -m 0640 copied installed && ln -sfn tree current && ln -sfn tree/sub current")
    trace.note("installed", [os.stat("installed"), os.readlink("current")])


@behaviour(SECTION, "git: init, commits, branches, gc, fsck and a clone, to the same object names")
def git(place: str, trace: Trace) -> None:
    os.chdir(place)
    if shutil.which("git") is None:
        return
    home = trace.scratch
    shell("git init -q -b main repo", HOME=home)
    os.chdir("repo")
    for turn in range(8):
        for number in range(10):
            write(f"f{number}", content(turn * 1000 + number * 77, f"{turn} {number}"))
        shell(f"git add -A && git commit -q -m 'turn {turn}'", HOME=home)
    shell("git checkout -q -b side HEAD~3 && git mv f1 g1 && git commit -q -m moved", HOME=home)
    shell("git checkout -q main && git merge -q -m merged side || git commit -qam merged", HOME=home)
    trace.note("head", shell("git rev-parse HEAD HEAD^{tree}", HOME=home))
    shell("git gc -q --prune=now", HOME=home)
    trace.note("fsck", shell("git fsck --full --strict 2>&1", HOME=home))
    shell("git clone -q . ../clone && cd ../clone && git fsck 2>&1", HOME=home)
    trace.note("status", [shell("git status --porcelain", HOME=home),
                          shell("cd ../clone && git status --porcelain", HOME=home)])
    trace.note("tree", sorted(name for name in os.listdir() if name != ".git"))
