"""Where a run comes from, what the run before handed on to it, and how it is to be run."""

from __future__ import annotations

from typing import Final

from processor.core.data.address import Caller, RunRef
from processor.core.data.bounds import DURATION_MS_MAX, NUMBER_MAX, check_range
from processor.core.data.failure import Failure
from processor.core.data.frozen import frozen
from processor.core.nouns.external import EventReceived
from processor.errors import SchemaMismatch

__all__ = ("Carried", "Correlation", "Lineage", "Plan", "RetryOptions", "UpdateOutcome")

_COEFFICIENT_MAX: Final = 1_000_000


@frozen
class Correlation:
    """A business key that a run holds."""

    name: str
    key: str


@frozen
class UpdateOutcome:
    """An update that was accepted, and what came of it once it is ``over``."""

    id: str
    name: str
    payload: bytes | None
    over: bool
    result: bytes | None = None
    failure: Failure | None = None


@frozen
class Carried:
    """What a run hands on to the next one of its chain."""

    events: tuple[EventReceived, ...] = ()
    updates: tuple[UpdateOutcome, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    keys: tuple[str, ...] = ()


@frozen
class Lineage:
    """Where a run comes from. ``first_run_id`` None: it is the first one of its chain."""

    first_run_id: str | None = None
    previous_run_id: str | None = None
    attempt: int = 1
    previous_result: bytes | None = None
    previous_failure: Failure | None = None
    parent: RunRef | None = None
    root: RunRef | None = None
    caller: Caller | None = None
    carried: Carried | None = None


@frozen
class RetryOptions:
    """When a failed run is followed by another one. Durations are in milliseconds."""

    initial_interval_ms: int
    coefficient: float
    maximum_interval_ms: int
    maximum_attempts: int | None = None
    non_retryable: tuple[str, ...] = ()

    def check(self) -> None:
        check_range("initial_interval_ms", self.initial_interval_ms, 1, DURATION_MS_MAX)
        check_range("maximum_interval_ms", self.maximum_interval_ms, 1, DURATION_MS_MAX)
        check_range("maximum_attempts", self.maximum_attempts, 1, NUMBER_MAX)
        if not 1 <= self.coefficient <= _COEFFICIENT_MAX:
            raise SchemaMismatch(f"coefficient: {self.coefficient} is not from 1 to 1,000,000")


@frozen
class Plan:
    """How a run is to be run beyond its first turn; None everywhere means: as it comes."""

    version: int | None = None
    retry: RetryOptions | None = None
    cron: str | None = None
    start_at_ms: int | None = None
    deadline_ms: int | None = None
    attributes: bytes | None = None

    def check(self) -> None:
        """Raise ``SchemaMismatch`` for what nobody may ask for in a start, or not yet."""
        for name in ("version", "cron", "start_at_ms", "deadline_ms", "attributes"):
            if getattr(self, name) is not None:
                raise SchemaMismatch(f"plan.{name}: this release does not know it in a start")
        if self.retry is not None:
            self.retry.check()
