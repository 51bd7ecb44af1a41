"""Every history that a release has recorded is read, folded and replayed as it was then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from processor.codec.records import decode_as, encode
from processor.core import evolve
from processor.core.commands import Command, StartTimer
from processor.core.events import Event
from processor.core.runner import CodeError
from processor.core.turn import Turn
from processor.workflow._requests import Requests

from . import recording
from .recording import (
    PROGRAMS,
    RECORDED,
    describe,
    differences,
    encoded_again,
    load,
    recorded,
    values_of,
)

LIKE_AN_ORDER = RECORDED / "0.1.0" / "order-approved.json"


def different(path: Path) -> Iterator[str]:
    """Yield what this release makes of a recorded history that is not what is recorded."""
    turns = load(path)
    for value in values_of(turns):
        again = encoded_again(value)
        if again is not None and again != value:
            yield f"turn {decode_as(Turn, value).first} is encoded differently"
    yield from differences(turns, describe(values_of(turns), PROGRAMS[path.parent.name]))


@pytest.mark.parametrize("path", recorded(), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_recorded_history_is_replayed(path: Path) -> None:
    assert not list(different(path))


def test_every_event_is_recorded_somewhere() -> None:
    seen = {event["is"] for path in recorded() for turn in load(path) for event in turn["events"]}
    assert seen == {cls.__name__ for cls in get_args(Event)}


# --- the comparison can fail ------------------------------------------------------------------


def test_code_that_asks_for_something_else_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another delay is no contradiction for replay; here it is."""
    take = Requests.take

    def later(self: Requests) -> list[Command]:
        asked = take(self)
        return [replace(c, due_ms=c.due_ms + 1) if isinstance(c, StartTimer) else c for c in asked]

    monkeypatch.setattr(Requests, "take", later)
    found = list(different(LIKE_AN_ORDER))
    assert found and all("commands" in each for each in found), found


def test_code_that_contradicts_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    other = type(PROGRAMS["0.1.0"])("other")
    vars(other).update(vars(PROGRAMS["0.1.0"]), order_processing=PROGRAMS["0.1.0"].chain)
    monkeypatch.setitem(PROGRAMS, "0.1.0", other)
    with pytest.raises(CodeError, match="not registered"):
        list(different(LIKE_AN_ORDER))


def test_another_fold_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolve, "armed_at_dispatch", lambda *how: {})
    assert any("armed is gone" in each for each in different(RECORDED / "0.1.0" / "queues.json"))


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
