"""A DuckDB database: checkpoint, write-ahead log, spilling, the lock, a process that is killed.

usage: use_duckdb.py write|read|hang|knock DIRECTORY

`hang` commits rows and is killed in its next transaction; `knock` tries to open what it holds.
Prints one JSON line.
"""

import json
import os
import signal
import subprocess
import sys

import duckdb

ROWS = 200_000


def connect(directory: str, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(os.path.join(directory, "facts.duckdb"), read_only=read_only, config={"threads": 1})
    return database


def hang(directory: str) -> None:
    database = connect(directory)
    database.execute("PRAGMA disable_checkpoint_on_shutdown")
    database.execute("SET wal_autocheckpoint = '1GB'")
    database.execute("INSERT INTO facts SELECT range, 'from the log', range * 0.5 FROM range(1000000, 1020000)")
    database.execute("BEGIN")
    database.execute("DELETE FROM facts WHERE id % 2 = 0")
    database.execute("INSERT INTO facts SELECT range, 'never committed', 0 FROM range(2000000, 2200000)")
    print("hanging", flush=True)
    sys.stdin.read()


def knock(directory: str) -> dict:
    answers = {}
    for read_only in (False, True):
        try:
            connect(directory, read_only)
            answers[str(read_only)] = "let in"
        except duckdb.IOException as error:
            # The message names path and process; the kind of refusal is what counts.
            answers[str(read_only)] = "lock" if "Could not set lock on file" in str(error) else str(error)
    return answers


def describe(database: duckdb.DuckDBPyConnection) -> list:
    return database.execute(
        "SELECT count(*), sum(id)::BIGINT, min(text), max(text), sum(value)::BIGINT, "
        "count(*) FILTER (WHERE text = 'never committed'), bit_xor(hash(id, text, value))::VARCHAR FROM facts"
    ).fetchall()


def child(verb: str, directory: str) -> subprocess.Popen:
    command = [sys.executable, __file__, verb, directory]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def kill_in_transaction(directory: str) -> dict:
    victim = child("hang", directory)
    if victim.stdout.readline() != b"hanging\n":
        raise SystemExit(f"the process to kill ended with {victim.wait()}")
    told, _ = child("knock", directory).communicate()
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    return {"knocked": json.loads(told), "left": sorted(os.listdir(directory))}


def write(directory: str) -> dict:
    database = connect(directory)
    database.execute("CREATE TABLE facts (id BIGINT, text VARCHAR, value DOUBLE)")
    database.execute(f"INSERT INTO facts SELECT range, 'fact ' || range % 1000, sqrt(range) FROM range({ROWS})")
    database.execute("CHECKPOINT")
    result = {"made": describe(database)}
    database.execute("UPDATE facts SET text = 'changed' WHERE id % 7 = 0")
    database.execute("DELETE FROM facts WHERE id % 11 = 0")
    result["changed"] = describe(database)
    # A sort that does not fit into memory goes through files beside the database.
    database.execute("SET memory_limit = '40MB'")
    spill = os.path.join(directory, "spill")
    database.execute(f"SET temp_directory = '{spill}'")
    database.execute("PRAGMA enable_profiling = 'no_output'")
    parquet = os.path.join(directory, "facts.parquet")
    database.execute(f"COPY (SELECT id, text, repeat(text, 9) AS wide, value FROM facts ORDER BY wide, id) TO '{parquet}'")
    result["spilled"] = json.loads(database.get_profiling_information("json"))["system"]["peak_temp_dir_size"] > 0
    database.close()
    result["closed"] = sorted(os.listdir(directory))
    result["killed"] = kill_in_transaction(directory)
    # Opening replays the log, without what was never committed; closing checkpoints it.
    database = connect(directory)
    result["recovered"] = describe(database)
    database.close()
    result["left"] = kill_in_transaction(directory)
    return result


def read(directory: str) -> dict:
    with connect(directory) as database:
        result = {"recovered": describe(database)}
        parquet = os.path.join(directory, "facts.parquet")
        result["parquet"] = database.execute(
            f"SELECT count(*), sum(id)::BIGINT, bit_xor(hash(id, wide, value))::VARCHAR FROM '{parquet}'"
        ).fetchall()
        database.execute("CREATE TABLE more AS SELECT * FROM facts WHERE id < 1000")
    with connect(directory, read_only=True) as database:
        result["read_only"] = [describe(database), database.execute("SELECT count(*) FROM more").fetchall()]
    result["names"] = sorted(os.listdir(directory))
    return result


verb, place = sys.argv[1:]
answer = {"write": write, "read": read, "hang": hang, "knock": knock}[verb](place)
if answer is not None:
    print(json.dumps(answer))
