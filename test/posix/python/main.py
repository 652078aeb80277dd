"""Runs behaviours: `main.py list`, `main.py prepare ROOT`, `main.py act ROOT SCRATCH WAY`, the last two
with the names of rows as further arguments. Each row runs in a process of its own, with a deadline."""

import faulthandler
import json
import os
import select
import signal
import sys
import time
import traceback

import rows_clients  # noqa: F401 - importing fills the table
import rows_data  # noqa: F401
import rows_directories  # noqa: F401
import rows_links  # noqa: F401
import rows_locks  # noqa: F401
import rows_mapping  # noqa: F401
import rows_modes  # noqa: F401
import rows_names  # noqa: F401
import rows_open  # noqa: F401
import rows_programs  # noqa: F401
import rows_read_only  # noqa: F401
import rows_rename  # noqa: F401
import rows_settled  # noqa: F401
import rows_sharing  # noqa: F401
import rows_space  # noqa: F401
import rows_times  # noqa: F401
import rows_two_names  # noqa: F401
import rows_xattrs  # noqa: F401
from registry import ROWS, Row
from trace import Trace


def describe() -> None:
    print(
        json.dumps(
            [
                {
                    "name": row.name,
                    "section": row.section,
                    "says": row.says,
                    "prepared": row.prepare is not None,
                    "notOn": row.not_on,
                }
                for row in ROWS.values()
            ]
        )
    )


def place_of(root: str, row: Row) -> str:
    place = os.path.join(root, row.name)
    os.makedirs(place, exist_ok=True)
    return place


def run_row(row: Row, root: str, scratch: str, way: str) -> dict:
    """In the row's own process."""
    trace = Trace(way, os.path.join(scratch, row.name))
    os.makedirs(trace.scratch, exist_ok=True)
    # A second SIGALRM ends it; before that it says where it hangs.
    faulthandler.dump_traceback_later(row.deadline - 2)
    os.umask(0o022)
    failure = None
    try:
        row.act(place_of(root, row), trace)
    except BaseException:  # A row that fails is a result as well.
        failure = traceback.format_exc()
    return {"facts": trace.facts, "claims": trace.claims, "failure": failure}


def isolated(row: Row, root: str, scratch: str, way: str) -> dict:
    result_read, result_write = os.pipe()
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(result_read)
        os.setpgid(0, 0)
        try:
            answer = run_row(row, root, scratch, way)
            os.set_blocking(result_write, True)
            data = json.dumps(answer).encode()
            while data:
                data = data[os.write(result_write, data) :]
        finally:
            os._exit(0)
    os.close(result_write)
    data = b""
    hangs = False
    while True:
        left = begun + row.deadline - time.monotonic()
        ready, _, _ = select.select([result_read], [], [], max(left, 0))
        if not ready:
            hangs = True
            break
        part = os.read(result_read, 1 << 16)
        if part == b"":
            break
        data += part
    # What the row started and left behind goes with it.
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(pid, 0)
    os.close(result_read)
    if hangs:
        answer = {"facts": [], "claims": [], "failure": f"not finished in {row.deadline} s"}
    elif data == b"":
        answer = {"facts": [], "claims": [], "failure": "its process died"}
    else:
        answer = json.loads(data)
    milliseconds = round((time.monotonic() - begun) * 1000)
    return {"name": row.name, "milliseconds": milliseconds, **answer}


def main() -> None:
    command, *arguments = sys.argv[1:]
    if command == "list":
        describe()
        return
    root = arguments[0]
    os.umask(0o022)
    if command == "prepare":
        for name in arguments[1:]:
            row = ROWS[name]
            if row.prepare is not None:
                row.prepare(place_of(root, row))
        print(json.dumps({"prepared": len(arguments) - 1}))
        return
    scratch, way = arguments[1:3]
    for name in arguments[3:]:
        print(json.dumps(isolated(ROWS[name], root, scratch, way)), flush=True)


main()
