"""What the verbs of ``processor.workflow`` talk to: the runtime of the run whose code is running.

It is found through the running event loop, which is a workflow's exactly while workflow code
runs. That needs no context variable, and it cannot leak into another thread or an activity.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, ParamSpec

from processor.errors import InvalidArgument
from processor.workflow._asyncio import running_loop
from processor.workflow._engine.loop import WorkflowLoop
from processor.workflow._engine.runtime import Runtime
from processor.workflow._signature import is_async

__all__ = (
    "cannot_wait",
    "check_under_lock",
    "current",
    "in_workflow",
    "locked_here",
    "passing",
    "plain",
    "plainly",
    "runtime_or_none",
    "under_lock",
)

P = ParamSpec("P")

_NOT_OF_ENTITIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "continue_as_new": "its history does not grow, so there is nothing to go on from",
        "on_query": "a method under @entity.read answers",
        "on_signal": "a public method takes signals",
        "on_update": "a public method takes calls",
        "lock": "two entities that lock each other would wait for ever; lock in a workflow",
        "promise": "a promise may outlive the operation; wait for it in a workflow",
        "set_value": "keep the value in a field, and answer with a method under @entity.read",
        "wait_for_event": "events are operations of their own; wait in a workflow",
    }
)
"""What entities have another way for, by the verb of workflows."""

_NOT_UNDER_LOCK: Final[Mapping[str, str]] = MappingProxyType(
    {
        "call_child": "it might wait for what is locked here, for ever: call it outside",
        "lock": "two runs could wait for each other's: name all entities in one lock",
        "start_child": "it might wait for what is locked here, for ever: start it outside",
    }
)
"""What is refused inside of ``workflow.lock``, by the verb."""

under_lock: contextvars.ContextVar[Any] = contextvars.ContextVar("under_lock", default=None)
"""The lock of entities in whose block the code is; its children among the tasks are, too."""

plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)
"""True while a workflow's function runs as a plain coroutine, for example in a unit test."""


async def plainly(function: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> Any:
    """Run workflow code where it can await all activities, also those that are plain functions."""
    token = plain.set(True)
    try:
        result = function(*args, **kwargs)
        return await result if is_async(function) else result
    finally:
        plain.reset(token)


def cannot_wait(what: str) -> TypeError:
    """Return the error of a plain workflow that does ``what``, which had to be awaited."""
    return TypeError(
        f"a plain workflow (def) {what}, and has no await to wait for that: make it an `async def`,"
        " and await the call"
    )


passing: contextvars.ContextVar[bool] = contextvars.ContextVar("passing", default=False)
"""True inside of ``workflow.passthrough()``."""


def runtime_or_none() -> Runtime | None:
    """Return the runtime of the workflow code that calls this, if it is workflow code."""
    loop = running_loop()
    if type(loop) is WorkflowLoop:
        runtime: Runtime = loop.runtime
        return runtime
    return None


def locked_here() -> Any:
    """Return the lock of entities in whose block the code is; None: it is in none."""
    lock = under_lock.get()
    return lock if lock is not None and lock.is_held else None


def check_under_lock(verb: str) -> None:
    """Raise ``InvalidArgument`` for a verb that has no place in a lock's block, if this is one."""
    if verb in _NOT_UNDER_LOCK and locked_here() is not None:
        where = f"workflow.{verb}() inside of workflow.lock"
        raise InvalidArgument(f"{where}: {_NOT_UNDER_LOCK[verb]}")


def in_workflow() -> bool:
    """Return whether the caller is workflow code that runs as a workflow."""
    return type(running_loop()) is WorkflowLoop


def current(verb: str, *, awaited: bool = False) -> Runtime:
    """Return the runtime, for a verb that has no meaning outside of workflow code.

    ``awaited``: nor has it one where nothing can be awaited.
    """
    loop = running_loop()
    if type(loop) is WorkflowLoop:
        if awaited and loop.plain:
            raise cannot_wait(f"calls workflow.{verb}()")
        runtime: Runtime = loop.runtime
        if verb in _NOT_OF_ENTITIES and runtime.code.operating is not None:
            raise InvalidArgument(f"workflow.{verb}() in an entity: {_NOT_OF_ENTITIES[verb]}")
        check_under_lock(verb)
        return runtime
    raise RuntimeError(
        f"workflow.{verb}() was called outside of workflow code. It works in a function under "
        "@workflow.define that a worker (or processor.testing.Environment) runs"
    )
