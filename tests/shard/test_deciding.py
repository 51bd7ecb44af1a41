"""When deciding an input fails: it is tried once more from what is acknowledged, and then given up.

An error that nobody expects has changed the state and the code of its run already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from processor.core.data.address import ReplyTo
from processor.core.data.cause import ClientRequest
from processor.core.event import Event
from processor.core.inputs import ActivityReport, ClientCommand
from processor.core.nouns.activity import ActivityScheduled
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.run import RunParked, WorkflowStarted
from processor.core.nouns.start import StartRun
from processor.core.nouns.timer import TimerFired, TimerStarted
from processor.core.nouns.value import StatusSet
from processor.core.records.answers import Accepted, Refused
from processor.core.records.effects import DeadLetter
from processor.core.records.marks import Answered
from processor.core.records.turn import Turn
from processor.core.runner import Asked
from processor.policy import Status
from processor.shard.loop import Shard
from processor.shard.ports import InboxRecord
from tests.core.broken import ReadsNothing
from tests.core.scripted import Runners, Scripted

from .running import Ports, run, shard

TO = ReplyTo(2, "client", 7)


@dataclass
class Fragile(Scripted):
    """Asks for one activity and one timer, and fails live as often as its maker says."""

    maker: Any = None

    def activate(
        self, now_ms: int, number: int, facts: Sequence[Event], recorded: Sequence[Event] | None
    ) -> list[Asked]:
        self.seen += facts
        if recorded is None and not isinstance(facts[0], self.maker.spared) and self.maker.failures:
            self.maker.failures -= 1
            raise RuntimeError("nobody expects \ud800 this")
        if isinstance(facts[0], WorkflowStarted):
            pay = ActivityScheduled(1, "pay", b"[]", False, None)
            return [(pay, ""), (TimerStarted(2, now_ms + 1_000), "")]
        return [(StatusSet(b"%d" % number), "")]


@dataclass
class Makers(Runners):
    """``failures``: how often code fails yet, but for turns that begin with a ``spared`` fact."""

    failures: int = 0
    spared: tuple[type[Event], ...] = ()

    def _made(self, started: WorkflowStarted, activations: int) -> Scripted:
        made = Fragile([], maker=self)
        self.made.append(made)
        return made


def command(body: Any, number: int, *, workflow_id: str = "order-1") -> ClientCommand:
    return ClientCommand(workflow_id, body, ClientRequest("client", number), reply_to=TO)


START = StartRun("order", b"[]")


@pytest.fixture
def makers() -> Makers:
    return Makers()


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def running(ports: Ports, makers: Makers) -> Shard:
    """A shard with one run, which waits for an activity, a timer and events."""
    running = shard(ports, runners=makers)
    ports.read_commands(command(START, 1))
    run(running)
    ports.replies.clear()
    return running


def statuses(ports: Ports) -> list[str]:
    """Return the types of what was written since the start."""
    return [
        type(record.events[-1]).__name__ if isinstance(record, Turn) else type(record).__name__
        for record in ports.records()[1:]
    ]


def letters(ports: Ports) -> list[DeadLetter]:
    return [effect for effect, _ in ports.sent if isinstance(effect, DeadLetter)]


@pytest.mark.usefixtures("running")
def test_the_run_is_there(ports: Ports) -> None:
    assert len(ports.records()) == 1 and len(ports.started) == 1


def test_an_input_that_fails_once_is_decided_from_what_is_acknowledged(
    ports: Ports, running: Shard, makers: Makers
) -> None:
    ports.held = True
    ports.read_commands(command(RaiseEvent("a"), 2))
    run(running)
    makers.failures = 1
    ports.read_commands(command(RaiseEvent("b"), 3), command(RaiseEvent("c"), 4))
    run(running)
    assert len(ports.records()) == 2, "nothing is decided before the turns before are acknowledged"
    assert not running.idle
    ports.held = False
    run(running)
    received = [
        turn.events[0].name for turn in ports.turns() if isinstance(turn.events[0], EventReceived)
    ]
    assert received == ["a", "b", "c"]
    assert [reply.body for reply in ports.replies] == [Accepted(ports.turns()[0].run_id)] * 3
    assert makers.made[0].closed and len(makers.made) == 2, "its code was replayed afresh"
    fresh = makers.made[1]
    assert [type(fact) for fact in fresh.seen] == [WorkflowStarted, *[EventReceived] * 3]


def test_a_start_that_fails_once_makes_one_run(ports: Ports, makers: Makers) -> None:
    running = shard(ports, runners=makers)
    makers.failures = 1
    ports.read_commands(command(START, 1), command(START, 2))
    run(running)
    (turn,) = ports.turns()
    assert turn.cause == ClientRequest("client", 1)
    accepted, refused = [reply.body for reply in ports.replies]
    assert accepted == Accepted(turn.run_id) and isinstance(refused, Refused)
    assert len(ports.started) == 1
    assert [each.closed for each in makers.made] == [True, False], "the code that failed is dropped"


def test_a_command_that_fails_twice_is_refused_and_buried_and_the_next_one_goes_on(
    ports: Ports, running: Shard, makers: Makers
) -> None:
    makers.failures = 2
    ports.read_commands(command(RaiseEvent("bad"), 2), command(RaiseEvent("good"), 3))
    run(running)
    assert statuses(ports) == ["Answered", "StatusSet"]
    assert len(ports.replies) == 2, "each is answered once"
    answered = ports.records()[1]
    assert isinstance(answered, Answered) and answered.cause == ClientRequest("client", 2)
    refused, accepted = [reply.body for reply in ports.replies]
    assert isinstance(refused, Refused) and refused.error == "CommandRejected"
    assert "deciding it failed twice: RuntimeError: nobody expects" in refused.message
    assert isinstance(accepted, Accepted)
    (letter,) = letters(ports)
    assert (letter.topic, letter.offset, letter.key) == ("commands", 1, b"order-1")
    ports.read_commands(command(RaiseEvent("bad"), 2))
    run(running)
    assert ports.replies[-1].body == refused, "sent again, it is refused again"


def test_a_report_that_fails_twice_is_buried_before_anything_is_read_past_it(
    ports: Ports, running: Shard, makers: Makers
) -> None:
    makers.failures = 2
    run_id = ports.turns()[0].run_id
    report = ActivityReport("order-1", run_id, 1, 1, "completed", b"1")
    ports.arrived.append(InboxRecord("results", 5, report))
    ports.read_commands(command(RaiseEvent("next"), 2))
    run(running)
    (letter,) = letters(ports)
    assert (letter.topic, letter.offset, letter.key) == ("activity-results", 5, b"order-1")
    assert statuses(ports) == [] and not running.idle
    ports.tokens = [-1]
    run(running)
    assert statuses(ports) == ["StatusSet"]
    assert ports.records()[-1].positions.results == 6


def test_what_follows_a_report_that_failed_once_stands_past_it(
    ports: Ports, running: Shard, makers: Makers
) -> None:
    """Else the record after it says that the report is still to be read: it would count again."""
    makers.failures = 1
    run_id = ports.turns()[0].run_id
    report = ActivityReport("order-1", run_id, 1, 1, "completed", b"1")
    ports.arrived.append(InboxRecord("results", 5, report))
    run(running)
    assert ports.records()[-1].positions.results == 6
    ports.now += 1_000
    run(running)
    assert isinstance(ports.turns()[-1].events[0], TimerFired)
    assert ports.records()[-1].positions.results == 6


def test_an_error_that_cannot_be_shown_is_given_up_like_any_other(
    ports: Ports,
    running: Shard,
    makers: Makers,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    live = Fragile.activate

    def raises(self: Fragile, *rest: Any) -> list[Asked]:
        if rest[-1] is None:
            raise ReadsNothing
        return live(self, *rest)

    monkeypatch.setattr(Fragile, "activate", raises)
    ports.read_commands(command(RaiseEvent("bad"), 2))
    run(running)
    assert statuses(ports) == ["Answered"]
    (refused,) = [reply.body for reply in ports.replies]
    assert isinstance(refused, Refused) and "ReadsNothing" in refused.message
    assert "Logging error" not in capfd.readouterr().err


def test_a_timer_that_fails_twice_parks_the_run_because_it_would_come_again(
    ports: Ports, running: Shard, makers: Makers
) -> None:
    makers.failures = 2
    ports.now += 1_000
    run(running)
    assert statuses(ports) == ["RunParked"]
    (parked,) = ports.turns()[-1].events
    assert isinstance(parked, RunParked) and parked.kind == "bug"
    assert parked.error.startswith("RuntimeError: nobody expects")
    assert 'raise RuntimeError("nobody expects' in parked.traceback
    assert letters(ports) == []


def test_an_attempt_of_this_process_that_fails_twice_parks_the_run(
    ports: Ports, running: Shard, makers: Makers
) -> None:
    makers.failures = 2
    task, report = ports.started[0]
    report(ActivityReport("order-1", task.run_id, 1, 1, "completed", b"1"))
    run(running)
    assert statuses(ports) == ["RunParked"]
    latest = running._ports.tables.latest("order-1")
    assert latest is not None and latest.status is Status.PARKED


def test_other_runs_wait_for_the_second_try_and_then_go_on(
    ports: Ports, running: Shard, makers: Makers
) -> None:
    ports.held = True
    makers.spared = (WorkflowStarted,)
    ports.read_commands(command(RaiseEvent("a"), 2))
    run(running)
    makers.failures = 2
    other = command(START, 4, workflow_id="order-2")
    ports.read_commands(command(RaiseEvent("bad"), 3), other)
    run(running)
    assert len(ports.records()) == 2
    ports.held = False
    run(running)
    assert statuses(ports) == ["StatusSet", "Answered", "TimerStarted"]
    assert ports.records()[-1].positions.commands == 4
