"""The table of behaviours: what each row does, what it says, and where it does not apply."""

from dataclasses import dataclass, field
from typing import Callable

Act = Callable[[str, "Trace"], None]  # noqa: F821 - trace.py imports nothing from here
Prepare = Callable[[str], None]


@dataclass
class Row:
    """One behaviour. `act` is given an empty directory, or what `prepare` left in it."""

    name: str
    section: str
    says: str
    act: Act
    prepare: Prepare | None = None
    # The way in ("remote", ...) -> why the row says nothing about it.
    not_on: dict[str, str] = field(default_factory=dict)
    deadline: int = 60


ROWS: dict[str, Row] = {}


def behaviour(
    section: str,
    says: str,
    *,
    prepare: Prepare | None = None,
    not_on: dict[str, str] | None = None,
    deadline: int = 60,
) -> Callable[[Act], Act]:
    """Adds a function to the table under its own name."""

    def add(act: Act) -> Act:
        name = act.__name__
        if name in ROWS:
            raise ValueError(f"two behaviours are called {name}")
        ROWS[name] = Row(name, section, says, act, prepare, not_on or {}, deadline)
        return act

    return add


# Rows of this section run in a read-only mount, and only there.
READ_ONLY = "A read-only mount"



def from_elsewhere(reason: str) -> dict[str, str]:
    """What does not hold for a root of another machine, whether it is fetched when it is read
    (`remote`) or before (`fetched`)."""
    return {"remote": reason, "fetched": reason}


# What UnixFS and the meta beside it do not carry to another machine.
NO_LINKS = from_elsewhere("hard links arrive as files of their own")
NO_XATTRS = from_elsewhere("user attributes stay on the machine")
NO_OWNERS = from_elsewhere("owners stay on the machine")
