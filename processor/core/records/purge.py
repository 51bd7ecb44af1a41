"""What is left of a run whose history is gone: its id, so that it is not used again by mistake."""

from __future__ import annotations

from processor.core.nouns.run import Summary
from processor.core.records.turn import Purged
from processor.policy import Status

__all__ = ("summary_of",)


def summary_of(purged: Purged) -> Summary:
    """Return the row that stays of a purged run."""
    return Summary(
        purged.workflow_id,
        purged.run_id,
        purged.first_run_id,
        purged.workflow,
        Status(purged.status),
        purged.started_ms,
        purged.closed_ms,
        purged.closed_ms,
        purged.events,
        custom_status=None,
        cancel_reason=None,
        result=None,
        failure=None,
        parked=None,
        memo=None,
        purged_ms=purged.time_ms,
    )
