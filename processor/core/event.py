"""What an event is: one fact of a run's history, what it does to the run, and what it lets leave.

Frozen, flat, and past tense. A run's state is the fold of its events (``evolve``); nothing else
changes it. One input causes one *turn*: a list of events that is appended to the log as a single
record. Each noun of ``core.nouns`` has its events; ``vocabulary`` lists them all.

Times are milliseconds since the epoch. Payloads are bytes, whatever they mean, or None where there
is none, which is not the same as empty bytes; ``arguments`` are an encoded list. Ids of activities,
timers and side effects are the position of the request among all requests of the run, which replay
repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol

from processor.core.data.address import Caller
from processor.core.records.answers import Refused
from processor.core.records.effects import Effect
from processor.policy import Status

__all__ = ("Decision", "Drafting", "Event", "Fact", "Whose")

_STAYS: Final[Mapping[Status, Status]] = MappingProxyType({})


class Whose(Protocol):
    """The run that an event is of, for nouns that need no more of it than its name."""

    workflow_id: str
    run_id: str


class Drafting(Protocol):
    """The turn in the making that an operation writes into.

    ``run`` is the state, ``caller`` the run that asks, where one does: ``let_wait`` lets it wait.
    """

    caller: Caller | None
    now_ms: int

    @property
    def run(self) -> Any: ...

    @property
    def is_idle(self) -> bool: ...

    @property
    def updates_max(self) -> int: ...

    def validated(self, name: str, arguments: bytes | None) -> bool: ...

    def full(self, event: Any, times: int = 1) -> str: ...

    def let_wait(self, kind: Any, name: str) -> Refused | None: ...

    def add(self, event: Event) -> None: ...

    def advance(self, *facts: Event) -> None: ...


class Event:
    """``moves``: the status of the run before, and after; without any, the status stays.

    ``wakes_code``: workflow code can notice it.
    """

    __slots__ = ()

    moves: ClassVar[Mapping[Status, Status]] = _STAYS
    wakes_code: ClassVar[bool] = True

    def __init_subclass__(cls, *, abstract: bool = False) -> None:
        assert abstract or cls.apply is not Event.apply, f"{cls.__name__} has no apply"

    def apply(self, run: Any, now_ms: int) -> None:
        """Change the state of a run, from its part for this noun. ``evolve`` alone calls it."""
        raise NotImplementedError(type(self).__name__)

    def effects(self, run: Any, now_ms: int) -> Sequence[Effect]:
        """Return what leaves the shard because this becomes true in ``run``."""
        return ()


class Fact(Event, abstract=True):
    """What arrives from outside of the workflow code."""

    __slots__ = ()


class Decision(Event, abstract=True):
    """What workflow code asks for while it runs; replay compares exactly these.

    ``identity`` are the fields that have to be the same at replay; others (a delay, a reason) may
    change with the code. ``payloads`` are fields with values of users, as the code made them.
    """

    __slots__ = ()

    identity: ClassVar[tuple[str, ...]] = ()
    payloads: ClassVar[tuple[str, ...]] = ()
