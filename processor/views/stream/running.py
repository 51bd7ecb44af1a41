"""How an application of Faust's runs in an asyncio program, until it is stopped or fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic
from typing import Final

from processor.errors import ProcessorError
from processor.views.stream.app import ViewsApp

__all__ = ("run_until", "shown_lag")

_log = logging.getLogger("processor.views")

_LOOK_S: Final = 0.2
_TELL_EVERY_S: Final = 60.0


async def run_until(app: ViewsApp, stopped: asyncio.Event, what: str) -> None:
    """Run an application until ``stopped``, or until it fails, and raise why.

    It logs the lag once it is up to date, and each minute; ``what`` is named there.
    """
    told_at, behind = monotonic(), True
    try:
        await app.start()
        while not (stopped.is_set() or app.failed.done()):
            if app.crashed:
                raise app.crash_reason or ProcessorError("Faust ended and did not say why")
            await asyncio.wait((app.failed,), timeout=_LOOK_S)
            lag = app.lag()
            caught_up = behind and bool(lag) and not any(lag.values())
            if caught_up or (lag and monotonic() > told_at + _TELL_EVERY_S):
                told_at, behind = monotonic(), any(lag.values())
                _log.info("%s: %s", what, shown_lag(lag))
        if app.failed.done():
            app.failed.result()
    finally:
        app.failed.cancel()
        await app.stop()
        app.close()


def shown_lag(lag: Mapping[int, int]) -> str:
    """Return how far views are behind the log, in words."""
    behind = {partition: count for partition, count in sorted(lag.items()) if count}
    if not behind:
        return f"up to date with {len(lag)} partitions"
    each = ", ".join(f"partition {partition} by {count:,}" for partition, count in behind.items())
    return f"{sum(behind.values()):,} records behind ({each})"
