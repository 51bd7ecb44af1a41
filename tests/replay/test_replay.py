"""Every history that a release has recorded is read, folded and replayed as it was then."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from processor.codec.records import decode, encode
from processor.codec.schemas.shapes import RECORDS, classes_in
from processor.core.nouns import activity
from processor.core.nouns.timer import TimerStarted
from processor.core.nouns.value import ValueSet
from processor.core.runner import Asked, CodeError
from processor.core.vocabulary import EVENTS
from processor.workflow._engine.decisions import Decisions

from . import recording
from .recording import (
    OPEN,
    PROGRAMS,
    RECORDED,
    describe,
    differences,
    encoded_again,
    load,
    recorded,
    values_of,
)
from .samples_1 import SAMPLES

LIKE_AN_ORDER = RECORDED / "1" / "order-approved.json"
OF_CHILDREN = {
    *("ChildCalled", "ChildStarted", "ChildEnded", "ChildCancelRequested", "ChildrenSpared"),
}
OF_LEVEL_2 = {
    *("AwaitUpdate", "CallRequest", "MessageRejected", "QueryAnswered", "QueryRun", "StartNow"),
    *("StartPlanned", "StartWith", "UpdateAccepted", "UpdateCompleted", "UpdateEnded", "UpdateRun"),
    *("StartChild", "StartRequest", "EndChild", "TerminateWith", "EntitySnapshot", "OpenChild"),
    *("EntityDelta", "EventDelayed", "MessageDelayed", "RaiseEventAt"),
    *("LockAnswered", "LockCalled", "LockReleased", "Locked", "LockEntity", "UnlockEntity"),
    *("ReplyToTopic", "LockRequested", "LockGranted", "LockFreed", "LockWithdrawn", "HeldLock"),
    *("HolderCalled", "CallUnderLock", "OperationEnded"),
    *("ActivityAdjusted", "ActivityStopRequested", "AdjustActivity"),
    *(
        "MemoSet",
        "AttributesSet",
        "PromiseMade",
        "PromiseSettled",
        "ResolvePromise",
        "RejectPromise",
    ),
    *("AwaitValue", "ValueIs", "ValueSet"),
    *("AnswerAwaited", "AnswerNotAwaited", "CallGivenUp", "GiveUpCall", "OutputSet"),
    *("ReportAttempt", "StopWanted", "WorkflowContinued", *OF_CHILDREN),
}
"""Branches of the open level: there are samples of them in ``tests/codec/test_levels.py``."""


def different(path: Path) -> Iterator[str]:
    """Yield what this release makes of a recorded history that is not what is recorded."""
    turns = load(path)
    for value in values_of(turns):
        if encoded_again(value) != value:
            yield f"{decode(value)} is encoded differently"
    yield from differences(turns, describe(values_of(turns), PROGRAMS[path.parent.name]))


@pytest.mark.parametrize("path", recorded(), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_recorded_history_is_replayed(path: Path) -> None:
    assert not list(different(path))


def test_every_event_is_recorded_somewhere() -> None:
    seen = {event["is"] for path in recorded() for turn in load(path) for event in turn["events"]}
    lacks = {cls.__name__ for cls in EVENTS} - seen
    assert not lacks, "play it in scripts_open.py, then: python -m tests.replay.record --open"


# --- a record of every kind -------------------------------------------------------------------


def test_the_samples_are_read_and_written_as_they_were() -> None:
    lines = json.loads((RECORDED / "1" / "samples.json").read_text(encoding="utf-8"))
    assert len(lines) == len(SAMPLES)
    for line, sample in zip(lines, SAMPLES, strict=True):
        data = b64decode(line["bytes"])
        assert line["is"] == type(sample).__name__
        assert decode(data) == sample
        assert encode(sample) == data


def test_there_is_a_sample_of_every_record_and_every_branch() -> None:
    seen: set[type] = set()
    for sample in SAMPLES:
        note_classes(sample, seen)
    classes = {cls for root in RECORDS.values() for _, cls in classes_in(root)}
    assert {cls.__name__ for cls in classes - seen} == OF_LEVEL_2


def note_classes(value: Any, seen: set[type]) -> None:
    """Add the classes of a record and of all that it holds."""
    if is_dataclass(value):
        seen.add(type(value))
        for each in fields(value):
            note_classes(getattr(value, each.name), seen)
    elif isinstance(value, tuple):
        seen.add(type(value))
        for item in value:
            note_classes(item, seen)


# --- the comparison can fail ------------------------------------------------------------------


def test_code_that_asks_for_something_else_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another delay is no contradiction for replay; here it is."""
    take = Decisions.take

    def later(self: Decisions) -> list[Asked]:
        return [
            (replace(each, due_ms=each.due_ms + 1) if isinstance(each, TimerStarted) else each, at)
            for each, at in take(self)
        ]

    monkeypatch.setattr(Decisions, "take", later)
    found = list(different(LIKE_AN_ORDER))
    assert found and all("commands" in each for each in found), found


def test_code_that_contradicts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    other = type(PROGRAMS["1"])("other")
    vars(other).update(vars(PROGRAMS["1"]), order_processing=PROGRAMS["1"].chain)
    monkeypatch.setitem(PROGRAMS, "1", other)
    with pytest.raises(CodeError, match="not registered"):
        list(different(LIKE_AN_ORDER))


def test_another_fold_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "armed", lambda *how: {})
    assert any("armed is gone" in each for each in different(RECORDED / "1" / "queues.json"))


def test_another_fold_of_the_open_level_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ValueSet, "apply", lambda *how: None)
    assert any("values is gone" in each for each in different(OPEN / "values.json"))


def test_another_encoding_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "encode", lambda turn: encode(turn)[:-1] + b"\1")
    assert any("encoded differently" in each for each in different(LIKE_AN_ORDER))


def test_differences_are_named() -> None:
    before = [{"is": "A", "id": 1, "of": {"x": 1}}, 2]
    assert not list(differences(before, [{"is": "A", "id": 1, "of": {"x": 1}, "added": 0}, 2]))
    for now, said in (
        ([{"is": "A", "of": {"x": 1}}, 2], "[0].id is gone: it was 1"),
        ([{"is": "A", "id": 1, "of": {"x": 1, "y": 1}}, 2], "[0].of.y is new"),
        ([{"is": "B", "id": 1, "of": {"x": 1}}, 2], "[0].is was 'A' and is 'B'"),
        ([{"is": "A", "id": 1, "of": {"x": 1}}], " was "),
    ):
        found = list(differences(before, now))
        assert len(found) == 1 and said in found[0]
