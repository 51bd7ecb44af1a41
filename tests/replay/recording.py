"""A recorded history: the bytes of its records, and in words what they are and what they do.

A file holds, for each record of a run, ``bytes`` (base64), the ``events`` in them (or where an
activity stands), the ``commands`` that the frozen code asks for when it gets there, and what of the
``state`` is new. The words come from the views below, which a later release adapts to its own
names; what they say may not change.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from processor import HistoryEvent
from processor.activity import Activity
from processor.codec.json_views import history_view, to_json
from processor.codec.payloads import JsonPayloads
from processor.codec.records import decode, encode
from processor.core.data.failure import Failure
from processor.core.event import Decision, Event
from processor.core.nouns.activity import OpenActivity
from processor.core.nouns.call import MessageRejected
from processor.core.nouns.external import EventReceived, EventRejected
from processor.core.nouns.run import WorkflowFailed, WorkflowStarted
from processor.core.nouns.update import UpdateCompleted
from processor.core.records.turn import AttemptRecord, Turn
from processor.core.replay import replay
from processor.core.runner import Asked, CodeError, Kept, Runner, Runners
from processor.core.state import RunState
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.workflow import Workflow
from processor.workflow._definition import defined
from processor.workflow._engine.runners import WorkflowRunners
from processor.workflow._entities.naming import is_entity

from . import programs_1, programs_open

RECORDED = Path(__file__).parent / "recorded"
OPEN = Path(__file__).parent / "open"
"""The histories of the open level. They may change until the level is closed."""
PROGRAMS: dict[str, ModuleType] = {"1": programs_1, OPEN.name: programs_open}
"""The code of each level that has recorded histories; that of a closed one is frozen."""

RunRecord = Turn | AttemptRecord

_FOR_PEOPLE = {"line", "traceback", "where"}
"""They hold paths, or depend on the release of Python."""


def registry_of(programs: Mapping[str, Any]) -> Registry:
    """Return the workflows, activities and entities among the names of a module."""
    workflows = [each for each in programs.values() if _is_workflow(each)]
    activities = [each for each in programs.values() if isinstance(each, Activity)]
    return Registry(workflows, activities, Injected(JsonPayloads()), entities_of(programs))


def entities_of(programs: Mapping[str, Any]) -> list[type[Any]]:
    """Return the entities among the names of a module."""
    return [each for each in programs.values() if is_entity(each)]


def _is_workflow(value: Any) -> bool:
    return isinstance(value, Workflow | type) and defined(value) is not None


def recorded() -> list[Path]:
    """Return the histories of the closed levels, and those of the open one."""
    found = [*RECORDED.glob("*/*.json"), *OPEN.glob("*.json")]
    return sorted(path for path in found if path.stem != "samples")


def load(path: Path) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return turns


def dump(turns: list[dict[str, Any]]) -> str:
    """Return turns as JSON, with a line for each event, command and other value."""
    return "[\n" + ",\n".join(_lines(turn) for turn in turns) + "\n]\n"


def _lines(turn: dict[str, Any]) -> str:
    lines = []
    for key, value in turn.items():
        text = json.dumps(value, ensure_ascii=False)
        if key in ("events", "commands") and value:
            text = "[\n  " + ",\n  ".join(json.dumps(v, ensure_ascii=False) for v in value) + "\n ]"
        lines.append(f' "{key}": {text}')
    return "{\n" + ",\n".join(lines) + "\n}"


def values_of(turns: list[dict[str, Any]]) -> list[bytes]:
    return [b64decode(turn["bytes"]) for turn in turns]


def history(name: str) -> list[HistoryEvent]:
    """Return a history of the newest level that recorded it, as a client reads it."""
    path = max((path for path in recorded() if path.stem == name), key=_newest)
    return shown(values_of(load(path)))


def _newest(path: Path) -> float:
    return math.inf if path.parent == OPEN else int(path.parent.name)


def shown(values: Sequence[bytes]) -> list[HistoryEvent]:
    """Return the records of a run as a client reads its history."""
    turns = [record for value in values if isinstance(record := decode(value), Turn)]
    views = [view for turn in turns for view in history_view(turn)]
    return [
        HistoryEvent(
            view.pop("number"),
            datetime.fromtimestamp(view.pop("time_ms") / 1000, UTC),
            view.pop("type"),
            view,
        )
        for view in json.loads(to_json(views))
    ]


def describe(values: Sequence[bytes], programs: ModuleType) -> list[dict[str, Any]]:
    """Return what a file has to hold: decode the records and replay them, up to each of them."""
    records = [_record(value) for value in values]
    described: list[dict[str, Any]] = []
    before: dict[str, Any] = {}
    activations = 0
    for number, (value, record) in enumerate(zip(values, records, strict=True), 1):
        listening = _Listening(WorkflowRunners(registry_of(vars(programs))))
        so_far = records[:number]
        turns = [each for each in so_far if isinstance(each, Turn)]
        attempts = [(each.state, b"") for each in so_far if isinstance(each, AttemptRecord)]
        instance = replay(listening, turns, attempts)
        if isinstance(instance.runner, CodeError):
            raise instance.runner
        assert not instance.difference, instance.difference
        instance.runner.close()
        state = state_view(instance.state)
        described.append(
            {
                "bytes": b64encode(value).decode(),
                **_record_view(record),
                "commands": [
                    decision_view(decision)
                    for asked in listening.activations[activations:]
                    for decision, _ in asked
                ],
                "state": {
                    key: state.get(key)
                    for key in {**before, **state}
                    if state.get(key) != before.get(key)
                },
            }
        )
        before, activations = state, len(listening.activations)
    return described


def encoded_again(value: bytes) -> bytes:
    """Return a record as this release writes it: the same bytes, whatever levels came since."""
    return encode(decode(value))


def _record(value: bytes) -> RunRecord:
    record = decode(value)
    assert isinstance(record, RunRecord), record
    return record


def differences(recorded: Any, now: Any, where: str = "") -> Iterator[str]:
    """Yield where a description differs. A record may have gained fields, and lost none."""
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key in recorded:
            if key in now:
                yield from differences(recorded[key], now[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is gone: it was {recorded[key]!r}"
        if "is" not in recorded:
            yield from (f"{where}.{key} is new" for key in now if key not in recorded)
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for number, (before, after) in enumerate(zip(recorded, now, strict=True)):
            yield from differences(before, after, f"{where}[{number}]")
    elif recorded != now:
        yield f"{where} was {recorded!r} and is {now!r}"


class _Listening:
    """Runners that note what the code asks for."""

    def __init__(self, runners: Runners) -> None:
        self.activations: list[list[Asked]] = []
        self._runners = runners
        self.strict = False

    def start(self, workflow_id: str, run_id: str, started: WorkflowStarted, now_ms: int) -> Runner:
        runner = self._runners.start(workflow_id, run_id, started, now_ms)
        return _Listener(runner, self.activations)

    def resume(self, workflow_id: str, run_id: str, started: WorkflowStarted, kept: Kept) -> Runner:
        raise AssertionError("no workflow has snapshots")

    def difference(self, recorded: bytes | None, now: bytes | None) -> str:
        return self._runners.difference(recorded, now)


class _Listener:
    def __init__(self, runner: Runner, activations: list[list[Asked]]) -> None:
        self._runner = runner
        self._activations = activations

    def activate(
        self,
        now_ms: int,
        number: int,
        facts: Sequence[Event],
        recorded: Sequence[Event] | None,
    ) -> list[Asked]:
        asked = self._runner.activate(now_ms, number, facts, recorded)
        self._activations.append(asked)
        return asked

    def snapshot(self) -> Kept | None:
        return self._runner.snapshot()

    def unread(self) -> tuple[int, int]:
        return self._runner.unread()

    def left(self) -> Sequence[EventReceived]:
        return self._runner.left()

    def waiting(self) -> list[str]:
        return self._runner.waiting()

    def undo(self, facts: Sequence[Event]) -> None:
        self._runner.undo(facts)

    def close(self) -> None:
        self._runner.close()


# --- in words ---------------------------------------------------------------------------------


def view(value: Any) -> Any:
    """Return a value as JSON: dataclasses as objects that say what they are."""
    if is_dataclass(value) and not isinstance(value, type):
        shown = {"is": type(value).__name__}
        for field in fields(value):
            if field.name not in _FOR_PEOPLE:
                shown[field.name] = view(getattr(value, field.name))
        return shown
    if isinstance(value, bytes):
        return _payload(value)
    if isinstance(value, dict):
        return {str(key): view(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [view(held) for held in value]
    return value


def _payload(value: bytes) -> Any:
    """Return JSON as it is; other bytes as base64, marked."""
    try:
        return {"json": msgspec.json.decode(value)}
    except msgspec.DecodeError:
        return {"base64": b64encode(value).decode()}


def decision_view(decision: Decision) -> Any:
    """Return a decision, without wording: later releases may explain better.

    Its name and fields are those of the first release, which had a class of its own for what the
    code asks for.
    """
    match decision:
        case EventRejected() | MessageRejected():
            decision = replace(decision, reason="")
        case WorkflowFailed():
            decision = replace(decision, failure=_without_words(decision.failure))
        case UpdateCompleted(failure=Failure() as failure):
            decision = replace(decision, failure=_without_words(failure))
    shown = view(decision)
    not_asked = ("eager", "headers", "successor")
    return {
        **{key: value for key, value in shown.items() if key not in not_asked},
        "is": _ASKED_AS.get(shown["is"], shown["is"]),
    }


_ASKED_AS = {
    "ActivityScheduled": "ScheduleActivity",
    "ActivityCancelled": "CancelActivity",
    "TimerStarted": "StartTimer",
    "TimerCancelled": "CancelTimer",
    "SideEffectRecorded": "RecordSideEffect",
    "StatusSet": "SetStatus",
    "EventRejected": "RejectEvent",
    "RecordPublished": "PublishRecord",
    "MessageSent": "SendMessage",
    "WorkflowCompleted": "CompleteWorkflow",
    "WorkflowFailed": "FailWorkflow",
    "WorkflowCancelled": "CancelWorkflow",
}


def _without_words(failure: Failure) -> Failure:
    cause = None if failure.cause is None else _without_words(failure.cause)
    return replace(failure, message="", cause=cause)


def _record_view(record: RunRecord) -> dict[str, Any]:
    shown = {
        "record": type(record).__name__,
        "run": f"{record.workflow_id} {record.run_id}",
        "epoch": record.epoch,
        "time_ms": record.time_ms,
        "source": record.source,
        "positions": list(record.positions),
        "delivered": record.delivered,
        "cause": view(record.cause),
    }
    if isinstance(record, AttemptRecord):
        return {**shown, "name": record.name, "events": [], "attempt": view(record.state)}
    return {**shown, "first": record.first, "events": [view(event) for event in record.events]}


def state_view(state: RunState) -> dict[str, Any]:
    shown = {
        "workflow": state.workflow,
        "status": state.status.value,
        "started_ms": state.started_ms,
        "updated_ms": state.updated_ms,
        "closed_ms": state.closed_ms,
        "deadline_ms": state.deadline_ms,
        "events": state.events,
        "activities": {str(id): _open_view(each) for id, each in state.activities.items()},
        "timers": {str(id): due_ms for id, due_ms in state.timers.items()},
        "custom_status": view(state.custom_status),
        "cancel_reason": state.cancel_reason,
        "result": view(state.result),
        "failure": view(state.failure),
        "parked": None if state.parked is None else state.parked.kind,
        "memo": view(state.memo),
        "calls": {str(id): view(call) for id, call in state.calls.items()},
        "children": {str(id): view(child) for id, child in state.children.items()},
        "updates": {id: view(update) for id, update in state.updates.items()},
        "values": {name: view(value) for name, (_, value) in state.values.items()},
        "promises": [*state.promises],
        "callers": [[view(caller), *what] for caller, what in state.callers.items()],
        "lock": view(state.lock),
        "locks": {str(id): view(lock) for id, lock in state.locks.items()},
        "successor": state.successor,
    }
    return {key: value for key, value in shown.items() if value not in (None, "", [], {})}


def _open_view(activity: OpenActivity) -> dict[str, Any]:
    state = activity.state
    shown = {
        "name": activity.name,
        "eager": state.eager,
        "scheduled_ms": activity.scheduled_ms,
        "attempt": state.attempt,
        "worker": state.worker,
        "starts": state.starts,
        "retry_at_ms": state.retry_at_ms,
        "heartbeat_ms": state.heartbeat_ms,
        "details": view(state.details),
        "failures": state.failures,
        "last_failure": None if state.last_failure is None else state.last_failure.type,
        "armed": {str(kind): due_ms for kind, due_ms in activity.armed.items()},
        "paused": activity.paused or None,
        "counted_from": activity.counted_from if activity.counted_from > 1 else None,
        "stop_ms": activity.stop_ms,
    }
    return {key: value for key, value in shown.items() if value not in (None, "", 0, {})}
