"""How one activity is to be run: its queue, retry policy and time-outs, in wire form."""

from __future__ import annotations

from typing import Final

from processor.core.data.frozen import frozen

__all__ = ("DEFAULTS", "ActivityOptions")


@frozen
class ActivityOptions:
    """Durations are in milliseconds; ``None`` means no limit.

    ``eager``: True asks for the process that owns the shard, False for the queue, None lets the
    shard choose (eager where the activity is registered and a slot is free).
    """

    queue: str = "default"
    eager: bool | None = None
    initial_interval_ms: int = 1_000
    coefficient: float = 2.0
    maximum_interval_ms: int = 100_000
    maximum_attempts: int | None = None
    non_retryable: tuple[str, ...] = ()
    schedule_to_start_ms: int | None = None
    start_to_close_ms: int | None = None
    schedule_to_close_ms: int | None = None
    heartbeat_ms: int | None = None


DEFAULTS: Final = ActivityOptions()
"""What stands in the log as no options at all."""
