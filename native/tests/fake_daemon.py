#!/usr/bin/env python3
"""A daemon for the keeper's own tests: it speaks docs/protocol.md and does what a control socket
says (one JSON object a line: {"do": ...}). Everything the keeper says is logged to `said.jsonl`."""

import json
import os
import socket
import struct
import sys
import threading

STORE = os.getcwd()
SOCK = socket.socket(fileno=3)
SEND = threading.Lock()
FILL = threading.Lock()
EXTENT = 1024 * 1024

answers = {}
answered = threading.Condition()
parts = {}
state = {"fill": "serve", "list": "serve", "hello": None, "next": 0, "held": []}


def read_exactly(count):
    data = b""
    while len(data) < count:
        chunk = SOCK.recv(count - len(data))
        if not chunk:
            os._exit(0)
        data += chunk
    return data


def receive():
    (length,) = struct.unpack("<I", read_exactly(4))
    return json.loads(read_exactly(length))


def send(message):
    data = json.dumps(message).encode()
    with SEND:
        SOCK.sendall(struct.pack("<I", len(data)) + data)


def ask(name, **fields):
    with answered:
        state["next"] += 1
        number = state["next"]
    send({"t": name, "id": number, **fields})
    with answered:
        if not answered.wait_for(lambda: number in answers, timeout=20):
            return {"timeout": True}
        return {**answers.pop(number), "parts": parts.pop(number, [])}


def content(size):
    """The bytes of every remote file: each 8 bytes are their own offset."""
    return b"".join(struct.pack("<Q", at) for at in range(0, size + 8, 8))[:size]


def record(path):
    data = os.getxattr(path, "user.mc")
    kind, mode, size, sec, nsec = data[1], *struct.unpack_from("<IQqI", data, 8)
    return kind, mode, size, sec * 10**9 + nsec


def reply(message, **fields):
    send({"t": "re", "id": message["id"], **fields})


def do_fill(message):
    with FILL:
        fill(message)


def fill(message):
    hello = state["hello"]
    path = f"/proc/{hello['keeperPid']}/fd/{message['fd']}"
    fd = os.open(path, os.O_RDWR)
    try:
        stat = os.fstat(fd)
        assert str(stat.st_ino) == message["ino"], "another inode"
        try:
            _, mode, size, mtime = record(fd)
        except OSError:
            return reply(message, ok={"complete": True})
        start = int(message["offset"])
        end = start + int(message["length"])
        name = f"extents/{message['ino']}-{message['btime']}"
        count = -(-size // EXTENT)
        bits = bytearray(-(-count // 8))
        if os.path.exists(name):
            bits = bytearray(open(name, "rb").read()[16:])
        whole = content(size)
        for index in range(start // EXTENT, -(-end // EXTENT)):
            at = index * EXTENT
            os.pwrite(fd, whole[at : at + EXTENT], at)
            bits[index // 8] |= 1 << (index % 8)
        os.fdatasync(fd)
        with open(name + ".new", "wb") as out:
            out.write(b"mcx1" + struct.pack("<IQ", EXTENT, count) + bits)
        os.rename(name + ".new", name)
        complete = all(bits[i // 8] >> (i % 8) & 1 for i in range(count))
        if complete:
            os.fchmod(fd, mode)
            os.utime(fd, ns=(stat.st_atime_ns, mtime))
            os.fsync(fd)
            os.removexattr(fd, "user.mc")
            os.fsync(fd)
            os.unlink(name)
        reply(message, ok={"complete": complete})
    finally:
        os.close(fd)


def do_list(message):
    hello = state["hello"]
    base = f"/proc/{hello['keeperPid']}/fd/{message['fd']}"
    _, mode, _, mtime = record(base + "/.")
    with open("remote.json") as source:
        entries = json.load(source).get(message["path"], [])
    for entry in entries:
        make_placeholder(base + "/" + entry["name"], entry)
    os.chmod(base + "/.", mode)
    os.removexattr(base + "/.", "user.mc")
    os.utime(base + "/.", ns=(mtime, mtime))
    reply(message, ok={})


def make_placeholder(path, entry):
    kind = 2 if entry["type"] == "d" else 1
    data = struct.pack("<BBHHHIQqI", 1, kind, 4, 0, 0, entry.get("mode", 0o644), entry.get("size", 0),
                       *divmod(entry.get("mtime", 0), 10**9)) + b"cidX"
    if entry["type"] == "l":
        os.symlink(entry["target"], path)
    elif kind == 2:
        os.mkdir(path)
        os.setxattr(path, "user.mc", data)
    else:
        with open(path, "xb") as out:
            os.truncate(out.fileno(), entry["size"])
            os.fchmod(out.fileno(), 0o600)
            os.setxattr(out.fileno(), "user.mc", data)


def serve_request(message):
    kind = message["t"]
    try:
        if kind in ("fill", "list"):
            behaviour = state[kind]
            if behaviour == "serve":
                (do_fill if kind == "fill" else do_list)(message)
            elif behaviour == "fail":
                reply(message, err={"errno": "EIO", "message": "no source has it"})
            else:
                state["held"].append(message)
        elif kind == "detach":
            reply(message, ok={})
        elif kind == "cid":
            reply(message, ok={"cid": "bafyfake-" + message["path"]})
    except Exception as error:  # a bug of the test daemon has to be seen
        reply(message, err={"errno": "EIO", "message": repr(error)})
        raise


def listen():
    log = open("said.jsonl", "a", buffering=1)
    while True:
        message = receive()
        log.write(json.dumps(message) + "\n")
        kind = message["t"]
        if kind == "re":
            with answered:
                answers[message["id"]] = message
                answered.notify_all()
        elif kind == "part":
            parts.setdefault(message["id"], []).append(message)
        elif kind == "hello":
            state["hello"] = message
            threading.Thread(target=start, daemon=True).start()
        elif kind == "drain":
            threading.Thread(target=drain, args=(message,), daemon=True).start()
        elif "id" in message:
            threading.Thread(target=serve_request, args=(message,), daemon=True).start()


def start():
    config = state["hello"]["config"] or {}
    if config.get("failed"):
        send({"t": "failed", "exit": 5, "message": config["failed"]})
        os._exit(5)
    if config.get("exit"):
        os._exit(config["exit"])
    send({"t": "ready"})


def drain(message):
    if not message["unmounted"]:
        while "err" in ask("unmount", lazy=False):
            if "ok" in ask("unmount", lazy=True):
                break
    send({"t": "done", "dirty": (state["hello"]["config"] or {}).get("dirty", 0)})
    os._exit(0)


def control(connection):
    for line in connection.makefile():
        command = json.loads(line)
        what = command.pop("do")
        if what == "set":
            state.update(command)
            result = {}
        elif what == "serve-held":
            held, state["held"] = state["held"], []
            for message in held:
                serve_request(message)
            result = {"served": len(held)}
        elif what == "event":
            send(command["message"])
            result = {}
        elif what == "make":
            make_placeholder("tree/" + command["path"], command)
            result = {}
        elif what == "pid":
            result = {"pid": os.getpid(), "hello": state["hello"]}
        else:
            result = ask(what, **command)
        connection.sendall(json.dumps(result).encode() + b"\n")


def main():
    try:
        os.unlink("run/fake.sock")
    except FileNotFoundError:
        pass
    server = socket.socket(socket.AF_UNIX)
    server.bind("run/fake.sock")
    server.listen()
    threading.Thread(target=listen, daemon=True).start()
    while True:
        connection, _ = server.accept()
        threading.Thread(target=control, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
