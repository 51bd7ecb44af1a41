"""One activation of an entity: what its operations ask for, and what they leave open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from processor.core.event import Decision, Event
from processor.core.nouns.activity import ActivityCancelled, ActivityScheduled
from processor.core.nouns.call import CallGivenUp, CallSent
from processor.core.nouns.child import ChildCalled, ChildCancelRequested
from processor.core.nouns.timer import TimerCancelled, TimerStarted
from processor.core.runner import Asked

__all__ = ("EntityTurn",)

_AT_ONCE: Final = 100
_BYTES_AT_ONCE: Final = 200_000
"""So many operations of the queue run in one turn, as long as they ask for less than that."""


@dataclass(slots=True)
class EntityTurn:
    """``asked`` is what comes of it, ``ended`` how many operations did, with so many ``bytes``.

    ``open`` is what the operation that runs has asked for and has no outcome, by its ids.
    """

    now_ms: int
    number: int
    recorded: Sequence[Event] | None
    open: dict[int, Decision]
    asked: list[Asked] = field(default_factory=list)
    ended: int = 0
    bytes: int = 0

    @property
    def is_full(self) -> bool:
        return self.ended >= _AT_ONCE or self.bytes >= _BYTES_AT_ONCE

    def note(self, asked: Sequence[Asked]) -> None:
        """Take what the operation asks for."""
        for each in asked:
            self.asked.append(each)
            match each[0]:
                case ActivityScheduled() | TimerStarted() | CallSent() | ChildCalled() as opened:
                    self.open[opened.id] = opened
                case ActivityCancelled() | TimerCancelled() | CallGivenUp() as over:
                    self.open.pop(over.id, None)
                case _:
                    pass

    def leave(self, line: str) -> None:
        """Give up what the operation has left open at its end."""
        for id, opened in self.open.items():
            match opened:
                case ActivityScheduled():
                    self.asked.append((ActivityCancelled(id), line))
                case TimerStarted():
                    self.asked.append((TimerCancelled(id), line))
                case CallSent():
                    self.asked.append((CallGivenUp(id), line))
                case ChildCalled(parent_close=how) if how != "abandon":
                    reason = "the operation that called it has ended"
                    self.asked.append((ChildCancelRequested(id, reason), line))
                case _:
                    pass  # it goes on
        self.open.clear()
