"""Threads that nobody waits for, and whose end is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Thread

__all__ = ("guarded_thread",)

_log = logging.getLogger("processor.kafka")


def guarded_thread(
    name: str, work: Callable[[], None], died: Callable[[Exception], None]
) -> Thread:
    """Return a thread, not started yet, that says so and calls ``died`` where an error ends it."""

    def run() -> None:
        try:
            work()
        except Exception as error:  # a bug: whoever waits for this thread has to know
            _log.exception("the thread %r died", name)
            died(error)

    return Thread(target=run, name=name, daemon=True)
