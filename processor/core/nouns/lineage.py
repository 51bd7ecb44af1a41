"""Where a run comes from, what the run before handed on to it, and how it is to be run."""

from __future__ import annotations

from typing import Final

from processor.attributes import check_encoded
from processor.checks import TEXT_BYTES_MAX, TIME_MS_MAX
from processor.core.data.address import Caller, RunRef
from processor.core.data.bounds import DURATION_MS_MAX, NUMBER_MAX, check_range, check_text, size_of
from processor.core.data.failure import Failure
from processor.core.data.fields import Int32
from processor.core.data.frozen import frozen
from processor.core.nouns.external import EventReceived
from processor.errors import SchemaMismatch

__all__ = ("Carried", "Correlation", "Lineage", "Plan", "RetryOptions", "UpdateOutcome")

_COEFFICIENT_MAX: Final = 1_000_000
_OUTCOME_BYTES: Final = 20
"""What an outcome takes beside its texts and its payloads."""


@frozen
class Correlation:
    """A business key that the run holds."""

    name: str
    """Kind of key, for example shipment."""
    key: str
    """The key itself."""


@frozen
class UpdateOutcome:
    """An update that was accepted, and what came of it."""

    id: str
    """Id of the update."""
    name: str
    """Name of its handler."""
    payload: bytes | None
    """Encoded argument, while it is not over."""
    over: bool
    """Whether its handler has ended."""
    result: bytes | None = None
    """Encoded return value of its handler."""
    failure: Failure | None = None
    """Why its handler failed."""

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        texts = len(self.id) + len(self.name) + len(self.payload or b"") + len(self.result or b"")
        return texts + _OUTCOME_BYTES + (0 if self.failure is None else size_of(self.failure))


@frozen
class Carried:
    """What a run hands on to the next one of its chain."""

    events: tuple[EventReceived, ...] = ()
    """External events that no code has taken, in order."""
    updates: tuple[UpdateOutcome, ...] = ()
    """Updates that were accepted, in order."""
    correlations: tuple[Correlation, ...] = ()
    """Business keys that the chain holds."""
    keys: tuple[str, ...] = ()
    """Idempotency keys that have been used, the oldest first."""


@frozen
class Lineage:
    """Where a run comes from."""

    first_run_id: str | None = None
    """First run of the chain; None: this one."""
    previous_run_id: str | None = None
    """Run that this one follows."""
    attempt: Int32 = 1
    """Number of the run among the retries of one start; the first one is 1."""
    previous_result: bytes | None = None
    """Encoded result of the run before, where it had one."""
    previous_failure: Failure | None = None
    """Why the run before failed, where it did."""
    parent: RunRef | None = None
    """Run that started this one as its child."""
    root: RunRef | None = None
    """First ancestor of all; None: the parent, or nobody."""
    caller: Caller | None = None
    """Who waits for the end of the run."""
    carried: Carried | None = None
    """What the run before handed on."""


@frozen
class RetryOptions:
    """When a failed run is followed by another one. Durations are in milliseconds."""

    initial_interval_ms: int
    """Delay before the second run."""
    coefficient: float
    """Each further delay is so many times the one before."""
    maximum_interval_ms: int
    """No delay is longer."""
    maximum_attempts: Int32 | None = None
    """No more runs, the first one included; None means no limit."""
    non_retryable: tuple[str, ...] = ()
    """Error types after which no run follows."""

    def check(self) -> None:
        check_range("initial_interval_ms", self.initial_interval_ms, 1, DURATION_MS_MAX)
        check_range("maximum_interval_ms", self.maximum_interval_ms, 1, DURATION_MS_MAX)
        check_range("maximum_attempts", self.maximum_attempts, 1, NUMBER_MAX)
        if not 1 <= self.coefficient <= _COEFFICIENT_MAX:
            raise SchemaMismatch(f"coefficient: {self.coefficient} is not from 1 to 1,000,000")


@frozen
class Plan:
    """How a run is to be run beyond its first turn."""

    version: Int32 | None = None
    """Version of the workflow's code that the run stays with; None: any."""
    retry: RetryOptions | None = None
    """When the run is followed by another one if it fails; None: never, and in a start, as its
    definition says.
    """
    cron: str | None = None
    """At which times runs of the chain begin, one after the other; None: it is one run."""
    start_at_ms: int | None = None
    """When its first turn begins, in milliseconds since the epoch; None: at once."""
    deadline_ms: int | None = None
    """When the chain ends whatever happens, in milliseconds since the epoch; None: never."""
    attributes: bytes | None = None
    """Encoded search attributes."""

    def check(self) -> None:
        """Raise ``SchemaMismatch`` for what nobody may ask for in a start, or not yet."""
        for name in ("version", "deadline_ms"):
            if getattr(self, name) is not None:
                raise SchemaMismatch(f"plan.{name}: this release does not know it in a start")
        check_range("start_at_ms", self.start_at_ms, 0, TIME_MS_MAX)
        if self.attributes is not None:
            check_encoded(self.attributes)
        if self.cron is not None:
            check_text("cron string", self.cron, TEXT_BYTES_MAX)
            if self.start_at_ms is not None:
                raise SchemaMismatch("a start has a cron string or a time to begin at, not both")
        if self.retry is not None:
            self.retry.check()
