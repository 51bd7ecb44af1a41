"""Questions end at themselves: whatever becomes of one, the next input is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from processor.core.data.address import ReplyTo
from processor.core.data.cause import ClientRequest
from processor.core.inputs import ClientCommand, TimerDue
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun
from processor.core.questions import AwaitResult, DescribeRun, ListRuns, ReadHistory
from processor.core.records.answers import Page, Refused
from processor.shard.ports import InboxRecord

from .running import ORDER, Ports, run, shard

DEEP = b"[" * 900 + b"]" * 900


def asked(body: Any, number: int, workflow_id: str = "order-1") -> ClientCommand:
    return ClientCommand(
        workflow_id, body, ClientRequest("c", number), reply_to=ReplyTo(0, "c", number)
    )


@pytest.mark.parametrize("body", [DescribeRun(), ReadHistory(), ListRuns(), AwaitResult()])
def test_a_question_that_fails_is_answered_and_stops_nobody(
    body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = Ports()
    running = shard(ports)
    ports.read_commands(asked(StartRun("order_processing", ORDER), 1))
    run(running)

    def fails(*_: Any) -> Any:
        raise TypeError("nobody expects this")

    for name in ("describe", "_history", "_list_runs", "_await_result"):
        monkeypatch.setattr(type(running._effects._reads), name, fails)
    ports.replies.clear()
    ports.read_commands(asked(body, 2), asked(StartRun("order_processing", ORDER), 3, "order-2"))
    run(running)
    refused, accepted = (reply.body for reply in ports.replies)
    assert isinstance(refused, Refused)
    assert "nobody expects this" in refused.message and "Nothing was changed" in refused.message
    assert not isinstance(accepted, Refused)


def test_what_is_nested_very_deep_is_shown_as_bytes() -> None:
    ports = Ports()
    running = shard(ports)
    start = StartRun("order_processing", ORDER, memo=DEEP)
    ports.read_commands(asked(start, 1), asked(RaiseEvent("approval", DEEP), 2))
    run(running)
    ports.replies.clear()
    questions = DescribeRun(), ReadHistory(), ListRuns()
    ports.read_commands(*(asked(body, 3 + n) for n, body in enumerate(questions)))
    run(running)
    for reply in ports.replies:
        assert isinstance(reply.body, Page)
        assert DEEP not in reply.body.content
        json.loads(reply.body.content)


def test_a_description_says_which_producer_sends() -> None:
    ports = Ports()
    running = shard(ports, producer=lambda: "by the native one")
    ports.read_commands(asked(StartRun("order_processing", ORDER), 1), asked(DescribeRun(), 2))
    run(running)
    told = ports.replies[-1].body
    assert isinstance(told, Page) and json.loads(told.content)["producer"] == "by the native one"


def test_a_page_of_a_list_is_bounded_in_bytes_as_well() -> None:
    ports = Ports()
    running = shard(ports)
    memo = b'"%b"' % (b"x" * 300_000)
    starts = [StartRun("order_processing", ORDER, memo=memo) for _ in range(5)]
    ports.read_commands(*(asked(start, n + 1, f"o-{n}") for n, start in enumerate(starts)))
    run(running)
    seen, after = [], ""
    for number in range(10):
        ports.replies.clear()
        ports.read_commands(asked(ListRuns(after=after), 10 + number))
        run(running)
        (reply,) = ports.replies
        assert isinstance(reply.body, Page)
        assert len(reply.body.content) < 1_000_000
        seen += [each["workflow_id"] for each in json.loads(reply.body.content)]
        if reply.body.after is None:
            break
        after = reply.body.after
    assert seen == [f"o-{n}" for n in range(5)]


def test_a_timer_that_is_read_before_its_time_waits_for_it() -> None:
    """The clock of the owner that queued it may have been ahead; a forger does not end the run."""
    ports = Ports()
    running = shard(ports)
    start = StartRun("order_processing", ORDER, execution_timeout_ms=5_000)
    ports.read_commands(asked(start, 1))
    run(running)
    run_id = ports.turns()[0].run_id
    due = TimerDue("order-1", run_id, "execution", 0, 0, ports.now + 5_000)
    ports.arrived.append(InboxRecord("timers", 0, due))
    other = TimerDue("order-1", run_id, "execution", 0, 0, ports.now - 1)
    ports.arrived.append(InboxRecord("timers", 1, other))
    run(running)
    assert "WorkflowTimedOut" not in closing(ports)
    ports.now += 5_000
    run(running)
    assert "WorkflowTimedOut" in closing(ports)


def closing(ports: Ports) -> list[str]:
    return [type(event).__name__ for turn in ports.turns() for event in turn.events]
