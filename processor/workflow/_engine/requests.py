"""What the code asks for in one turn: decisions in order, with their identifiers and sizes."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TypeAlias

from processor.config import Settings
from processor.core.data.payloads import Payloads
from processor.core.event import Decision, Event
from processor.core.nouns.activity import ActivityCancelled, ActivityScheduled
from processor.core.nouns.timer import TimerCancelled, TimerStarted
from processor.core.nouns.value import SideEffectRecorded
from processor.core.runner import Asked
from processor.errors import PayloadTooLarge, SchemaMismatch
from processor.workflow._engine.loop import TimerHandle, WorkflowLoop

__all__ = ("Requests",)

Identified: TypeAlias = ActivityScheduled | TimerStarted | SideEffectRecorded

_DECISION_BYTES = 100
"""About what a decision takes in the log beside its payload."""


class Requests:
    """The decisions of the turn that runs, and the counter that all turns of a run share.

    A start and its cancellation within one turn cancel each other out: neither is returned.
    ``arrived`` are the ids that facts of this turn settle: the log has their outcome already, so
    they cannot be cancelled any more even if the code did not see it yet.
    ``recorded`` is what the turn caused, where it is replayed.
    ``refusal`` says why nothing may be asked for now ("" where it may).
    """

    __slots__ = (
        "_asked",
        "_loop",
        "_payloads",
        "_settings",
        "_sized",
        "arrived",
        "elided",
        "last_id",
        "recorded",
        "refusal",
        "turn",
    )

    def __init__(self, payloads: Payloads, settings: Settings) -> None:
        self._loop: WorkflowLoop
        self._payloads = payloads
        self._settings = settings
        self._asked: list[Asked | None] = []
        self._sized = 0
        self.arrived: Set[int] = frozenset()
        self.recorded: Sequence[Event] = ()
        self.elided = False
        self.last_id = 0
        self.refusal = ""
        self.turn = 0

    def attach(self, loop: WorkflowLoop) -> None:
        self._loop = loop

    def begin(self, arrived: Set[int], recorded: Sequence[Event] | None = None) -> None:
        self.turn += 1
        self.arrived = arrived
        self.recorded = recorded or ()
        self._asked = []
        self._sized = 0
        self.elided = False

    def take(self) -> list[Asked]:
        """Return the decisions of the turn, without those that cancelled each other out."""
        if self.elided:
            return [asked for asked in self._asked if asked is not None]
        return self._asked  # type: ignore[return-value]

    def encode(self, value: object, what: str, name: str = "") -> bytes | None:
        """Encode a value of the user's. ``what`` and ``name`` say in errors which one."""
        loop = self._loop
        guarded = loop.guarded
        loop.guarded = False
        try:
            payload = self._payloads.encode(value)
        except SchemaMismatch as error:
            raise SchemaMismatch(f"{_named(what, name)} cannot be encoded: {error}") from error
        finally:
            loop.guarded = guarded
        if payload is not None and len(payload) > self._settings.payload_bytes_max:
            self.check_size(len(payload), what, name)
        return payload

    def check_size(self, size: int, what: str, name: str = "") -> None:
        limit = self._settings.payload_bytes_max
        # The limit of the time when the turn was live let through what was recorded. What it
        # refused was larger than all of that, so that it is refused again.
        if size > limit and size > max(map(_payload_bytes, self.recorded), default=0):
            raise PayloadTooLarge(
                f"{_named(what, name)}: {size:,} bytes; the limit is {limit:,} "
                "(payload_bytes_max). Store the value elsewhere, in an activity, and pass a "
                "reference to it"
            )

    def add(self, decision: Decision, line: str, size: int, what: str, name: str = "") -> int:
        """Add a decision whose payload has ``size`` bytes; return its index within the turn."""
        if self.refusal or self._loop.dropped:
            self._refuse(_named(what, name))
        asked = self._asked
        sized = self._sized + size + _DECISION_BYTES
        if sized > self._settings.turn_bytes_max and sized > self._recorded_size():
            raise PayloadTooLarge(
                f"one turn cannot ask for {len(asked) + 1:,} things of {sized:,} bytes together "
                f"(the last one is {_named(what, name)}): the limit is "
                f"{self._settings.turn_bytes_max:,} (turn_bytes_max). Await a part of them before "
                "asking for the rest"
            )
        self._sized = sized
        asked.append((decision, line))
        return len(asked) - 1

    def _recorded_size(self) -> int:
        return sum(_payload_bytes(each) + _DECISION_BYTES for each in self.recorded)

    @property
    def next_id(self) -> int:
        """The id of what the code asks for next."""
        return self.last_id + 1

    def add_identified(
        self, decision: Identified, line: str, size: int, what: str, name: str = ""
    ) -> int:
        """Add a decision that has ``next_id``."""
        index = self.add(decision, line, size, what, name)
        self.last_id = decision.id
        return index

    def end(self, decision: Decision, line: str = "") -> None:
        """Add the decision that ends the run. There is always room for it in the record."""
        self._asked.append((decision, line))

    def cancel_activity(self, id: int, turn: int, index: int, line: str) -> None:
        if turn == self.turn:
            self._elide(index)
        elif id not in self.arrived:
            self.add(ActivityCancelled(id), line, 0, "a cancellation")

    def cancel_timer(self, handle: TimerHandle, line: str) -> None:
        if handle.turn == self.turn:
            self._elide(handle.index)
        elif handle.id not in self.arrived and not self._loop.dropped:
            self.add(TimerCancelled(handle.id), line, 0, "a cancellation")

    def _elide(self, index: int) -> None:
        asked = self._asked[index]
        assert asked is not None, f"{index} is taken back once"
        decision, _ = asked
        assert isinstance(decision, ActivityScheduled | TimerStarted), f"{index} is {decision}"
        size = len(decision.arguments or b"") if isinstance(decision, ActivityScheduled) else 0
        self._sized -= size + _DECISION_BYTES
        self._asked[index] = None
        self.elided = True

    def _refuse(self, what: str) -> None:
        if self._loop.dropped:
            # The coroutine is being unwound, not run: its clean-up must not go any further.
            self._loop.unwind()
            return
        raise RuntimeError(f"{self.refusal} asked for {what}; it may only read and compute")


def _named(what: str, name: str) -> str:
    return f"{what} {name!r}" if name else what


def _payload_bytes(event: Event) -> int:
    """Return the size of what the code gave to an event that it asked for; 0 for a fact."""
    names = event.payloads if isinstance(event, Decision) else ()
    if isinstance(event, SideEffectRecorded):
        names = ("value",)
    return sum(len(getattr(event, name) or b"") for name in names)
