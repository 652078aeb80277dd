"""Other processes: a behaviour's second client, killed or waited for by its own pid."""

import json
import os
import select
import signal
import traceback
from typing import Any, Callable

NOBODY = 65534
DEADLINE_S = 30


class Child:
    """A forked process that runs `function(child)`; its return value comes back as JSON. The two
    can wait for each other by one-byte messages."""

    def __init__(self, function: Callable[["Child"], Any], as_nobody: bool = False):
        from_child, to_parent = os.pipe()
        to_child_read, to_child = os.pipe()
        result_read, result_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for fd in (from_child, to_child, result_read):
                os.close(fd)
            self.inbox, self.outbox = to_child_read, to_parent
            self._run(function, result_write, as_nobody)
        for fd in (to_parent, to_child_read, result_write):
            os.close(fd)
        self.inbox, self.outbox = from_child, to_child
        self.result_fd = result_read
        self.status: int | None = None

    def _run(self, function: Callable[["Child"], Any], fd: int, as_nobody: bool) -> None:
        code = 1
        try:
            if as_nobody and os.getuid() != NOBODY:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            answer = {"ok": function(self)}
            code = 0
        except BaseException:  # The parent is told whatever it was.
            answer = {"error": traceback.format_exc()}
        # Whatever happens, this process must not go on with the work of its parent.
        try:
            data = json.dumps(answer).encode()
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os._exit(code)

    def tell(self) -> None:
        """Lets the other side go on. What a child failed with is told by its result."""
        try:
            os.write(self.outbox, b".")
        except BrokenPipeError:
            self.result()
            raise

    def hear(self) -> None:
        """Waits for the other side's word."""
        ready, _, _ = select.select([self.inbox], [], [], DEADLINE_S)
        if not ready or os.read(self.inbox, 1) != b".":
            raise RuntimeError("the other process said nothing")

    def heard(self, seconds: float) -> bool:
        """Whether the other side speaks within this time; what it says stays to be heard."""
        ready, _, _ = select.select([self.inbox], [], [], seconds)
        return bool(ready)

    def result(self) -> Any:
        """Waits for the end. @raises RuntimeError with the child's own traceback"""
        data = b""
        while True:
            ready, _, _ = select.select([self.result_fd], [], [], DEADLINE_S)
            if not ready:
                self.kill()
                raise RuntimeError("a child process hangs")
            part = os.read(self.result_fd, 65536)
            if part == b"":
                break
            data += part
        self.reap()
        if data == b"":
            raise RuntimeError(f"a child process ended with status {self.status}")
        answer = json.loads(data)
        if "error" in answer:
            raise RuntimeError("in a child process:\n" + answer["error"])
        return answer["ok"]

    def kill(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.reap()

    def reap(self) -> None:
        if self.status is None:
            _, self.status = os.waitpid(self.pid, 0)
            for fd in (self.inbox, self.outbox, self.result_fd):
                os.close(fd)


def elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    """Runs the function in another process and returns its (JSON) value."""
    return Child(lambda _: function(*args)).result()


def as_nobody(function: Callable[..., Any], *args: Any) -> Any:
    """The same as an ordinary user without groups."""
    return Child(lambda _: function(*args), as_nobody=True).result()


def ending(function: Callable[[], Any]) -> str:
    """How a process ends that does this: `exit 0` or the signal's name."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit {os.WEXITSTATUS(status)}"


def at_once(count: int, function: Callable[[int], Any]) -> list[Any]:
    """Runs the function in that many processes, started together."""
    children = []
    for number in range(count):

        def wait_and_run(child: Child, number: int = number) -> Any:
            child.hear()
            return function(number)

        children.append(Child(wait_and_run))
    for child in children:
        child.tell()
    return [child.result() for child in children]
