"""Policies that users pass: validated, frozen, and in terms of ``timedelta``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Literal, get_args

from processor import checks
from processor.errors import InvalidArgument

__all__ = (
    "ATTEMPTS_MAX",
    "CANCELLATIONS",
    "COEFFICIENT_MAX",
    "CONFLICT_POLICIES",
    "PARENT_CLOSES",
    "REUSE_POLICIES",
    "START_REUSES",
    "Cancellation",
    "ConflictPolicy",
    "ParentClose",
    "Reject",
    "RetryPolicy",
    "ReusePolicy",
    "StartReuse",
    "Status",
    "milliseconds",
)

ReusePolicy = Literal["allow", "allow-failed", "reject", "use-existing"]
StartReuse = Literal["allow", "allow-failed", "reject"]
"""What workflow code may say of the ids of those that it starts."""
ConflictPolicy = Literal["fail", "use-existing", "terminate"]
Reject = Literal["none", "not-open", "not-completed"]
ParentClose = Literal["terminate", "cancel", "abandon"]
Cancellation = Literal["try", "wait", "abandon"]
REUSE_POLICIES: Final[tuple[str, ...]] = get_args(ReusePolicy)
START_REUSES: Final[tuple[str, ...]] = get_args(StartReuse)
CONFLICT_POLICIES: Final[tuple[str, ...]] = get_args(ConflictPolicy)
PARENT_CLOSES: Final[tuple[str, ...]] = get_args(ParentClose)
CANCELLATIONS: Final[tuple[str, ...]] = get_args(Cancellation)

COEFFICIENT_MAX: Final = 1_000_000
ATTEMPTS_MAX: Final = 2**31 - 1


class Status(StrEnum):
    """Where a run stands; only ``RUNNING`` and ``PARKED`` are open."""

    RUNNING = "running"
    PARKED = "parked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"
    CONTINUED = "continued"

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
    their names) that end the retries at once; a class covers its subclasses. ``PayloadTooLarge``
    and ``SchemaMismatch`` always do. Intervals are a ``timedelta`` or seconds.
    """

    initial_interval: timedelta | float = timedelta(seconds=1)
    coefficient: float = 2.0
    maximum_interval: timedelta | float | None = None
    maximum_attempts: int | None = None
    non_retryable: Sequence[type[BaseException] | str] = ()

    def __post_init__(self) -> None:
        initial_ms = checks.duration_ms(self.initial_interval, "RetryPolicy: initial_interval")
        coefficient = self.coefficient
        if not _is_number(coefficient) or not 1 <= coefficient <= COEFFICIENT_MAX:
            raise InvalidArgument(
                "RetryPolicy: coefficient: give a number from 1 to 1,000,000, not "
                f"{checks.shown(coefficient)}"
            )
        if self.maximum_interval is not None:
            maximum = self.maximum_interval
            if checks.duration_ms(maximum, "RetryPolicy: maximum_interval") < initial_ms:
                raise InvalidArgument(
                    "RetryPolicy: maximum_interval must not be below initial_interval: "
                    f"{checks.shown(maximum)} is below {checks.shown(self.initial_interval)}"
                )
        attempts = self.maximum_attempts
        if attempts is not None:
            whole = isinstance(attempts, int) and not isinstance(attempts, bool)
            if not whole or not 1 <= attempts <= ATTEMPTS_MAX:
                raise InvalidArgument(
                    f"RetryPolicy: maximum_attempts: give a whole number from 1 to {ATTEMPTS_MAX:,}"
                    f", or None for no limit, not {checks.shown(attempts)}"
                )
        object.__setattr__(self, "non_retryable", _error_types(self.non_retryable))

    @property
    def non_retryable_names(self) -> tuple[str, ...]:
        return tuple(e if isinstance(e, str) else e.__name__ for e in self.non_retryable)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _error_types(given: object) -> tuple[type[BaseException] | str, ...]:
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InvalidArgument(
            "RetryPolicy: non_retryable: give a tuple or list of error classes or names, not "
            f"{checks.shown(given)}; for one, write a comma: ({checks.shown(given)},)"
        )
    found = tuple(given)
    for each in found:
        if isinstance(each, str):
            checks.name(each, "RetryPolicy: non_retryable")
        elif not (isinstance(each, type) and issubclass(each, BaseException)):
            raise InvalidArgument(
                "RetryPolicy: non_retryable: give error classes or their names, not "
                f"{checks.shown(each)}"
            )
    return found
