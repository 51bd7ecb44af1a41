"""What a shard says aloud: again after a while, with how often it happened meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from processor.core.nouns.external import EventRejected
from processor.shard.turns.telling import Telling


@dataclass
class Failure:
    type: str = "ValueError"
    message: str = "the disk is full"
    kind: str = "exception"


@dataclass
class Attempt:
    retry_at_ms: int
    attempt: int = 1
    last_failure: Failure = field(default_factory=Failure)


@dataclass
class Record:
    time_ms: int
    name: str = "fails"
    workflow_id: str = "a"
    run_id: str = "r"

    @property
    def state(self) -> Attempt:
        return Attempt(self.time_ms + 1_500)


def fail(telling: Telling, time_ms: int, name: str) -> None:
    record: Any = Record(time_ms, name)
    telling.failed(record)


def reject(telling: Telling, time_ms: int, name: str) -> None:
    record: Any = Record(time_ms)
    record.events = (EventRejected(name, b"1", "expected str\x1b, got int"),)
    telling.events(record, "orders")


@pytest.mark.parametrize("happen", [fail, reject])
def test_it_is_told_again_every_ten_seconds_with_how_often(
    happen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    telling = Telling(3)

    def told() -> list[str]:
        texts = [each.getMessage() for each in caplog.records]
        caplog.clear()
        return texts

    for time_ms in (0, 1, 5_000, 9_999):
        happen(telling, time_ms, "one")
    (first,) = told()
    assert "more" not in first
    happen(telling, 9_999, "another")
    assert len(told()) == 1, "another one is told by itself"
    happen(telling, 10_000, "one")
    (second,) = told()
    assert "(and 3 more " in second
    happen(telling, 19_999, "one")
    assert told() == []
    happen(telling, 20_000, "one")
    (third,) = told()
    assert "(and 1 more " in third


def test_an_event_that_is_rejected_is_told_with_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reject(Telling(3), 0, "go")
    (text,) = [each.getMessage() for each in caplog.records]
    for part in ("shard 3", "'go'", "run r of 'a'", "'orders'", r"str\x1b, got", "send the event"):
        assert part in text
