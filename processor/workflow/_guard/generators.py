"""Asynchronous generators that user code lets go of: closed on their own loop, or not at all.

Python asks a hook of the thread to close such a generator. The host's hook would run the user's
``finally`` blocks on the host's loop, so ours stands in front of it. It stays there between
activations, because setting a hook costs more than all the rest of entering a run.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from typing import Any

from processor.workflow._asyncio import running_loop
from processor.workflow._engine.loop import WorkflowLoop

__all__ = ("stand_in",)

Hook = Callable[[AsyncGenerator[Any, Any]], None] | None

_of_workflows: set[int] = set()
"""Ids of generators that workflow code began. One that ended leaves its id until that is used
again, so the set is never larger than the most that were alive at once."""


def stand_in() -> None:
    """Put our hook in front of the host's in this thread, unless it is there already."""
    first, last = sys.get_asyncgen_hooks()
    if type(getattr(last, "__self__", None)) is not _Hooks:
        hooks = _Hooks(first, last)
        sys.set_asyncgen_hooks(hooks.begun, hooks.dropped)


class _Hooks:
    def __init__(self, first: Hook, last: Hook) -> None:
        self._host_first = first
        self._host_last = last

    def begun(self, generator: AsyncGenerator[Any, Any]) -> None:
        if type(running_loop()) is WorkflowLoop:
            _of_workflows.add(id(generator))
        else:
            _of_workflows.discard(id(generator))
            if self._host_first is not None:
                self._host_first(generator)

    def dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Close a workflow's generator if user code runs; else its run is being dropped."""
        if id(generator) not in _of_workflows:
            if self._host_last is not None:
                self._host_last(generator)
            return
        _of_workflows.discard(id(generator))
        loop = running_loop()
        if type(loop) is WorkflowLoop and loop.guarded and not loop.dropped:
            loop.create_task(generator.aclose())
