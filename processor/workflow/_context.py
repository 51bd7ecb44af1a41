"""What the verbs of ``processor.workflow`` talk to: the runtime of the run whose code is running.

It is found through the running event loop, which is a workflow's exactly while workflow code
runs. That needs no context variable, and it cannot leak into another thread or an activity.
"""

from __future__ import annotations

import contextvars
from abc import ABC, abstractmethod
from asyncio import _get_running_loop
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any

from processor.core.data.options import ActivityOptions
from processor.workflow._engine.loop import WorkflowLoop

__all__ = (
    "Runtime",
    "WorkflowInfo",
    "current",
    "in_workflow",
    "passing",
    "plain",
    "runtime_or_none",
)

plain: contextvars.ContextVar[bool] = contextvars.ContextVar("plain", default=False)
"""True while a workflow's function runs as a plain coroutine, for example in a unit test."""

passing: contextvars.ContextVar[bool] = contextvars.ContextVar("passing", default=False)
"""True inside of ``workflow.passthrough()``."""


@dataclass(frozen=True)
class WorkflowInfo:
    """Which run this is. ``started`` is the time of the turn in which its code began.

    ``headers`` came with its start.
    """

    workflow_id: str
    run_id: str
    workflow: str
    started: datetime
    headers: Mapping[str, bytes] = field(default_factory=dict)


class Runtime(ABC):
    """One run, as its code sees it. Durations are milliseconds, ``line`` is the user's line."""

    replaying: bool

    @abstractmethod
    def call_activity(
        self,
        name: str,
        arguments: tuple[Any, ...],
        options: ActivityOptions,
        result: Any,
        line: str,
    ) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that schedules the activity on its first step."""

    @abstractmethod
    def wait_for_event(
        self, name: str, type: Any, timeout_ms: int | None, line: str
    ) -> Coroutine[Any, Any, Any]: ...

    @abstractmethod
    def wait_until(
        self, predicate: Callable[[], object], timeout_ms: int | None, line: str
    ) -> Coroutine[Any, Any, None]: ...

    @abstractmethod
    def sleep(self, delay_ms: int | None, line: str) -> Coroutine[Any, Any, None]:
        """Return a coroutine that waits so long, or for ever where it is None."""

    @abstractmethod
    def publish(self, topic: str, key: str | bytes | None, value: Any, line: str) -> None: ...

    @abstractmethod
    def signal(self, workflow_id: str, name: str, payload: Any, line: str) -> None: ...

    @abstractmethod
    def cancel(self, workflow_id: str, reason: str, line: str) -> None: ...

    @abstractmethod
    def set_status(self, value: Any, line: str) -> None: ...

    @abstractmethod
    def side_effect(self, function: Callable[[], Any], type: Any, line: str) -> Any: ...

    @abstractmethod
    def now(self) -> datetime: ...

    @abstractmethod
    def random(self) -> Random: ...

    @abstractmethod
    def info(self) -> WorkflowInfo: ...


def runtime_or_none() -> Runtime | None:
    """Return the runtime of the workflow code that calls this, if it is workflow code."""
    loop = _get_running_loop()
    if type(loop) is WorkflowLoop:
        runtime: Runtime = loop.runtime
        return runtime
    return None


def in_workflow() -> bool:
    """Return whether the caller is workflow code that runs as a workflow."""
    return type(_get_running_loop()) is WorkflowLoop


def current(verb: str) -> Runtime:
    """Return the runtime, for a verb that has no meaning outside of workflow code."""
    loop = _get_running_loop()
    if type(loop) is WorkflowLoop:
        runtime: Runtime = loop.runtime
        return runtime
    raise RuntimeError(
        f"workflow.{verb}() was called outside of workflow code. It works in a function under "
        "@workflow.define that a worker (or processor.testing.Environment) runs"
    )
