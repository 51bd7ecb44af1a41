"""Where an open activity stands: the attempt that is out, or the retry that it waits for.

This is no history. Each change is a record of its own that replaces the one before, so that an
activity which is retried for a month takes one row of the log, whatever it costs meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from processor.core.failure import Failure
from processor.core.frozen import frozen
from processor.core.headers import Headers
from processor.core.inputs import TimerKind
from processor.core.options import ActivityOptions

__all__ = ("AttemptState", "OpenActivity", "armed")


@frozen
class AttemptState:
    """``retry_at_ms`` is there while no attempt is out; ``started_ms`` once a worker announced it.

    ``starts`` counts the workers that began this attempt; of an eager one, in which process it was
    lost, it counts the attempts in a row that were lost with their process. ``failures`` counts the
    attempts that failed. ``details`` are those of the last heartbeat of any attempt.
    """

    id: int
    attempt: int
    eager: bool
    dispatched_ms: int
    started_ms: int | None = None
    heartbeat_ms: int | None = None
    retry_at_ms: int | None = None
    worker: str = ""
    starts: int = 0
    details: bytes | None = None
    failures: int = 0
    first_failure: Failure | None = None
    last_failure: Failure | None = None

    @property
    def is_dispatch(self) -> bool:
        """Whether this is the state in which an attempt leaves the shard."""
        return self.retry_at_ms is self.started_ms is self.heartbeat_ms is None


@dataclass(slots=True)
class OpenActivity:
    """An activity without an outcome.

    ``key`` is that of the log's record of ``state``, empty as long as the activity's own event
    says it all.
    """

    id: int
    name: str
    arguments: bytes | None
    options: ActivityOptions
    headers: Headers
    scheduled_ms: int
    state: AttemptState
    key: bytes = b""

    @property
    def attempt(self) -> int:
        return self.state.attempt

    @property
    def armed(self) -> Mapping[TimerKind, int]:
        return armed(self.options, self.scheduled_ms, self.state)


_NOTHING: Final[Mapping[TimerKind, int]] = MappingProxyType({})


def armed(
    options: ActivityOptions, scheduled_ms: int, state: AttemptState
) -> Mapping[TimerKind, int]:
    """Return what runs now for an activity: its retry and its time-outs, with their due times.

    Schedule-to-close spans all attempts. An eager attempt starts at once, and the process that
    runs it watches over it; only queued ones have time-outs of their own here.
    """
    found: dict[TimerKind, int] = {}
    if options.schedule_to_close_ms is not None:
        found["schedule_to_close"] = scheduled_ms + options.schedule_to_close_ms
    if state.retry_at_ms is not None:
        found["retry"] = state.retry_at_ms
    elif not state.eager:
        _arm_queued(found, options, state)
    return found or _NOTHING


def _arm_queued(found: dict[TimerKind, int], options: ActivityOptions, state: AttemptState) -> None:
    """Add what begins when an attempt leaves, when a worker announces it, and when it beats."""
    started_ms = state.started_ms
    if started_ms is None and options.schedule_to_start_ms is not None:
        found["schedule_to_start"] = state.dispatched_ms + options.schedule_to_start_ms
    if started_ms is not None and options.start_to_close_ms is not None:
        found["start_to_close"] = started_ms + options.start_to_close_ms
    beaten_ms = started_ms if state.heartbeat_ms is None else state.heartbeat_ms
    if beaten_ms is not None and options.heartbeat_ms is not None:
        found["heartbeat"] = beaten_ms + options.heartbeat_ms
