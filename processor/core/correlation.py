"""Business keys as the log has them: each is a run of a workflow of ours, asked by its id."""

from __future__ import annotations

from typing import Any, Final

from processor.checks import ID_BYTES_MAX, shown
from processor.checks import name as checked
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartWith
from processor.core.nouns.update import UpdateRun
from processor.errors import InvalidArgument

__all__ = (
    "CLAIM",
    "CORRELATION",
    "ID_PREFIX",
    "KEEP_MS",
    "WITHDRAW",
    "begins_key",
    "delivered",
    "delivers",
    "key_id",
    "key_of",
)

CORRELATION: Final = "processor.correlation"
"""The name of the workflow that a key is."""

ID_PREFIX: Final = "correlation:"
"""So begins the workflow id of a key; its name, ``=`` and the key itself follow."""

CLAIM: Final = "claim"
WITHDRAW: Final = "withdraw"
_DELIVER: Final = "deliver"
"""What a key is told: somebody wants to hold it, its holder gives it back, an event has come."""

KEEP_MS: Final = 86_400_000
"""An event is kept for a day while nobody holds its key, unless its sender says otherwise."""


def key_id(name: Any, key: Any, call: str) -> str:
    """Return the workflow id of a key. Raises ``InvalidArgument``."""
    name, key = checked(name, f"{call}: name"), checked(key, f"{call}: key")
    if "=" in name:
        raise InvalidArgument(f"{call}: name: {shown(name)} has an =: give another one")
    found = f"{ID_PREFIX}{name}={key}"
    if len(found.encode()) > ID_BYTES_MAX:
        most = ID_BYTES_MAX - len(ID_PREFIX) - 1
        raise InvalidArgument(f"{call}: name and key have {most} bytes together at the most")
    return found


def key_of(workflow_id: str) -> tuple[str, str]:
    """Return the name and the key that a workflow id stands for."""
    name, _, key = workflow_id.removeprefix(ID_PREFIX).partition("=")
    return name, key


def delivered(name: str, value: Any, keep_ms: int) -> list[Any]:
    """Return what a key is told of an event, to be encoded."""
    return [name, value, keep_ms]


def delivers(encoded: bytes | None) -> StartWith:
    """Return what gives a key an event, of ``delivered``."""
    return begins_key(RaiseEvent(_DELIVER, encoded))


def begins_key(first: RaiseEvent | UpdateRun) -> StartWith:
    """Return what tells a key something, and begins its run where there is none."""
    return StartWith(CORRELATION, None, "allow", "use-existing", first=first)
