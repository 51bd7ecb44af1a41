"""Reading: code of a run is called to look, and whatever it asks for is refused."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from processor.core.runner import Spoiled
from processor.workflow._asyncio import put_aside, put_back, running_loop, set_running_loop
from processor.workflow._engine.runtime import Runtime
from processor.workflow._frames import line_here
from processor.workflow._guard.library import Library

__all__ = ("reading",)


class _NothingDue(deque[Any]):
    """The queue of a loop on which nothing may be due. ``asked`` is the line that tried."""

    asked: str | None = None

    def append(self, handle: Any) -> None:
        if self.asked is None:
            self.asked = line_here()
        raise Spoiled("it began or woke a task; it may only read and compute")


@contextmanager
def reading(runtime: Runtime, what: str, seed: bytes | None = None) -> Iterator[None]:
    """Be in the code of a run, which may be over, as if it ran; everything is as before after it.

    Random numbers drawn meanwhile are no part of the run. They come of ``seed`` where that is
    given: while the code runs, replay has to see the same ones.
    """
    loop, decisions = runtime.loop, runtime.decisions
    host = running_loop()
    host_task = put_aside(host) if host is not None else None
    before = loop.runtime, loop.ready, loop.dropped, loop._number, runtime.library, runtime._parts
    errors = loop.violation, runtime.broken
    library = Library(os.urandom(16) if seed is None else seed)
    guarded = loop.guarded
    library.now_ms, library.zero_ms = runtime.library.now_ms, runtime.library.zero_ms
    library.number = runtime.library.number
    loop.ready = nothing_due = _NothingDue()
    loop.runtime, loop.dropped, runtime.library = runtime, False, library
    runtime._parts = {}
    decisions.refusal, decisions.refused = what, ""
    loop.violation = runtime.broken = None
    set_running_loop(loop)
    loop.guarded = True
    try:
        yield
    finally:
        loop.guarded = guarded
        set_running_loop(host)
        if host is not None and host_task is not None:
            put_back(host, host_task)
        decisions.refusal = ""
        violation = loop.violation
        loop.violation, runtime.broken = errors
        loop.runtime, loop.ready, loop.dropped, loop._number = before[:4]
        runtime.library, runtime._parts = before[4:]
        did = ""
        if nothing_due.asked is not None:
            did = f"began or woke a task{nothing_due.asked and f' at {nothing_due.asked}'}"
        elif decisions.refused:
            did = f"asked for {decisions.refused}"
        if did:
            raise Spoiled(f"{what} {did}; it may only read and compute") from None
        if violation is not None:
            raise Spoiled(f"{what} may only read and compute: {violation[0]}") from None
