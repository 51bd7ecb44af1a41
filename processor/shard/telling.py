"""What a shard says aloud, once it is in the log: a run is parked, attempts of an activity fail."""

from __future__ import annotations

import logging
from typing import Final

from processor.core.nouns.run import RunParked
from processor.core.snapshot import Snapshot
from processor.core.turn import AttemptRecord, Turn
from processor.readable import readable

__all__ = ("Telling",)

_log = logging.getLogger("processor.shard")

_AGAIN_MS: Final = 10_000
"""An activity whose attempts fail is told of once in that time, and how often it failed since."""

_NAMES_MAX: Final = 1_000


class Telling:
    def __init__(self, partition: int) -> None:
        self._partition = partition
        self._failing: dict[str, tuple[int, int]] = {}

    def parked(self, turn: Turn | Snapshot, parked: RunParked) -> None:
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
        name, attempt, now_ms = record.name, record.state, record.time_ms
        told_ms, more = self._failing.get(name, (now_ms - _AGAIN_MS, 0))
        if now_ms - told_ms < _AGAIN_MS:
            self._failing[name] = told_ms, more + 1
            return
        if len(self._failing) >= _NAMES_MAX:
            self._failing.clear()
        self._failing[name] = now_ms, 0
        failure = attempt.last_failure
        assert failure is not None and attempt.retry_at_ms is not None, "a retry has a failure"
        _log.warning(
            "shard %d: attempt %d of activity %r of %r failed; the next one is in %.1f s: %s: %s%s",
            self._partition,
            attempt.attempt,
            name,
            record.workflow_id,
            (attempt.retry_at_ms - now_ms) / 1000,
            readable(failure.type),
            readable(failure.message),
            f" (and {more} more of this activity since it was told last)" if more else "",
        )
