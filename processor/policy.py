"""Policies that users pass: validated, frozen, and in terms of ``timedelta``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Literal

__all__ = ("ConflictPolicy", "RetryPolicy", "ReusePolicy", "Status", "milliseconds")

ReusePolicy = Literal["allow", "allow-failed", "reject"]
ConflictPolicy = Literal["fail", "use-existing", "terminate"]


class Status(str, Enum):
    """Where a run stands; only ``RUNNING`` and ``PARKED`` are open."""

    RUNNING = "running"
    PARKED = "parked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"

    @property
    def is_open(self) -> bool:
        return self in (Status.RUNNING, Status.PARKED)


def milliseconds(value: timedelta | float) -> int:
    """Return a duration (a ``timedelta``, or seconds) in whole milliseconds, rounded up."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    return -int(-seconds * 1000 // 1)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt of an activity is tried again.

    The delay before attempt n+1 is ``initial_interval * coefficient ** (n - 1)``, at most
    ``maximum_interval`` (default: 100 times the initial one). ``maximum_attempts`` counts the
    first attempt too; ``None`` means no limit. ``non_retryable`` holds error types (classes or
    their names) that end the retries at once.
    """

    initial_interval: timedelta = timedelta(seconds=1)
    coefficient: float = 2.0
    maximum_interval: timedelta | None = None
    maximum_attempts: int | None = None
    non_retryable: tuple[type[BaseException] | str, ...] = ()

    def __post_init__(self) -> None:
        if self.initial_interval <= timedelta(0):
            raise ValueError("RetryPolicy: initial_interval must be longer than 0")
        if self.coefficient < 1:
            raise ValueError("RetryPolicy: coefficient must be 1 or more")
        if self.maximum_interval is not None and self.maximum_interval < self.initial_interval:
            raise ValueError("RetryPolicy: maximum_interval must not be below initial_interval")
        if self.maximum_attempts is not None and self.maximum_attempts < 1:
            raise ValueError("RetryPolicy: maximum_attempts must be 1 or more, or None")

    @property
    def non_retryable_names(self) -> tuple[str, ...]:
        return tuple(e if isinstance(e, str) else e.__name__ for e in self.non_retryable)
