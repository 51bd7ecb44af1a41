"""The verbs of workflow code.

Plain ``asyncio`` works too: ``sleep``, ``gather``, ``wait``, ``TaskGroup``, ``timeout``, ``Queue``
and the rest run on a deterministic loop, where a sleep is a durable timer. What these verbs add is
what asyncio has no word for. Each is at home in the module of its noun (``_nouns``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from processor.core.data.address import RunRef
from processor.workflow._context import in_workflow, passing
from processor.workflow._correlation import correlate, uncorrelate
from processor.workflow._definition import Workflow, define, run
from processor.workflow._entities.locking import EntityLock, lock
from processor.workflow._entities.verbs import call_entity, signal_entity
from processor.workflow._handlers import query, update
from processor.workflow._nouns.activity import call_activity
from processor.workflow._nouns.call import cancel, signal
from processor.workflow._nouns.chain import continue_as_new
from processor.workflow._nouns.child import Child, call_child, start_child
from processor.workflow._nouns.condition import wait_until
from processor.workflow._nouns.external import wait_for_event
from processor.workflow._nouns.handler import all_handlers_finished, on_query, on_signal
from processor.workflow._nouns.http import HttpResponse, call_http
from processor.workflow._nouns.instance import InstanceHandle, handle, signal_with_start
from processor.workflow._nouns.promise import Promise, promise
from processor.workflow._nouns.record import publish
from processor.workflow._nouns.run import WorkflowInfo, info, logger, now, random, uuid4
from processor.workflow._nouns.timer import sleep, timer
from processor.workflow._nouns.update import on_update
from processor.workflow._nouns.value import (
    set_status,
    set_value,
    side_effect,
    upsert_attributes,
    upsert_memo,
)
from processor.workflow._saga import Saga
from processor.workflow._schedule import schedule

__all__ = (
    "Child",
    "EntityLock",
    "HttpResponse",
    "InstanceHandle",
    "Promise",
    "RunRef",
    "Saga",
    "Workflow",
    "WorkflowInfo",
    "all_handlers_finished",
    "call_activity",
    "call_child",
    "call_entity",
    "call_http",
    "cancel",
    "continue_as_new",
    "correlate",
    "define",
    "handle",
    "in_workflow",
    "info",
    "lock",
    "logger",
    "now",
    "on_query",
    "on_signal",
    "on_update",
    "passthrough",
    "promise",
    "publish",
    "query",
    "random",
    "run",
    "schedule",
    "set_status",
    "set_value",
    "side_effect",
    "signal",
    "signal_entity",
    "signal_with_start",
    "sleep",
    "start_child",
    "timer",
    "uncorrelate",
    "update",
    "upsert_attributes",
    "upsert_memo",
    "uuid4",
    "wait_for_event",
    "wait_until",
)


@contextmanager
def passthrough() -> Iterator[None]:
    """Let the code inside reach files, sockets and threads, which the guard refuses elsewhere.

    For libraries that need them and whose answers are the same at each replay. Clocks and random
    numbers still answer from the run. ``Worker(passthrough=[...])`` does it for whole modules.
    """
    token = passing.set(True)
    try:
        yield
    finally:
        passing.reset(token)
