"""Threads that let those that run go on: the threads of the Kafka clients.

A thread that is woken usually interrupts the one that woke it. So librdkafka would send the first
record of a batch, alone, before the event loop has handed over the second one: a request for each
record, each with a change of threads on both sides. Under Linux's policy for batch work a woken
thread waits until a core is free, or until the loop sleeps, and then finds them all. What that
brings is measured in ``docs/performance.md``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ("background_threads",)


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
