"""SQLite in its journal modes, with a process killed in a transaction.

usage: use_sqlite.py write|read|hang DIRECTORY [NAME MODE]

`write` lets a process of each mode be killed while it holds a transaction whose pages are already in
the file, and looks what is left. Two databases stay as the kill left them, for `read`. `hang` is the
process that is killed. Prints one JSON line.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys

MODES = ("DELETE", "TRUNCATE", "PERSIST", "WAL")
ROWS = 3000


def connect(path: str, mode: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=0, isolation_level=None)
    [got] = database.execute(f"PRAGMA journal_mode={mode}").fetchone()
    if got.upper() != mode:
        raise SystemExit(f"{path}: asked for {mode}, got {got}")
    return database


def hang(directory: str, name: str, mode: str) -> None:
    """Commits rows, then changes all of them and waits with the transaction open."""
    database = connect(os.path.join(directory, name), mode)
    # What is committed stays in the WAL; what is not committed does not fit the cache and is written.
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute("PRAGMA cache_size=10")
    database.execute("CREATE TABLE facts (id INTEGER PRIMARY KEY, text TEXT, number INTEGER)")
    database.execute("CREATE INDEX by_number ON facts (number)")
    database.execute("BEGIN")
    database.executemany("INSERT INTO facts VALUES (?, ?, ?)", ((row, f"fact {row} " * 9, row % 97) for row in range(ROWS)))
    database.execute("COMMIT")
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE facts SET text = upper(text) || 'never committed', number = -1")
    database.execute("DELETE FROM facts WHERE id % 2 = 0")
    print("hanging", flush=True)
    sys.stdin.read()


def kill_in_transaction(directory: str, name: str, mode: str) -> dict:
    command = [sys.executable, __file__, "hang", directory, name, mode]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if child.stdout.readline() != b"hanging\n":
        raise SystemExit(f"{name}: the process to kill ended with {child.wait()}")
    result = {}
    # The lock of the other process refuses a second writer; in WAL a reader is let in.
    for what, statement in (("writer", "BEGIN IMMEDIATE"), ("reader", "SELECT count(*), sum(number) FROM facts")):
        other = sqlite3.connect(os.path.join(directory, name), timeout=0, isolation_level=None)
        try:
            result[what] = other.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            result[what] = str(error)
        other.close()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    result["left"] = sorted(os.listdir(directory))
    return result


def describe(database: sqlite3.Connection) -> dict:
    [[count, total, length, upper]] = database.execute(
        "SELECT count(*), sum(number), sum(length(text)), count(*) FILTER (WHERE text LIKE '%never%') FROM facts"
    )
    return {
        "integrity": [row[0] for row in database.execute("PRAGMA integrity_check")],
        "rows": [count, total, length, upper],
        "indexed": database.execute("SELECT count(*) FROM facts WHERE number = 13").fetchone()[0],
    }


def recover(directory: str, name: str, mode: str) -> dict:
    """Opens what a killed process left, writes on, and closes it in order."""
    database = connect(os.path.join(directory, name), mode)
    database.execute("PRAGMA mmap_size=67108864")
    result = {"recovered": describe(database)}
    database.execute("BEGIN")
    database.execute("INSERT INTO facts SELECT id + 100000, text, number FROM facts WHERE id < 500")
    database.execute("COMMIT")
    database.execute("DELETE FROM facts WHERE id < 1000")
    database.execute("VACUUM")
    result["written"] = describe(database)
    database.close()
    return result


def write(directory: str) -> dict:
    result = {}
    for mode in MODES:
        name = f"{mode.lower()}.db"
        result[mode] = kill_in_transaction(directory, name, mode)
        result[mode] |= recover(directory, name, mode)
    for mode in ("DELETE", "WAL"):
        result[f"left {mode}"] = kill_in_transaction(directory, f"left-{mode.lower()}.db", mode)
    result["names"] = sorted(os.listdir(directory))
    return result


def read(directory: str) -> dict:
    result = {mode: recover(directory, f"left-{mode.lower()}.db", mode) for mode in ("DELETE", "WAL")}
    for mode in MODES:
        database = connect(os.path.join(directory, f"{mode.lower()}.db"), mode)
        result[f"again {mode}"] = describe(database)
        database.close()
    result["names"] = sorted(os.listdir(directory))
    return result


verb, *arguments = sys.argv[1:]
if verb == "hang":
    hang(*arguments)
else:
    print(json.dumps({"write": write, "read": read}[verb](*arguments)))
