"""Threads that let those that run go on: the threads of the Kafka clients.

A thread that is woken usually interrupts the one that woke it. So librdkafka would send the first
record of a batch, alone, before the event loop has handed over the second one: a request for each
record, each with a change of threads on both sides. Under Linux's policy for batch work a woken
thread waits until a core is free, or until the loop sleeps, and then finds them all. What that
brings is measured in ``docs/performance.md``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

__all__ = ("background_threads", "guarded_thread")

_log = logging.getLogger("processor.kafka")


@contextmanager
def background_threads() -> Iterator[None]:
    """Let the threads that begin in here, and theirs, not interrupt others when they are woken."""
    if not hasattr(os, "SCHED_BATCH"):  # not Linux
        yield
        return
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):  # a sandbox may forbid it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, policy, param)


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
