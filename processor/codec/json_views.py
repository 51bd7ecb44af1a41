"""Runs and histories as JSON, for people, ``--json`` and replies. Payloads appear as they are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, Final

import msgspec

from processor.core.data.address import Caller
from processor.core.nouns.activity import OpenActivity
from processor.core.nouns.call import CallSent
from processor.core.nouns.child import OpenChild
from processor.core.nouns.external import EventReceived
from processor.core.nouns.lineage import Lineage, Plan
from processor.core.nouns.locks.granting import HeldLock
from processor.core.nouns.promise import PromiseId
from processor.core.nouns.run import BEGIN, Summary, WorkflowStarted
from processor.core.records.answers import Page
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.core.state import RunState
from processor.injection.payloads import encoding_of

__all__ = (
    "history_page",
    "history_view",
    "lineage_view",
    "open_view",
    "pending_view",
    "summary_view",
    "to_json",
)

_PAYLOADS = frozenset(
    {
        *("arguments", "payload", "result", "value", "details", "memo", "custom_status"),
        *("previous_result", "last_result", "attributes", "output"),
    }
)
_SECRET = frozenset({"seed"})
"""Whoever knows it can tell what the run draws at random."""

_PAGE_BYTES: Final = 400_000
_SHOWN_MAX: Final = 100
"""A run may have thousands, and an answer is one record."""

_NESTED_MAX: Final = 200
"""Python's readers of JSON give up at about a thousand frames, of which their callers take some."""

_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)
"""Brackets, and strings as a whole, since those may hold brackets that mean nothing."""


def to_json(view: object) -> bytes:
    return msgspec.json.encode(view)


def summary_view(summary: Summary) -> dict[str, Any]:
    """Return a run's summary: the fields of ``Summary``, without those that are None."""
    return {name: value for name, value in _plain(summary).items() if value is not None}


def open_view(
    state: RunState,
    waiting: Sequence[str],
    unread: Sequence[EventReceived],
    next_ms: Callable[[str], int | None],
) -> dict[str, Any]:
    """Return what a description says of an open run beside its summary.

    ``waiting`` are the lines where its code waits, ``unread`` the events that it has not taken.
    ``next_ms`` says when the next time of a cron string is.
    """
    return {
        "pending": pending_view(state, waiting, unread),
        "attempt": _attempt(state),
        "correlations": [_plain(key) for key in state.held()],
        **_begin(state, next_ms),
    }


def pending_view(
    state: RunState, waiting: Sequence[str], unread: Sequence[EventReceived]
) -> dict[str, Any]:
    """Return what an open run waits for: activities, timers, calls, children, promises, and code.

    Of its children, ``children_open`` are all of them, and ``children`` the first ones. So it is
    with its promises.
    ``callers``: so many other runs wait for something of it.
    ``unread``: the events that wait for the code, counted by their names.
    ``locks``: those of entities that the run holds (with a number) or waits for. Of an entity,
    ``lock`` is who holds it, ``lock_waiting`` how many runs wait for that, and ``lock_waits`` the
    first ones.
    """
    return {
        "activities": [_activity(activity) for activity in state.activities.values()],
        "timers": [_timer(state, id, due_ms) for id, due_ms in state.timers.items()],
        "calls": [_call(call) for call in state.calls.values()],
        "updates": [
            {"id": each.id, "name": each.name} for each in state.updates.values() if not each.over
        ],
        "children_open": len(state.children),
        "children": [_child(each) for each in islice(state.children.values(), _SHOWN_MAX)],
        "promises_open": len(state.promises),
        "promises": [
            {"id": _promise(state, number), "number": number, "made_ms": made_ms}
            for number, made_ms in islice(state.promises.items(), _SHOWN_MAX)
        ],
        "callers": len(state.callers),
        "locks": [
            {"id": id, "entity": each.called.to.workflow_id, "number": each.number}
            for id, each in state.locks.items()
        ],
        "lock": None if state.lock is None else _lock(state.lock),
        "lock_waiting": len(state.waits_for_lock()),
        "lock_waits": [_holder(each) for each in state.waits_for_lock()[:_SHOWN_MAX]],
        "values": {name: _value("value", value) for name, (_, value) in state.values.items()},
        "unread": dict(Counter(event.name for event in unread)),
        "waiting": list(waiting),
    }


def _attempt(state: RunState) -> dict[str, Any] | None:
    """Return which attempt of its chain an open run is; None where it began, and is the only one.

    ``begins_ms``: when its code begins, while that is still to come.
    """
    started = state.started
    assert started is not None, "an open run has begun"
    lineage, retry = started.lineage or Lineage(), (started.plan or Plan()).retry
    begins_ms = state.timers.get(BEGIN)
    if retry is None and begins_ms is None:
        return None
    return {
        "number": lineage.attempt,
        "maximum": 1 if retry is None else retry.maximum_attempts,
        "begins_ms": begins_ms,
        "last_failure": _value("", lineage.previous_failure),
    }


def _begin(state: RunState, next_ms: Callable[[str], int | None]) -> dict[str, Any]:
    """Return when the code of an open run begins, its cron string, and when the next run begins.

    That is at the first time of the string from now on, if this run has ended by then.
    """
    cron = None if state.started is None or state.started.plan is None else state.started.plan.cron
    told = {"begins_ms": state.timers.get(BEGIN), "cron": cron}
    if cron is not None and told["begins_ms"] is None:
        told["next_ms"] = next_ms(cron)
    return told


def lineage_view(started: WorkflowStarted) -> dict[str, Any]:
    """Return the parent and the root of a child; nothing of a run that is none.

    ``parent_namespace`` is None where the parent is in the child's own.
    """
    lineage = started.lineage
    if lineage is None or lineage.parent is None:
        return {}
    namespace = None if lineage.caller is None else lineage.caller.address.namespace
    ancestors = {"parent": lineage.parent, "root": lineage.root or lineage.parent}
    return {"parent_namespace": namespace} | {name: _plain(run) for name, run in ancestors.items()}


def history_view(turn: Turn | Snapshot) -> Iterable[dict[str, Any]]:
    """Yield the events of a turn, each with its number, its time and its type."""
    for index, event in enumerate(turn.events):
        yield {
            "number": turn.first + index,
            "time_ms": turn.time_ms,
            "type": type(event).__name__,
            **_plain(event),
        }


def history_page(
    run_id: str, turns: Iterable[tuple[bytes, Turn | Snapshot]], **more: object
) -> Page:
    """Return a page of the history of a run: the turns, of which each comes with its bytes.

    ``more`` stands beside the events.
    """
    views: list[dict[str, Any]] = []
    size, after = 0, None
    for value, turn in turns:
        if size + len(value) > _PAGE_BYTES and views:
            after = str(turn.first)
            break
        size += len(value)
        views.extend(history_view(turn))
    return Page(to_json({"run_id": run_id, "events": views, **more}), after)


def _timer(state: RunState, id: int, due_ms: int) -> dict[str, Any]:
    signal = state.delayed.get(id)
    return {"id": id, "due_ms": due_ms} | ({} if signal is None else {"signal": signal.name})


def _activity(activity: OpenActivity) -> dict[str, Any]:
    state = activity.state
    return {
        "id": activity.id,
        "name": activity.name,
        "attempt": state.attempt,
        "queue": activity.options.queue,
        "eager": state.eager,
        "worker": state.worker,
        "scheduled_ms": activity.scheduled_ms,
        "dispatched_ms": state.dispatched_ms,
        "started_ms": state.started_ms,
        "heartbeat_ms": state.heartbeat_ms,
        "retry_at_ms": state.retry_at_ms,
        "left_open": state.is_left_open,
        "asked_to_stop": activity.stop_ms is not None,
        "paused": activity.paused,
        "details": _value("details", state.details),
        "failures": state.failures,
        "first_failure": _value("", state.first_failure),
        "last_failure": _value("", state.last_failure),
    }


def _call(call: CallSent) -> dict[str, Any]:
    return {
        "id": call.id,
        "to": call.to.workflow_id,
        "namespace": call.to.namespace,
        "operation": type(call.operation).__name__,
    }


def _lock(lock: HeldLock) -> dict[str, Any]:
    return {**_holder(lock.holder), "number": lock.number, "since_ms": lock.since_ms}


def _holder(caller: Caller) -> dict[str, Any]:
    return {"workflow_id": caller.address.workflow_id, "run_id": caller.run_id}


def _promise(state: RunState, number: int) -> str:
    return PromiseId(state.workflow_id, state.run_id, number).text


def _child(child: OpenChild) -> dict[str, Any]:
    called = child.called
    return {
        "id": called.id,
        "workflow_id": called.to.workflow_id,
        "namespace": called.to.namespace,
        "run_id": child.run_id or None,
        "workflow": called.workflow,
        "parent_close": called.parent_close,
        "cancelled": child.cancelled,
    }


def _plain(record: Any) -> dict[str, Any]:
    names = (field.name for field in fields(record) if field.name not in _SECRET)
    return {name: _value(name, getattr(record, name)) for name in names}


def _value(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return _payload(value) if name in _PAYLOADS else value
    if name == "headers":
        return {key: _text(held) for key, held in value}
    if is_dataclass(value):
        return _plain(value)
    if isinstance(value, tuple):
        return [_value("", item) for item in value]
    return value


def _payload(value: bytes) -> Any:
    """Return a payload as it is where it is JSON; else as bytes, with the codec that made them."""
    if encoding := encoding_of(value):
        return {"encoded_by": encoding, "data": value}
    return msgspec.Raw(value) if _is_json(value) else value


def _text(value: bytes) -> str | bytes:
    """Return a header as text, where it is text."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _is_json(value: bytes) -> bool:
    """Return whether a payload may stand in a view as it is: whoever reads that has to cope."""
    try:
        msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    brackets = value.count(b"[") + value.count(b"{")
    return brackets <= _NESTED_MAX or _nesting(value) <= _NESTED_MAX


def _nesting(json: bytes) -> int:
    """Return how deep the arrays and objects of valid JSON are nested."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(json):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket in b"]}":
            depth -= 1
    return deepest
