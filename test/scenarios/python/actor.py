"""Other processes that do what they are told, one call at a time, so that an order can be played."""

import errno
import json
import os
import signal
import socket


class Actor:
    """A forked process with descriptors of its own; `methods` of it are called by name."""

    #: A later child must not hold the parent's end of an earlier one: its end would go unseen.
    _alive: list = []

    def __init__(self, methods: dict):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            try:
                for other in Actor._alive:
                    other._close()
                _serve(theirs, methods)
            finally:
                os._exit(0)
        theirs.close()
        self._channel = ours.makefile("rw")
        self._socket = ours
        Actor._alive.append(self)

    def __call__(self, name: str, *args):
        """What the call returned there, or the name of its errno."""
        self._channel.write(json.dumps([name, args]) + "\n")
        self._channel.flush()
        answer = json.loads(self._channel.readline())
        if "failed" in answer:
            raise RuntimeError(f"{name} in another process: {answer['failed']}")
        return answer["result"]

    def end(self) -> None:
        """It closes what it has open by ending."""
        Actor._alive.remove(self)
        self._close()
        os.waitpid(self.pid, 0)

    def kill(self) -> None:
        """SIGKILL; its locks are gone when this returns, as the kernel closes before it reports."""
        os.kill(self.pid, signal.SIGKILL)
        self.end()

    def _close(self) -> None:
        self._channel.close()
        self._socket.close()


def _serve(channel: socket.socket, methods: dict) -> None:
    with channel.makefile("rw") as stream:
        for line in stream:
            name, args = json.loads(line)
            try:
                answer = {"result": methods[name](*args)}
            except OSError as error:
                answer = {"result": errno.errorcode.get(error.errno, str(error))}
            except Exception as error:  # The parent ends with what it was.
                answer = {"failed": repr(error)}
            stream.write(json.dumps(answer) + "\n")
            stream.flush()
