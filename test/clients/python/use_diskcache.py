"""Two processes in one diskcache.Cache: SQLite in WAL mode, larger values as files beside it.

usage: use_diskcache.py write|work|read DIRECTORY [NUMBER]

`write` starts two processes that `work` at the same time, kills a third one in a transaction, and
checks the cache. The names of value files are random, so this program describes them itself.
Prints one JSON line.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys

import diskcache

PROCESSES, KEYS, STEPS = 2, 60, 80
#: Larger than diskcache's own limit for a value in the database, 32 KiB.
LARGE = 70_000


def open_cache(directory: str) -> diskcache.Cache:
    return diskcache.Cache(os.path.join(directory, "cache"), timeout=60, tag_index=True)


def value_of(owner: int, key: int):
    seed = f"{owner}/{key} ".encode()
    return seed * (LARGE // len(seed)) if key % 5 == 0 else {"key": key, "owner": owner, "text": "small " * 50}


def work(directory: str, number: str) -> None:
    owner = int(number)
    with open_cache(directory) as cache:
        for key in range(KEYS):
            cache.set((owner, key), value_of(owner, key), tag="even" if key % 2 == 0 else "odd")
            # A value that is a file is written again, read and removed, as others look.
            if key % 10 == 0:
                cache.set(("shared", key), value_of(9, key))
                cache.get(("shared", key))
        for _ in range(STEPS):
            cache.incr("count")
            with cache.transact():
                cache["one"] = cache.get("one", 0) + 1
                cache["two"] = cache.get("two", 0) + 1
        lock = diskcache.Lock(cache, "lock")
        for step in range(10):
            with lock:
                cache["locked"] = cache.get("locked", 0) + 1
            cache.push(f"{owner} {step}", prefix="queue")
        for key in range(0, KEYS, 3):
            del cache[(owner, key)]
    print("done", flush=True)


def hang(directory: str) -> None:
    with open_cache(directory) as cache, cache.transact():
        for key in range(40):
            cache[("never", key)] = "lost" * 100
        print("hanging", flush=True)
        sys.stdin.read()


def start(verb: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, __file__, verb, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def describe(cache: diskcache.Cache) -> dict:
    found = {str(key): hashlib.sha256(repr(cache[key]).encode()).hexdigest()[:16] for key in sorted(cache, key=str)}
    queued = {f"{cache[key]}" for key in cache if isinstance(key, str) and key.startswith("queue")}
    files = {}
    for directory, _, names in os.walk(cache.directory):
        for name in names:
            if name.endswith(".val"):
                with open(os.path.join(directory, name), "rb") as file:
                    digest = hashlib.sha256(file.read()).hexdigest()[:16]
                files[digest] = files.get(digest, 0) + 1
    return {
        "values": {key: value for key, value in found.items() if not key.startswith("queue")},
        "queued": sorted(queued),
        "files": dict(sorted(files.items())),
        "counts": [cache[key] for key in ("count", "one", "two", "locked")],
        # Its own check of database and files; it repairs nothing, and warns of nothing.
        "warnings": [str(warning.message) for warning in cache.check()],
        "mode": cache.sqlite_journal_mode,
    }


def write(directory: str) -> dict:
    workers = [start("work", directory, str(number)) for number in range(PROCESSES)]
    codes = [(worker.communicate()[0], worker.returncode) for worker in workers]
    if any(code != 0 for _, code in codes):
        raise SystemExit(f"workers ended with {codes}")
    victim = start("hang", directory)
    line = victim.stdout.readline()
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    if line != b"hanging\n":
        raise SystemExit("the process to kill ended by itself")
    with open_cache(directory) as cache:
        evicted = cache.evict("odd")
        return {"evicted": evicted, **describe(cache)}


def read(directory: str) -> dict:
    with open_cache(directory) as cache:
        before = describe(cache)
        for key in range(5):
            cache[("read", key)] = value_of(7, key * 5)
        return {"before": before, "after": describe(cache), "volume": cache.volume() > 0}


verb, *arguments = sys.argv[1:]
answer = {"write": write, "work": work, "hang": hang, "read": read}[verb](*arguments)
if answer is not None:
    print(json.dumps(answer))
