"""Where a run comes from, what the run before handed on to it, and how it is to be run."""

from __future__ import annotations

from processor.core.data.address import Caller, RunRef
from processor.core.data.failure import Failure
from processor.core.data.frozen import frozen
from processor.core.nouns.external import EventReceived

__all__ = ("Carried", "Correlation", "Lineage", "Plan", "RetryOptions", "UpdateOutcome")


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


@frozen
class Plan:
    """How a run is to be run beyond its first turn; None everywhere means: as it comes."""

    version: int | None = None
    retry: RetryOptions | None = None
    cron: str | None = None
    start_at_ms: int | None = None
    deadline_ms: int | None = None
    attributes: bytes | None = None
