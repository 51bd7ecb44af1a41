"""A running shard lets each request count once, and answers it as often as it is sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.codec.records import Envelope, encode
from processor.core.data.address import Address, Caller, ReplyTo
from processor.core.data.cause import Cause, ClientRequest, NamedRequest, Origin
from processor.core.data.run_id import run_id_of
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.run import WorkflowStarted, WorkflowTerminated, WorkflowTimedOut
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.operation import Request
from processor.core.questions import AwaitResult, DescribeRun, ListRuns, ReadHistory, ReadShard
from processor.core.records.answers import Accepted, Page, Refused
from processor.core.records.effects import DeadLetter, Message, Reply
from processor.core.records.marks import Answered, Mark
from processor.core.records.turn import LEVEL_FIRST, Turn
from processor.shard import dedup
from processor.shard.ports import InboxRecord
from processor.store.keyvalue import Memory

from .running import MINUTE_MS, ORDER, Ports, run, shard

START = StartRun("order_processing", ORDER)
TO = ReplyTo(2, "client", 7)


def command(
    body: Request, cause: Cause | None = None, *, again: bool = False, to: Any = TO
) -> ClientCommand:
    return ClientCommand("order-1", body, cause, again, to)


def request(number: int) -> ClientRequest:
    return ClientRequest("client", number)


def told(ports: Ports) -> list[Any]:
    """Return the answers since this was asked."""
    replies, ports.replies = ports.replies, []
    assert all(reply.to == TO for reply in replies)
    return [reply.body for reply in replies]


def begun(ports: Ports, store: Memory | None = None) -> Any:
    running = shard(ports, store)
    run(running)
    return running


def made_by(cause: Cause | None, offset: int = 0) -> str:
    """Return the id of the run that a start makes."""
    return run_id_of(Ports.id, "order-1", cause, 0, offset)


@pytest.mark.parametrize(
    "cause", [request(1), NamedRequest("r-1"), Origin(b"another log, 16.", 3, 9, 0)], ids=str
)
def test_a_start_that_comes_twice_makes_one_run_and_is_answered_twice(cause: Cause) -> None:
    ports = Ports()
    running = begun(ports)
    ports.read_commands(command(START, cause))
    run(running)
    assert told(ports) == [Accepted(made_by(cause))]
    ports.read_commands(command(START, cause, again=True))
    run(running)
    assert told(ports) == [Accepted(made_by(cause))], "as it was answered at first"
    assert len(ports.turns()) == 1


def test_two_starts_without_identity_are_two_requests() -> None:
    ports = Ports()
    running = begun(ports)
    ports.read_commands(command(START), command(START))
    run(running)
    first, second = told(ports)
    assert first == Accepted(made_by(None, 0))
    assert isinstance(second, Refused) and second.error == "WorkflowAlreadyStarted"
    assert made_by(None, 0) in second.message


def test_an_event_that_comes_twice_is_raised_once() -> None:
    ports = Ports()
    running = begun(ports)
    event = command(RaiseEvent("go", b"1"), request(2))
    ports.read_commands(command(START, request(1)), event, event)
    run(running)
    accepted = Accepted(made_by(request(1)))
    assert told(ports) == [accepted, accepted, Accepted(accepted.run_id, created=False)]
    assert len(ports.turns()) == 2


def test_what_is_refused_is_written_down_and_refused_again() -> None:
    ports, store = Ports(), Memory()
    running = begun(ports, store)
    ports.read_commands(command(RaiseEvent("go"), request(1)))
    run(running)
    (refused,) = told(ports)
    assert isinstance(refused, Refused) and refused.error == "WorkflowNotFound"
    (record,) = ports.records()
    assert isinstance(record, Answered) and record.answer == refused
    assert record.cause == request(1) and record.positions.commands == 1
    ports.read_commands(command(START, request(2)))
    ports.read_commands(command(RaiseEvent("go"), request(1), again=True))
    run(running)
    _, again = told(ports)
    assert again == refused, "though there is a run now that would take it"
    assert len(ports.records()) == 2


def test_a_command_that_changes_nothing_leaves_a_record_so_that_it_is_decided_once() -> None:
    ports = Ports()
    running = begun(ports)
    ports.read_commands(
        command(START, request(1)),
        command(TerminateRun(), request(2)),
        command(CancelRun(), request(3)),
    )
    run(running)
    run_id = made_by(request(1))
    assert told(ports) == [Accepted(run_id), Accepted(run_id), Accepted(run_id, created=False)]
    last = ports.records()[-1]
    assert isinstance(last, Answered) and last.cause == request(3)


@pytest.mark.parametrize("to", [TO, None], ids=["answered", "buried"])
def test_a_refusal_of_a_huge_id_is_written_down_and_remembered_in_few_words(to: Any) -> None:
    ports = Ports()
    running = begun(ports)
    huge = "\x85" * 900_000
    ports.read_commands(ClientCommand(huge, RaiseEvent("go"), request(1), reply_to=to))
    run(running)
    (record,) = ports.records()
    assert isinstance(record, Answered) and isinstance(record.answer, Refused)
    assert record.answer.message.startswith("no run of workflow id")
    assert len(record.answer.message) < 1_000
    assert record.letter is None or len(record.letter.reason) < 1_000
    sizes = [len(each.value or b"") for each in ports.read(0, ports.partition.end)]
    assert max(sizes) < 6_000_000, "the id three times at the most"


def test_answers_to_calls_of_nobody_are_remembered_in_few_words() -> None:
    ports = Ports()
    running = begun(ports)
    answer = AnswerCall("r" * 1_000_000, 1, Accepted("x"))
    ports.read_commands(*(command(answer, NamedRequest(str(n))) for n in range(3)))
    run(running)
    ports.read_commands(command(ReadShard()))
    run(running)
    mark = ports.records()[-1]
    assert isinstance(mark, Mark) and len(mark.answers) == 3
    assert len(encode(mark)) < 1_000


def test_a_deadline_before_all_time_ends_the_run_and_nothing_else() -> None:
    ports = Ports()
    running = begun(ports)
    start = StartRun("order_processing", ORDER, execution_timeout_ms=-(1 << 50))
    ports.read_commands(command(start, request(1)), command(DescribeRun()))
    run(running)
    last = ports.turns()[-1].events[-1]
    assert isinstance(last, WorkflowTimedOut)
    assert [type(answer) for answer in told(ports)] == [Accepted, Page]


def test_a_history_begins_with_its_first_event_whatever_is_asked_for() -> None:
    ports = Ports()
    running = begun(ports)
    ports.read_commands(command(START, request(1)), command(ReadHistory(first=-5)))
    run(running)
    _, page = told(ports)
    assert isinstance(page, Page) and b"WorkflowStarted" in page.content


def test_what_nobody_waits_for_goes_to_dead_letters_when_it_is_refused() -> None:
    ports = Ports()
    running = begun(ports)
    ports.read_commands(command(START, request(1)), command(RaiseEvent("go"), request(2)))
    ports.read_commands(
        ClientCommand("nobody", RaiseEvent("go"), Origin(b"another log, 16.", 3, 9, 0))
    )
    run(running)
    (letter,) = [effect for effect, _ in ports.sent if isinstance(effect, DeadLetter)]
    assert (letter.topic, letter.offset, letter.key) == ("commands", 2, b"nobody")
    assert letter.reason.startswith("WorkflowNotFound: no run of workflow id 'nobody'")
    assert not running.idle, "until the letter is there"


def test_a_request_of_which_nothing_is_known_any_more_is_expired_and_does_not_count() -> None:
    ports = Ports()
    running = begun(ports)
    ports.read_commands(command(START, request(5), again=True))
    run(running)
    (expired,) = told(ports)
    assert isinstance(expired, Refused) and expired.error == "RequestExpired"
    assert ports.turns() == []


@pytest.mark.parametrize("replaced", [False, True], ids=["the latest run", "a run before it"])
@pytest.mark.parametrize("again", [True, False])
def test_a_start_whose_run_is_there_is_answered_however_little_is_known_of_the_request(
    again: bool, replaced: bool
) -> None:
    """Its run id tells: the same request made it."""
    ports, store = Ports(), Memory()
    running = begun(ports, store)
    ports.read_commands(command(START, request(1)))
    if replaced:
        second = StartRun("order_processing", ORDER, conflict="terminate")
        ports.read_commands(command(second, NamedRequest("another")))
    run(running)
    many = [ClientCommand("x", CancelRun(), ClientRequest(str(n), 1)) for n in range(1_100)]
    ports.now += 20 * MINUTE_MS
    ports.read_commands(*many)
    run(running, 20)
    told(ports)
    before = len(ports.turns())
    ports.read_commands(command(START, request(1), again=again))
    run(running)
    assert told(ports) == [Accepted(made_by(request(1)))]
    assert len(ports.turns()) == before


@pytest.mark.parametrize("cause", [request(2), NamedRequest("r-1")], ids=["ours", "by name"])
def test_a_start_that_was_refused_is_never_told_that_it_counted(
    cause: Cause, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many answers were given since: the run that has the id is not its own."""
    monkeypatch.setattr(dedup, "KEPT", 3)
    ports = Ports()
    running = begun(ports)
    rival = StartRun("order_processing", ORDER, reuse="reject")
    refused = [ClientCommand("x", CancelRun(), ClientRequest("other", n)) for n in range(1, 5)]
    ports.read_commands(command(START, request(1)), command(rival, cause), *refused)
    run(running, 10)
    assert [type(answer) for answer in told(ports)] == [Accepted, Refused]
    ports.read_commands(command(rival, cause, again=True))
    run(running)
    (answer,) = told(ports)
    assert isinstance(answer, Refused) and answer.error == "RequestExpired"


@pytest.mark.parametrize("keeps", [True, False], ids=["tables are there", "tables are lost"])
def test_the_next_owner_knows_what_has_counted(keeps: bool) -> None:
    ports, store = Ports(), Memory()
    running = begun(ports, store)
    commands = [
        command(START, request(1)),
        command(RaiseEvent("go"), request(3)),
        command(RaiseEvent("go"), NamedRequest("r-1")),
        ClientCommand("nobody", RaiseEvent("go"), request(4), reply_to=TO),
    ]
    ports.read_commands(*commands)
    run(running)
    before = told(ports)
    causes = [record.cause for record in ports.records()]
    running.flush()
    after = Ports(ports.partition)
    running = shard(after, store if keeps else None)
    told(after)
    after.read_again(*commands, command(START, request(2)))
    run(running)
    answers = told(after)
    assert answers[0] == before[0] and answers[3] == before[3]
    last = answers[-1]
    later = [record.cause for record in after.records()[len(causes) :]]
    assert [cause for cause in later if cause is not None] == [request(2)], "it alone is new"
    assert isinstance(last, Refused) and last.error == "WorkflowAlreadyStarted"


def test_a_start_that_is_read_again_makes_the_same_run_where_it_was_not_written() -> None:
    ports = Ports()
    running = begun(ports)
    ports.held = True
    ports.read_commands(command(START))
    run(running)
    assert told(ports) == [], "it is not acknowledged"
    after = Ports()
    running = begun(after)
    after.read_again(command(START))
    run(running)
    (turn,) = after.turns()
    assert turn.run_id == ports.turns()[0].run_id == made_by(None, 0)


def test_the_answer_to_a_refused_command_is_owed_at_a_takeover() -> None:
    ports = Ports()
    running = begun(ports)
    ports.held = True
    ports.read_commands(command(RaiseEvent("go"), request(1)))
    run(running)
    assert told(ports) == []
    after = Ports(ports.partition)
    shard(after)
    (refused,) = told(after)
    assert isinstance(refused, Refused) and refused.error == "WorkflowNotFound"


def test_nobody_is_told_before_the_log_has_it() -> None:
    ports = Ports()
    running = begun(ports)
    ports.held = True
    ports.read_commands(
        command(START, request(1)),
        command(START, request(1), again=True),
        command(RaiseEvent("go", run_id="another"), request(2)),
        command(DescribeRun()),
        command(AwaitResult(run_id="another")),
    )
    run(running)
    assert told(ports) == []
    ports.held = False
    run(running)
    first, again, refused, page, missing = told(ports)
    assert first == again == Accepted(made_by(request(1)))
    assert isinstance(refused, Refused) and isinstance(missing, Refused)
    assert isinstance(page, Page) and made_by(request(1)).encode() in page.content


def test_questions_leave_no_record() -> None:
    ports = Ports()
    running = begun(ports)
    ports.read_commands(command(START, request(1)))
    run(running)
    told(ports)
    ports.read_commands(
        *(command(body) for body in (DescribeRun(), ReadHistory(), ListRuns(), AwaitResult()))
    )
    run(running)
    assert [type(answer) for answer in told(ports)] == [Page, Page, Page]
    assert len(ports.records()) == 1


def test_a_command_of_a_later_release_is_answered_when_its_dead_letter_is_on_its_way() -> None:
    ports = Ports()
    running = begun(ports)
    letter = DeadLetter("commands", 0, 0, b"order-1", b"?", "a later release wrote it")
    envelope = Envelope("order-1", ClientRequest("c", 1), False, TO, None)
    ports.arrived.append(InboxRecord("commands", 0, letter, envelope, "TooNew"))
    run(running)
    assert [effect for effect, _ in ports.sent] == [letter]
    assert told(ports) == [Refused("TooNew", "a later release wrote it")]


def test_a_call_of_a_later_release_is_refused_once_and_goes_to_dead_letters() -> None:
    """Whoever sent it waits for an answer, and may send it again."""
    ports = Ports()
    running = begun(ports)
    origin = Origin(b"another log here", 1, 5, 0)
    envelope = Envelope("order-1", origin, False, None, Caller(Address(None, "p"), "r", 3))
    letters = [DeadLetter("commands", 0, n, b"order-1", b"?", "a later one") for n in range(2)]
    for number, letter in enumerate(letters):
        ports.arrived.append(InboxRecord("commands", number, letter, envelope, "TooNew"))
    ports.read_commands()
    run(running)
    refused = Refused("TooNew", "a later one")
    answer = Message("p", AnswerCall("r", 3, refused))
    assert [effect for effect, _ in ports.sent] == [answer, letters[0]]
    (record,) = ports.records()
    assert isinstance(record, Answered) and record.answer == refused
    assert record.positions.commands == 1 and record.letter == letters[0]


def test_a_call_that_cannot_be_taken_is_refused_and_forges_nothing() -> None:
    """What says that this shard sent it hides nothing that the shard sends to itself."""
    ports = Ports()
    running = begun(ports)
    caller = Caller(Address(None, "p"), "r", 3)
    letter = DeadLetter("commands", 0, 0, b"order-1", b"?", "it is in the wrong partition")
    other = Envelope("order-1", Origin(b"another log here", 1, 5, 0), False, None, caller)
    own = other._replace(cause=Origin(ports.id, 0, 1 << 40, 0))
    for number, envelope in enumerate([other, own]):
        ports.arrived.append(InboxRecord("commands", number, letter, envelope))
    run(running)
    refused = Refused("CommandRejected", letter.reason)
    answers = [effect for effect, _ in ports.sent if isinstance(effect, Message)]
    assert answers == [Message("p", AnswerCall("r", 3, refused))]
    first, second = ports.records()
    assert isinstance(first, Answered) and first.answer == refused
    assert isinstance(second, Answered) and second.cause is None and second.letter == letter


def test_a_call_of_a_later_release_waits_for_the_letters_before_it() -> None:
    ports = Ports()
    running = begun(ports)
    letter = DeadLetter("commands", 0, 0, b"w", b"?", "it is no record")
    caller = Caller(Address(None, "p"), "r", 3)
    envelope = Envelope("order-1", Origin(b"another log here", 1, 5, 0), False, None, caller)
    ports.arrived.append(InboxRecord("commands", 0, letter))
    ports.arrived.append(InboxRecord("commands", 1, replace(letter, offset=1), envelope))
    run(running)
    assert not ports.records(), "its record would be past a letter that is on its way"
    ports.deliver_all()
    run(running)
    assert [record.positions.commands for record in ports.records()] == [2]


def test_a_command_that_needs_a_later_level_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = LEVEL_FIRST + 1
    monkeypatch.setattr("processor.shard.turns.deciding.LEVEL", later)
    monkeypatch.setattr("processor.shard.turns.deciding.level_of", lambda command: later)
    ports = Ports()
    running = begun(ports)
    ports.read_commands(command(START, request(1)))
    run(running)
    (refused,) = told(ports)
    assert isinstance(refused, Refused) and refused.error == "UpgradeNeeded"
    assert f"at level {LEVEL_FIRST}" in refused.message and "`processor upgrade`" in refused.message
    assert [type(record) for record in ports.records()] == [Answered]


# --- successors -------------------------------------------------------------------------------


def test_a_run_that_is_replaced_is_followed_by_the_next_record() -> None:
    ports = Ports()
    running = begun(ports)
    second = StartRun("order_processing", ORDER, conflict="terminate")
    ports.read_commands(command(START, request(1)), command(second, request(2)))
    ports.read_commands(command(DescribeRun()))
    run(running)
    _, ended, started = ports.turns()
    assert (ended.source, ended.cause) == ("commands", request(2))
    assert (started.source, started.cause) == ("successor", None)
    (closing,), begin = ended.events, started.events[0]
    assert isinstance(closing, WorkflowTerminated) and closing.successor is not None
    assert closing.successor.run_id == started.run_id == made_by(request(2))
    assert closing.successor.started == begin
    _, accepted, page = told(ports)
    assert accepted == Accepted(made_by(request(2)))
    assert started.run_id.encode() in page.content
    ports.deliver_all()
    run(running)
    assert running.idle


def test_a_successor_whose_start_was_not_written_is_begun_before_any_input_is_read() -> None:
    ports = Ports()
    running = begun(ports)
    second = StartRun("order_processing", ORDER, conflict="terminate")
    ports.read_commands(command(START, request(1)), command(second, request(2)))
    run(running)
    last = ports.partition.end - 1
    del ports.partition._records[last]
    ports.partition.end = last
    after = Ports(ports.partition)
    running = shard(after)
    after.read_again(command(CancelRun(), request(3)))
    run(running)
    turn: Turn = after.turns()[2]
    assert turn.run_id == made_by(request(2)) and turn.source == "successor"
    assert isinstance(turn.events[0], WorkflowStarted)
    assert after.turns()[3].cause == request(3)
    assert after.turns()[3].run_id == made_by(request(2)), "the cancel is for the new run"
    assert Reply(TO, Accepted(made_by(request(2)))) in after.replies
