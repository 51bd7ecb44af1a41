"""What a shard says aloud: again after a while, with how often it happened meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from processor.core.correlation import CORRELATION
from processor.core.data.failure import BENIGN
from processor.core.data.failure import Failure as FailureOfRun
from processor.core.nouns.external import EventRejected
from processor.core.nouns.lineage import Lineage, Plan
from processor.core.nouns.run import RunParked, WorkflowFailed, WorkflowStarted
from processor.core.nouns.value import StatusSet
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


def reject(telling: Telling, time_ms: int, name: str, workflow: str = "orders") -> None:
    record: Any = Record(time_ms)
    record.events = (EventRejected(name, b"1", "expected str\x1b, got int"),)
    telling.events(record, workflow)


def lose(telling: Telling, time_ms: int, name: str) -> None:
    """An event of a business key, which nobody has taken."""
    reject(telling, time_ms, name, CORRELATION)


@pytest.mark.parametrize("happen", [fail, reject, lose])
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
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("processor.shard", "WARNING")
    text = record.getMessage()
    for part in ("shard 3", "'go'", "run r of 'a'", "'orders'", r"str\x1b, got", "send the event"):
        assert part in text


def test_a_turn_may_have_other_events_beside_those_that_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    turn: Any = Record(0)
    turn.events = (StatusSet(b"1"), EventRejected("go", b"1", "no"), RunParked("bug", "E", "", ""))
    Telling(3).events(turn, "orders")
    assert [text.partition(":")[2][:12] for text in said(caplog)] == [
        " event 'go' ",
        " run r of 'a",
    ]


def test_a_message_ends_where_there_is_no_more_to_say(caplog: pytest.LogCaptureFixture) -> None:
    """At a time that is not 0, so that what is in so many seconds is a difference."""
    telling, now = Telling(3), 1_700_000_000_000
    fail(telling, now, "a")
    first = "shard 3: attempt 1 of activity 'a' of 'a' failed; the next one is in 1.5 s: "
    assert said(caplog) == [f"{first}ValueError: the disk is full"]
    turn: Any = Record(now)
    turn.events = (RunParked("bug", "no", "", "one\n"), EventRejected("go", b"1", "no"))
    telling.events(turn, "orders")
    parked, rejected = said(caplog)
    goes_on = "It goes on when a worker with corrected code starts"
    assert parked == f"shard 3: run r of 'a' is parked (bug): no. {goes_on}\n    one"
    assert rejected.endswith("is in the run's history (EventRejected)")
    run: Any = Followed(now)
    plan = Plan(start_at_ms=now + 12_345)
    next = WorkflowStarted("orders", None, b"", lineage=Lineage(attempt=2), plan=plan)
    telling.followed(run, WorkflowFailed(FailureOfRun("exception", "Closed", "no")), next)
    (followed,) = said(caplog)
    assert followed.endswith("is attempt 2 and begins in 12.3 s: Closed: no")


ODD = "odd\x1b"
SHOWN = r"odd\x1b"


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = [each.getMessage() for each in caplog.records]
    caplog.clear()
    return texts


@dataclass
class Followed:
    """A run that has failed, or goes on, as ``Telling`` sees it."""

    updated_ms: int = 0
    workflow: str = "orders"
    workflow_id: str = "a"
    run_id: str = "r"
    successor: str = "r2"


def test_what_is_said_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever stands in a text of the user's: no control character reaches a terminal."""
    telling = Telling(3)
    state = Attempt(1_500, last_failure=Failure(ODD, ODD))
    failing: Any = SimpleNamespace(time_ms=0, name="a", workflow_id="w", state=state)
    telling.failed(failing)
    (text,) = said(caplog)
    assert f"{SHOWN}: {SHOWN}" in text and "\x1b" not in text
    parked: Any = Record(0)
    parked.events = (RunParked("bug", ODD, ODD, f"one\n{ODD}"),)
    telling.events(parked, "orders")
    (text,) = said(caplog)
    assert f"(bug): {SHOWN} at {SHOWN}. It goes on" in text and "\x1b" not in text
    assert text.endswith(f"\n    one\n    {SHOWN}")
    run: Any = Followed()
    next = WorkflowStarted(
        "orders", None, b"", lineage=Lineage(attempt=2), plan=Plan(start_at_ms=2_500)
    )
    failed: Any = WorkflowFailed(FailureOfRun("exception", ODD, ODD))
    telling.followed(run, failed, next)
    (text,) = said(caplog)
    assert "run r of 'a' (workflow 'orders') failed; run r2 follows, which is attempt 2" in text
    assert f"begins in 2.5 s: {SHOWN}: {SHOWN}" in text and "\x1b" not in text
    telling.followed(run, failed, next)
    assert said(caplog) == [], "of a workflow it is told once in ten seconds"
    telling.followed(Followed(10_000), failed, next)  # type: ignore[arg-type]
    assert "(and 1 more of this workflow " in said(caplog)[0]


def test_a_failure_that_is_benign_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    state = Attempt(1_500, last_failure=Failure(kind=BENIGN))
    record: Any = SimpleNamespace(time_ms=0, name="a", workflow_id="w", state=state)
    Telling(3).failed(record)
    assert said(caplog) == []


@pytest.mark.parametrize(("times", "told"), [(101, 0), (102, 1)])
def test_a_workflow_that_goes_on_and_on_is_told_where_it_does_so_a_hundred_times(
    times: int, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    telling = Telling(3)
    failed: Any = WorkflowFailed(FailureOfRun("exception", "E", "no"))
    next = WorkflowStarted(
        "orders", None, b"", lineage=Lineage(attempt=2), plan=Plan(start_at_ms=1)
    )
    run: Any = Followed()
    telling.followed(run, failed, next)
    caplog.clear()
    for number in range(times):
        telling.spins(Followed(0 if number < times - 1 else 10_000))  # type: ignore[arg-type]
    texts = said(caplog)
    assert len(texts) == told
    for text in texts:
        assert "workflow 'orders' continues as new in the turn in which its code began, 100" in text


def test_an_event_that_a_business_key_could_not_give_is_told_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    record: Any = Record(0, workflow_id="correlation:shipment=S-7")
    record.events = (EventRejected("shipped", b"1", f"nobody came {ODD}"),)
    Telling(3).events(record, CORRELATION)
    key = "'correlation:shipment=S-7'"
    (text,) = said(caplog)
    assert (
        text == f"shard 3: event 'shipped' of {key} went to the dead letters: nobody came {SHOWN}"
    )


def test_what_was_told_is_bounded() -> None:
    telling, kept = Telling(3), []
    for number in range(2_500):
        fail(telling, 0, f"activity-{number}")
        kept.append(len(telling._told))
    assert max(kept) == 1_000
