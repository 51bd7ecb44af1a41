"""What people see of runs and histories: payloads as values, headers as text, and no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from processor.codec.json_views import history_view, pending_view, summary_view, to_json
from processor.core.data.failure import Failure
from processor.core.data.options import ActivityOptions
from processor.core.nouns.activity import ActivityScheduled, AttemptState
from processor.core.nouns.external import EventReceived
from processor.core.nouns.lineage import Lineage
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    Successor,
    Summary,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
)
from processor.core.nouns.timer import TimerStarted
from processor.core.nouns.value import StatusSet
from processor.core.records.snapshot import RunImage, Snapshot
from processor.core.records.turn import Positions, Turn
from processor.policy import Status
from tests.core.scripted import attempt, scheduled, state

SEED = b"16 secret bytes."
STARTED = WorkflowStarted("order", b'["a",1]', SEED, memo=b"null", headers=(("h", b"text"),))
PLACE = ("order-1", "run-1", 17, 4, 5, "commands", Positions(), 0, None)
DOWN = Failure("application", "Down", "it is down", details=b"[1]")


def shown(*happened: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(to_json(list(history_view(Turn(*PLACE, happened)))))
    return found


def test_an_event_is_shown_with_its_number_time_and_type() -> None:
    first, second = shown(EventReceived("go", b'{"a":[1]}'), StatusSet(None))
    assert first == {
        "number": 4,
        "time_ms": 5,
        "type": "EventReceived",
        "name": "go",
        "payload": {"a": [1]},
        "headers": {},
        "key": None,
    }
    assert second == {"number": 5, "time_ms": 5, "type": "StatusSet", "value": None}


def test_a_snapshot_is_shown_as_the_turn_that_it_is() -> None:
    made = Snapshot(*PLACE, (STARTED,), RunImage(STARTED, 5, 5, 1), b"secret state")
    assert list(history_view(made)) == list(history_view(Turn(*PLACE, (STARTED,))))


def test_whoever_reads_a_history_cannot_tell_what_the_run_draws_at_random() -> None:
    successor = Successor("run-2", STARTED)
    for happened in (
        STARTED,
        WorkflowTerminated("replaced", successor),
        WorkflowCompleted(b"1", successor=successor),
    ):
        (view,) = shown(happened)
        text = json.dumps(view)
        assert "seed" not in text and "secret" not in text
    (view,) = shown(WorkflowTerminated("replaced", successor))
    assert view["successor"]["run_id"] == "run-2"
    assert view["successor"]["started"]["arguments"] == ["a", 1]


@pytest.mark.parametrize(
    ("payload", "view"),
    [
        (None, None),
        (b"null", None),
        (b'"x"', "x"),
        (b"[1,{}]", [1, {}]),
        (b"", ""),
        (b"not json", "bm90IGpzb24="),
        (b"\xff", "/w=="),
    ],
)
def test_a_payload_is_shown_as_it_is_and_in_base64_where_it_is_no_json(
    payload: bytes | None, view: Any
) -> None:
    assert shown(StatusSet(payload))[0]["value"] == view


def test_headers_are_shown_as_text_where_they_are_text() -> None:
    headers = (("a", "ü".encode()), ("b", b"\xff"), ("c", b""))
    assert shown(EventReceived("go", None, headers))[0]["headers"] == {
        "a": "ü",
        "b": "/w==",
        "c": "",
    }


def test_keys_of_published_records_are_bytes_and_no_payloads() -> None:
    (view,) = shown(RecordPublished("t", b"1", b"1"))
    assert (view["key"], view["value"]) == ("MQ==", 1)


def test_a_summary_leaves_out_what_is_not_there() -> None:
    run = state(WorkflowFailed(DOWN), started=STARTED).summary()
    view = json.loads(to_json(summary_view(run)))
    assert (view["workflow_id"], view["status"], view["memo"]) == ("order-1", "failed", None)
    assert view["failure"]["details"] == [1]
    assert not {"result", "parked", "purged_ms", "successor", "custom_status"} & set(view)
    assert "seed" not in view
    chained = WorkflowStarted("order", None, SEED, lineage=Lineage("run-0", "run-0"))
    assert summary_view(state(started=chained).summary())["first_run_id"] == "run-0"


def test_a_purged_run_is_shown_as_one() -> None:
    place = ("order-1", "run-1", "run-1", "order", Status.COMPLETED, 1, 5, 5, 3)
    nothing = dict.fromkeys(
        ("custom_status", "cancel_reason", "result", "failure", "parked", "memo")
    )
    assert summary_view(Summary(*place, **nothing, purged_ms=9))["purged_ms"] == 9


def test_what_an_open_run_waits_for() -> None:
    began = attempt(2, started_ms=7, worker="w", details=b"[3]", failures=1, last_failure=DOWN)
    run = state(scheduled(queue="far"), began, TimerStarted(2, 99))
    view = json.loads(
        to_json(
            pending_view(run, ["orders.py:3 order"], [EventReceived("go"), EventReceived("go")])
        )
    )
    assert view["timers"] == [{"id": 2, "due_ms": 99}]
    assert view["waiting"] == ["orders.py:3 order"]
    assert view["unread"] == {"go": 2}
    (activity,) = view["activities"]
    assert (activity["name"], activity["attempt"], activity["queue"]) == ("pay", 2, "far")
    assert (activity["worker"], activity["started_ms"], activity["failures"]) == ("w", 7, 1)
    assert activity["details"] == [3]
    assert activity["last_failure"]["type"] == "Down" and activity["first_failure"] is None
    assert activity["retry_at_ms"] is None


def test_an_activity_that_nobody_has_begun_is_shown_as_dispatched() -> None:
    run = state(ActivityScheduled(1, "pay", None, True, ActivityOptions()))
    (activity,) = pending_view(run, [], [])["activities"]
    fresh = AttemptState(1, 1, True, run.started_ms)
    assert (activity["eager"], activity["dispatched_ms"]) == (True, fresh.dispatched_ms)
    assert (activity["started_ms"], activity["worker"]) == (None, "")
