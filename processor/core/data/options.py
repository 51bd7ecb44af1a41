"""How one activity is to be run: its queue, retry policy and time-outs, in wire form."""

from __future__ import annotations

from typing import Final

from processor.core.data.fields import Int32
from processor.core.data.frozen import frozen

__all__ = ("DEFAULTS", "ActivityOptions")


@frozen
class ActivityOptions:
    """How an activity is to be run. Durations are in milliseconds; None means no limit."""

    queue: str = "default"
    """Queue whose workers may run it."""
    eager: bool | None = None
    """True asks for the process that owns the shard, false for the queue, None lets the shard
    choose: the process where the activity is registered and a slot is free.
    """
    initial_interval_ms: int = 1_000
    """Delay before the second attempt."""
    coefficient: float = 2.0
    """Each further delay is so many times the one before."""
    maximum_interval_ms: int = 100_000
    """No delay is longer."""
    maximum_attempts: Int32 | None = None
    """No more attempts, the first one included."""
    non_retryable: tuple[str, ...] = ()
    """Error types that end the retries at once."""
    schedule_to_start_ms: int | None = None
    """How long an attempt may wait in its queue."""
    start_to_close_ms: int | None = None
    """How long one attempt may run."""
    schedule_to_close_ms: int | None = None
    """How long all attempts together may take."""
    heartbeat_ms: int | None = None
    """How long an attempt may be silent."""


DEFAULTS: Final = ActivityOptions()
"""What stands in the log as no options at all."""
