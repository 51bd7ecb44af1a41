"""What the verbs of ``processor.workflow`` talk to: the runtime of the run whose code is running.

It is found through the running event loop, which is a workflow's exactly while workflow code
runs. That needs no context variable, and it cannot leak into another thread or an activity.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from processor.workflow._asyncio import running_loop
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._engine.runtime import Runtime

__all__ = (
    "current",
    "in_workflow",
    "passing",
    "plain",
    "plainly",
    "runtime_or_none",
)

P = ParamSpec("P")
R = TypeVar("R")

plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)
"""True while a workflow's function runs as a plain coroutine, for example in a unit test."""


async def plainly(
    function: Callable[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Run workflow code where it can await all activities, also those that are plain functions."""
    token = plain.set(True)
    try:
        return await function(*args, **kwargs)
    finally:
        plain.reset(token)


passing: contextvars.ContextVar[bool] = contextvars.ContextVar("passing", default=False)
"""True inside of ``workflow.passthrough()``."""


def runtime_or_none() -> Runtime | None:
    """Return the runtime of the workflow code that calls this, if it is workflow code."""
    loop = running_loop()
    if type(loop) is WorkflowLoop:
        runtime: Runtime = loop.runtime
        return runtime
    return None


def in_workflow() -> bool:
    """Return whether the caller is workflow code that runs as a workflow."""
    return type(running_loop()) is WorkflowLoop


def current(verb: str) -> Runtime:
    """Return the runtime, for a verb that has no meaning outside of workflow code."""
    loop = running_loop()
    if type(loop) is WorkflowLoop:
        runtime: Runtime = loop.runtime
        return runtime
    raise RuntimeError(
        f"workflow.{verb}() was called outside of workflow code. It works in a function under "
        "@workflow.define that a worker (or processor.testing.Environment) runs"
    )
