"""What a shard says aloud, once it is in the log.

A run is parked, runs or attempts of an activity fail and are tried again, an event does not fit.
"""

from __future__ import annotations

import logging
from typing import Final

from processor.core.correlation import CORRELATION
from processor.core.data.failure import BENIGN
from processor.core.nouns.external import EventRejected
from processor.core.nouns.run import RunParked, Summary, WorkflowFailed, WorkflowStarted
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Turn
from processor.readable import readable

__all__ = ("TOLD", "Telling")

_log = logging.getLogger("processor.shard")

TOLD: Final = frozenset((EventRejected, RunParked))
"""The events of which ``events`` has something to say."""

_AGAIN_MS: Final = 10_000
"""The same thing is told of once in that time, and how often it happened since."""

_NAMES_MAX: Final = 1_000

_SPINS_MIN: Final = 100
"""So many runs of a workflow that end where they began, in that time, are told."""


class Telling:
    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._told: dict[tuple[str, ...], tuple[int, int]] = {}

    def events(self, turn: Turn | Snapshot, workflow: str) -> None:
        """Say what the events of a turn are about, as far as people hear of them."""
        for event in turn.events:
            if isinstance(event, RunParked):
                self._parked(turn, event)
            elif isinstance(event, EventRejected):
                self._rejected(turn, workflow, event)

    def _parked(self, turn: Turn | Snapshot, parked: RunParked) -> None:
        """Say that a turn has parked its run."""
        trace = readable(parked.traceback, lines=True).strip().splitlines()
        _log.warning(
            "shard %d: run %s of %r is parked (%s): %s%s. It goes on when a worker with corrected "
            "code starts%s",
            self._partition,
            turn.run_id,
            turn.workflow_id,
            parked.kind,
            readable(parked.error),
            f" at {readable(parked.where)}" if parked.where else "",
            "".join(f"\n    {line}" for line in trace),
        )

    def failed(self, record: AttemptRecord) -> None:
        """Say that an attempt has failed and will be followed by another one."""
        name, attempt, failure = record.name, record.state, record.state.last_failure
        assert failure is not None and attempt.retry_at_ms is not None, "a retry has a failure"
        if failure.kind == BENIGN:
            return
        more = self._more((name,), record.time_ms)
        if more is None:
            return
        _log.warning(
            "shard %d: attempt %d of activity %r of %r failed; the next one is in %.1f s: %s: %s%s",
            self._partition,
            attempt.attempt,
            name,
            record.workflow_id,
            (attempt.retry_at_ms - record.time_ms) / 1000,
            readable(failure.type),
            readable(failure.message),
            f" (and {more} more of this activity since it was told last)" if more else "",
        )

    def followed(self, run: Summary, failed: WorkflowFailed, next: WorkflowStarted) -> None:
        """Say that a run has failed and is followed by another one, which tries again."""
        more = self._more((run.workflow,), run.updated_ms)
        if more is None:
            return
        lineage, begins_ms = next.lineage, next.begins_ms
        assert lineage is not None and begins_ms is not None, "what follows has a number and a time"
        _log.warning(
            "shard %d: run %s of %r (workflow %r) failed; run %s follows, which is attempt %d and "
            "begins in %.1f s: %s: %s%s",
            self._partition,
            run.run_id,
            run.workflow_id,
            run.workflow,
            run.successor,
            lineage.attempt,
            (begins_ms - run.updated_ms) / 1000,
            readable(failed.failure.type),
            readable(failed.failure.message),
            f" (and {more} more of this workflow since it was told last)" if more else "",
        )

    def spins(self, run: Summary) -> None:
        """Say that runs of a workflow go on as others again and again, and wait for nothing."""
        more = self._more((run.workflow, "goes on"), run.updated_ms)
        if more is not None and more >= _SPINS_MIN:
            _log.warning(
                "shard %d: workflow %r continues as new in the turn in which its code began, %d "
                "times lately (now run %s of %r). Each of these runs stays in the log: let a run "
                "await something before it goes on, such as a timer",
                self._partition,
                run.workflow,
                more,
                run.run_id,
                run.workflow_id,
            )

    def _rejected(self, turn: Turn | Snapshot, workflow: str, event: EventRejected) -> None:
        """Say that an event does not fit the type that the code waits for, which waits on."""
        more = self._more((workflow, event.name), turn.time_ms)
        if more is None:
            return
        if workflow == CORRELATION:  # it is for another run
            _log.warning(
                "shard %d: event %r of %r went to the dead letters: %s%s",
                self._partition,
                event.name,
                turn.workflow_id,
                readable(event.reason),
                f" (and {more} more such events since it was told last)" if more else "",
            )
            return
        _log.warning(
            "shard %d: event %r does not fit the type that run %s of %r (workflow %r) waits for: "
            "%s. The run still waits: send the event again with a payload of that type. The one "
            "that was sent is in the run's history (EventRejected)%s",
            self._partition,
            event.name,
            turn.run_id,
            turn.workflow_id,
            workflow,
            readable(event.reason),
            f" (and {more} more such events since it was told last)" if more else "",
        )

    def _more(self, what: tuple[str, ...], now_ms: int) -> int | None:
        """Return how often it happened since it was told last; None where that was just now."""
        told_ms, more = self._told.get(what, (now_ms - _AGAIN_MS, 0))
        if now_ms - told_ms < _AGAIN_MS:
            self._told[what] = told_ms, more + 1
            return None
        if len(self._told) >= _NAMES_MAX:
            self._told.clear()
        self._told[what] = now_ms, 0
        return more
