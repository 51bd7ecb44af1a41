"""Business keys as the log has them: each is a run of a workflow of ours, asked by its id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from processor.checks import ID_BYTES_MAX, KEY_IDS, shown
from processor.checks import name as checked
from processor.core.nouns.call import Calls, CallSent
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Correlation
from processor.core.nouns.start import StartWith
from processor.core.nouns.update import UpdateRun
from processor.core.records.answers import CallOutcome, UpdateEnded
from processor.errors import InvalidArgument

__all__ = (
    "CLAIM",
    "CORRELATION",
    "ID_PREFIX",
    "KEEP_MS",
    "WITHDRAW",
    "Correlating",
    "begins_key",
    "delivered",
    "delivers",
    "key_id",
    "key_of",
)

CORRELATION: Final = KEY_IDS.workflow
"""The name of the workflow that a key is."""

ID_PREFIX: Final = KEY_IDS.prefix
"""So begins the workflow id of a key; its name, ``=`` and the key itself follow."""

CLAIM: Final = "claim"
WITHDRAW: Final = "withdraw"
_DELIVER: Final = "deliver"
"""What a key is told: somebody wants to hold it, its holder gives it back, an event has come."""

KEEP_MS: Final = 86_400_000
"""An event is kept for a day while nobody holds its key, unless its sender says otherwise."""

_KNOWN_MAX: Final = 100
"""So many keys of a run are known, the newest ones; each has some 300 bytes at the most."""


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


@dataclass
class Correlating(Calls):
    """``correlations``: the business keys that the chain of the run holds, the oldest first.

    A key that somebody else frees is one of them still: the run is not told.
    """

    correlations: dict[Correlation, None] = field(default_factory=dict)

    def hold(self, keys: Iterable[Correlation]) -> None:
        for key in keys:
            self.correlations.pop(key, None)
            self.correlations[key] = None
            if len(self.correlations) > _KNOWN_MAX:
                del self.correlations[next(iter(self.correlations))]

    def held(self) -> tuple[Correlation, ...]:
        return tuple(self.correlations)

    def send(self, call: CallSent) -> None:
        Calls.send(self, call)
        key = _asked(call, WITHDRAW)
        if key is not None:
            self.correlations.pop(key, None)

    def settle(self, call: int, outcome: CallOutcome) -> None:
        key = _asked(self.calls[call], CLAIM)
        Calls.settle(self, call, outcome)
        if key is None or not isinstance(outcome, UpdateEnded) or outcome.failure is not None:
            return
        if outcome.result is None:  # else it says who holds the key
            self.hold((key,))


def _asked(call: CallSent, what: str) -> Correlation | None:
    """Return the business key that is told this by a call; None: none is."""
    operation = call.operation
    if not isinstance(operation, StartWith) or operation.workflow != CORRELATION:
        return None
    assert operation.first is not None, "checked where it was read"
    if getattr(operation.first, "name", None) != what:
        return None
    return Correlation(*key_of(call.to.workflow_id))
