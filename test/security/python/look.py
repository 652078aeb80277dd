"""What an ordinary user tries in a directory of the mount that is being exchanged for a link:
look.py DIRECTORY TRIES UID, begun as root. He is refused or served of the tree; prints what he got that is neither."""

import json
import os
import sys

directory, tries, user = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
served = 0
wrong: list[str] = []


def attempt(what: str, function) -> None:
    """Runs one operation; its errno is an answer like another."""
    global served
    try:
        result = function()
    except OSError:
        return
    served += 1
    if result is not None and "outside" in str(result):
        wrong.append(f"{what}: {result}")


def read() -> str:
    with open(f"{directory}/x") as file:
        return file.read()


def write(number: int) -> None:
    with open(f"{directory}/new-{number % 8}", "w") as file:
        file.write("from within")


for number in range(tries):
    attempt("read", read)
    attempt("list", lambda: os.listdir(directory))
    attempt("write", lambda: write(number))
    attempt("link", lambda: os.readlink(f"{directory}/l"))
    attempt("mkdir", lambda: os.mkdir(f"{directory}/made-{number % 8}"))
    attempt("rmdir", lambda: os.rmdir(f"{directory}/made-{number % 8}"))
    attempt("rename", lambda: os.rename(f"{directory}/new-{number % 8}", f"{directory}/moved"))
    attempt("unlink", lambda: os.unlink(f"{directory}/moved"))
    attempt("chmod", lambda: os.chmod(f"{directory}/x", 0o666))
    attempt("truncate", lambda: os.truncate(f"{directory}/kept", 0))
print(json.dumps({"served": served, "wrong": wrong[:10]}))
