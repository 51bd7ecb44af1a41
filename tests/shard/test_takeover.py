"""Taking a shard over: whether it may be, which tables are gone on from, and what is owed then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.codec.records import LEVEL, encode
from processor.core.data.address import Address, ReplyTo
from processor.core.data.cause import Origin
from processor.core.nouns.activity import AttemptState
from processor.core.nouns.call import MessageSent
from processor.core.nouns.external import EventRejected, RaiseEvent
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    StartSuccessor,
    Successor,
    WorkflowCompleted,
    WorkflowTerminated,
)
from processor.core.nouns.value import StatusSet
from processor.core.records import effects
from processor.core.records.answers import Accepted, Refused
from processor.core.records.effects import Reply
from processor.core.records.marks import Mark
from processor.core.records.turn import Claim, Positions, Turn, turn_key
from processor.errors import LogTruncated, ReleaseTooOld, StoreCorrupt
from processor.shard.flight import Flight, ShardLost
from processor.shard.gate import Gate
from processor.shard.intake.handover import Handover
from processor.shard.intake.overflow import Overflow
from processor.shard.messages.border import Border
from processor.shard.outbox import Deliveries
from processor.shard.recovery.takeover import Taken, Takeover, send_owed
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import CALM
from processor.simulation.hosts.ports import SimulatedLog
from processor.simulation.scheduler import START_MS, Scheduler
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables
from tests.contract.records import NOW, STARTED, again, scheduled, waits
from tests.contract.stores import IDENTITY

from .logs import WrittenLog

DAY_MS = 24 * 3600 * 1000


class Shard:
    """One log, and whoever takes it over at a time of the test's."""

    def __init__(self) -> None:
        self.scheduler = Scheduler(0)
        self.broker = SimulatedBroker(1)

    def take_over(self, store: Memory, day: float) -> Taken:
        log = SimulatedLog(self.broker, 0, self.scheduler, CALM, lambda: None)
        takeover = Takeover(0, log, StateTables(store, "events-0"), "a test")
        now_ms = START_MS + int(day * DAY_MS)
        takeover.begin("nonce", now_ms)
        while (epoch := takeover.claimed("nonce", now_ms)) is None:
            assert self.scheduler.step(), "the claim is acknowledged"
        return takeover.fold(epoch, 0)

    def write(self, taken: Taken, number: int) -> None:
        """Append the one turn of a run, as the owner would."""
        happened = (STARTED, WorkflowCompleted(b"null"))
        run_id = f"0-{number}"
        turn = Turn(
            f"w-{number}",
            run_id,
            taken.epoch,
            0,
            START_MS,
            "commands",
            Positions(number + 1),
            0,
            None,
            happened,
        )
        self.broker.logs[0].append(turn_key(run_id, 0, taken.epoch), encode(turn))


def test_a_store_that_was_away_for_long_is_refused_and_rebuilt_from_the_log() -> None:
    shard, ours, others = Shard(), Memory(), Memory()
    shard.write(shard.take_over(ours, 0), 0)
    shard.write(shard.take_over(others, 1), 1)
    with pytest.raises(StoreCorrupt, match=r"left 192.0 hours ago.*delete\.retention\.ms"):
        shard.take_over(ours, 8)
    assert shard.take_over(Memory(), 8).turns == 2


def test_a_store_that_was_away_for_less_is_gone_on_from() -> None:
    shard, ours, others = Shard(), Memory(), Memory()
    shard.write(shard.take_over(ours, 0), 0)
    shard.write(shard.take_over(others, 1), 1)
    assert shard.take_over(ours, 5.9).turns == 2, "the first turn was not in its tables yet"
    assert shard.take_over(ours, 11).turns == 0, "it was there on day 5.9"


def test_a_store_that_nobody_wrote_past_is_gone_on_from_however_old() -> None:
    shard, ours = Shard(), Memory()
    shard.take_over(ours, 0)
    assert shard.take_over(ours, 100).turns == 0


def test_a_log_that_lost_what_the_tables_hold_is_not_gone_on_from() -> None:
    log = WrittenLog()
    log.claim()
    log.write("a-1", [STARTED], [StatusSet(b"1")])
    tables = log.take_over()[1]
    log.first = 5
    with pytest.raises(LogTruncated, match=r"at log offset 4, but the log was \[5, 4\)"):
        log.take_over(tables)
    log.first = 0
    for offset in (2, 3, 4):
        log.records.pop(offset, None)
    log.end = 2
    with pytest.raises(LogTruncated, match="at log offset 4, but the log was"):
        log.take_over(tables)
    with pytest.raises(LogTruncated, match="everything below log offset 9 was published"):
        log.take_over(published=9)


def test_tables_go_on_where_what_they_have_was_deleted_from_the_log() -> None:
    log = WrittenLog()
    before, _ = log.owner, log.claim()
    log.claim("another")
    log.owner, after = before, log.owner
    ghost = log.write("b-1", [STARTED])[0]
    log.owner = after
    log.write("a-1", [STARTED], [StatusSet(b"1")])
    tables = log.take_over()[1]
    log.first = ghost + 1
    log.claim("a third one")
    log.write("a-1", [StatusSet(b"2")])
    log.first = log.end - 1
    with pytest.raises(LogTruncated):
        log.take_over()
    log.first = ghost + 1
    taken, _ = log.take_over(tables, published=log.end)
    assert taken.turns == 1


# --- levels -----------------------------------------------------------------------------------


def test_the_level_of_the_last_claim_is_gone_on_with() -> None:
    log = WrittenLog()
    log.claim()
    log.claim(level=3)
    log.write("a-1", [STARTED])
    taken, tables = log.take_over(level_max=3)
    assert taken.checkpoint.level == 3
    claimed = log.records[taken.epoch].value
    assert claimed == encode(Claim("us", "nonce-1", 3, NOW))
    assert log.take_over(tables, level_max=3)[0].checkpoint.level == 3


@pytest.mark.parametrize("behind", ["nothing", "records", "many records", "tombstones", "a ghost"])
def test_a_release_that_does_not_know_the_level_leaves_before_it_claims(behind: str) -> None:
    log = WrittenLog()
    log.claim()
    before = log.owner
    log.claim(level=LEVEL + 1)
    log.write("a-1", [STARTED])
    match behind:
        case "records":
            log.write("a-1", [StatusSet(b"1")])
        case "many records":
            log.write("a-1", *[[StatusSet(b"1")]] * 500)
        case "tombstones":
            for number in range(500):
                log.put(b"gone-%d" % number, None)
        case "a ghost":
            log.owner = before
            log.add(log.owner.answered)
    end = log.end
    with pytest.raises(ReleaseTooOld, match=f"is at level {LEVEL + 1} of the log's format"):
        log.take_over()
    assert log.end == end, "nothing was written"


def test_a_record_of_a_later_release_makes_a_process_leave() -> None:
    log = WrittenLog()
    log.claim()
    log.put(b"key", b"\xc3\x01" + b"12345678" + b"of a later release")
    with pytest.raises(ReleaseTooOld, match=r"cannot be read: unknown schema") as told:
        log.take_over()
    assert log.end == 2
    said = str(told.value)
    assert "events[0]: log offset 1 (key b'key')" in said and "docs/reliability.md" in said


OURS = encode(Mark(0, NOW, "eager", Positions(), 0, 0))
"""A record that would count, if it could be read."""

NO_RECORDS = [
    (b"k", b"junk"),
    (b"", b""),
    (b"k", b""),
    (b"k", b"\xc3\x01"),
    (b"k", encode(Reply(ReplyTo(0, "client", 1), Accepted("run")))),
    (b"k", encode(Claim("us", "nonce", 1, NOW))[:-1]),
    (b"k", OURS[:10]),
    (b"k", OURS[:-1]),
    (b"k", OURS + b"\0"),
    (b"k", OURS[:12] + b"\xff" * 40),
    (b"k" * 100_000, b"[]"),
    (b"k", encode(Mark(1 << 40, NOW, "eager", Positions(), 0, 0))),
]


@pytest.mark.parametrize(("key", "value"), NO_RECORDS)
@pytest.mark.parametrize("place", ["first", "under a claim", "last"])
def test_what_is_no_record_of_the_log_counts_for_nobody_and_is_deleted(
    key: bytes, value: bytes, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = WrittenLog()
    if place == "first":
        log.put(key, value)
    log.claim()
    log.write("a-1", [STARTED])
    if place == "under a claim":
        log.put(key, value)
    log.write("a-1", [StatusSet(b"1")])
    if place == "last":
        log.put(key, value)
    taken, tables = log.take_over(published=log.end)
    assert (taken.turns, taken.ghosts) == (2, 1)
    offset = {"first": 0, "under a claim": 2, "last": 3}[place]
    told = [each.getMessage() for each in caplog.records]
    assert len(told) == 1 and f"events[0]: log offset {offset} holds no record" in told[0]
    assert [k for at, k in tables.replaced(1 << 62, 10) if k == key] == [key]
    again, _ = log.take_over(tables, published=log.end)
    assert (again.turns, again.ghosts, len(caplog.records)) == (0, 0, 1), "it is told once"


def test_a_claim_of_a_level_that_nobody_knows_is_named(caplog: pytest.LogCaptureFixture) -> None:
    log = WrittenLog()
    log.claim()
    log.put(b"claim/forged", encode(Claim("evil", "n", 99, NOW)))
    with pytest.raises(ReleaseTooOld, match=r"events\[0\]"):
        log.take_over()
    assert "events[0]: log offset 1 is a claim" in caplog.text and "claim/forged" in caplog.text


def test_a_namespace_that_was_raised_while_we_claimed_is_claimed_again_at_its_level() -> None:
    log = WrittenLog()
    log.claim()
    tables = StateTables(Memory(), IDENTITY)
    takeover = Takeover(0, log, tables, "us", level_max=LEVEL + 1)
    takeover.survey()
    log.claim("another", level=LEVEL + 1)
    takeover.begin("nonce", NOW)
    epoch = takeover.claimed("nonce", NOW)
    assert epoch is not None
    with pytest.raises(ShardLost, match=f"raised to level {LEVEL + 1} meanwhile"):
        takeover.fold(epoch, 0)
    assert log.take_over(tables, level_max=LEVEL + 1)[0].checkpoint.level == LEVEL + 1


# --- what is owed -----------------------------------------------------------------------------

OTHER = Address(None, "other")
SENT = MessageSent(OTHER, "event", "go", "", b"1")
MESSAGE = effects.Message("other", RaiseEvent("go", b"1"))
DONE = WorkflowCompleted(b"1")


class Outbox:
    """Notes what is sent, with the token and the origin, replied and published."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, int | None, Origin | None]] = []
        self.replied: list[effects.Reply] = []
        self.outputs: list[tuple[int, list[Any]]] = []

    def send(self, effect: Any, token: int | None, origin: Origin | None = None) -> None:
        self.sent.append((effect, token, origin))

    def reply(self, reply: effects.Reply) -> None:
        self.replied.append(reply)

    def publish(self, offset: int, records: list[Any]) -> None:
        self.outputs.append((offset, list(records)))


def owed(taken: Taken) -> tuple[Outbox, Deliveries]:
    outbox, deliveries = Outbox(), Deliveries(taken.epoch + 1)
    port: Any = outbox
    delivered = taken.checkpoint.delivered
    gate, flight = Gate(taken.checkpoint.positions, port), Flight(3, port, taken.epoch)
    border = Border()
    overflow = Overflow(3, "events", port, port, border)
    handover = Handover(lambda workflow_id: False, border, port, gate, flight, deliveries, overflow)
    floor = WrittenLog.id, 3, delivered
    send_owed(taken.owed, taken.successors, port, handover, border, deliveries, *floor)
    return outbox, deliveries


@pytest.fixture
def log() -> WrittenLog:
    log = WrittenLog()
    log.claim()
    return log


@pytest.mark.parametrize("known", [False, True], ids=["new tables", "tables that were there"])
def test_what_is_not_known_to_be_delivered_is_sent_again_in_order(
    log: WrittenLog, known: bool
) -> None:
    log.write("a-1", [STARTED, SENT, RecordPublished("t", None, b"1"), SENT])
    log.owner.reply_to = ReplyTo(2, "client", 5)
    answered = log.add(log.owner.answered)
    log.write("a-1", [EventRejected("go", b"x", "why"), DONE])
    tables = log.take_over()[1] if known else None
    taken, _ = log.take_over(tables)
    outbox, deliveries = owed(taken)
    (first, token, origin), (second, _, other), (letter, last, _) = outbox.sent
    assert first == second == MESSAGE and token == 1
    assert origin == Origin(WrittenLog.id, 3, 1, 0)
    assert other == Origin(WrittenLog.id, 3, 1, 1), "messages are counted, and nothing else is"
    assert isinstance(letter, effects.DeadLetter) and last == 3
    told = Refused("WorkflowNotFound", "none")
    assert outbox.replied == [effects.Reply(ReplyTo(2, "client", 5), told)]
    assert answered == 2
    ((at, (published,)), (end, (result,))) = outbox.outputs
    assert (at, published) == (1, effects.Publish("t", None, b"1"))
    assert end == 3 and isinstance(result, effects.RunResult)
    assert deliveries.floor == 1
    for token in (1, 1, 3):
        deliveries.delivered(token)
    assert deliveries.floor == taken.epoch + 1


@pytest.mark.parametrize(
    ("delivered", "published", "sent", "outputs"),
    [(0, 0, [1, 2], [1, 2]), (2, 0, [2], [1, 2]), (0, 2, [1, 2], [2]), (9, 9, [], [])],
)
def test_what_is_delivered_or_published_is_not_owed(
    log: WrittenLog, delivered: int, published: int, sent: list[int], outputs: list[int]
) -> None:
    happened = [SENT, RecordPublished("t", None, b"1")]
    log.write("a-1", [STARTED, *happened], happened)
    for _ in range(10):
        log.owner.delivered = delivered
        log.write("a-1", [StatusSet(b"1")])
    outbox, _ = owed(log.take_over(published=published)[0])
    assert [token for _, token, _ in outbox.sent] == sent
    assert [offset for offset, _ in outbox.outputs] == outputs


@pytest.mark.parametrize("forgotten", range(4))
def test_what_follows_a_snapshot_is_owed_though_the_turns_below_it_are_half_gone(
    log: WrittenLog, forgotten: int
) -> None:
    happened = [StatusSet(b"1")]
    below = log.write("a-1", [STARTED], happened, happened)
    log.snapshot("a-1", happened)
    (last,) = log.write("a-1", [SENT, RecordPublished("t", None, b"1")])
    _, tables = log.take_over()
    for _, key in [row for row in tables.replaced(log.end, 9) if row[1] in log.replaced(*below)]:
        if forgotten:
            forgotten -= 1
            log.put(key, None)
    log.take_over(tables)
    outbox, _ = owed(log.take_over(tables)[0])
    assert [token for _, token, _ in outbox.sent] == [last]
    assert [offset for offset, _ in outbox.outputs] == [last]


def test_a_mark_says_what_was_published(log: WrittenLog) -> None:
    log.write("a-1", [STARTED, DONE])
    log.owner.published = 2
    log.mark()
    assert owed(log.take_over()[0])[0].outputs == []


@pytest.mark.parametrize(
    ("stood", "sent"),
    [
        (None, 1),
        (AttemptState(1, 1, False, NOW, started_ms=NOW, worker="w", starts=1), None),
        (waits(1, 70), None),
        (AttemptState(1, 2, False, NOW + 70, failures=1), 2),
        (again(1), None),
    ],
    ids=["first", "begun", "waits", "retried", "eager"],
)
def test_a_task_of_a_queue_is_sent_again_until_a_worker_began_it(
    log: WrittenLog, stood: AttemptState | None, sent: int | None
) -> None:
    log.write("a-1", [STARTED, scheduled(1, eager=False)])
    if stood is not None:
        log.write("a-1", stood)
    taken, tables = log.take_over()
    outbox, _ = owed(taken)
    assert [task.attempt for task, _, _ in outbox.sent] == ([] if sent is None else [sent])
    assert [token for _, token, _ in outbox.sent] == ([] if sent is None else [sent])
    assert owed(log.take_over(tables)[0])[0].sent == outbox.sent
    log.claim()
    log.owner.delivered = log.end
    log.write("a-1", [StatusSet(b"1")])
    assert owed(log.take_over(tables)[0])[0].sent == []


@pytest.mark.parametrize(
    ("stood", "lost"), [(None, 1), (again(1), 2), (again(1, 5), 5), (waits(1, 70), None)]
)
def test_an_attempt_that_ran_in_the_dead_process_is_lost(
    log: WrittenLog, stood: AttemptState | None, lost: int | None
) -> None:
    log.write("a-1", [STARTED, scheduled(1), scheduled(2, eager=False)])
    if stood is not None:
        log.write("a-1", stood)
    taken, _ = log.take_over()
    assert [report.attempt for report in taken.lost] == ([] if lost is None else [lost])
    for report in taken.lost:
        assert (report.kind, report.id, report.run_id) == ("failed", 1, "a-1")
        assert report.failure is not None and report.failure.timeout_kind == "lost"
        assert report.failure.details == (None if stood is None else stood.details)


@pytest.mark.parametrize("minutes", [0, 9, 11])
def test_an_attempt_that_ran_for_long_is_lost_and_not_counted(
    log: WrittenLog, minutes: int
) -> None:
    """It is not what ended its process at once: shards move, and activities take their time."""
    log.write("a-1", [STARTED, scheduled(1)])
    log.write("a-1", replace(again(1), dispatched_ms=NOW - minutes * 60_000))
    (report,) = log.take_over()[0].lost
    assert bool(report.worker) == (minutes < 10)


@pytest.mark.parametrize(
    ("stood", "sent"),
    [
        (None, 1),
        (AttemptState(1, 1, False, NOW, started_ms=NOW, worker="w", starts=1), 1),
        (AttemptState(1, 2, False, NOW + 70, failures=1), 2),
        (waits(1, 70), None),
        (again(1), None),
    ],
    ids=["first", "begun", "retried", "waits", "eager"],
)
def test_tasks_that_are_in_memory_only_are_derived_again(
    log: WrittenLog, stood: AttemptState | None, sent: int | None
) -> None:
    log.write("a-1", [STARTED, scheduled(1, eager=False)])
    if stood is not None:
        log.write("a-1", stood)
    log.owner.delivered = log.end
    log.write("a-1", [StatusSet(b"1")])
    assert owed(log.take_over()[0])[0].sent == []
    taken = log.take_over(keeps_tasks=False)[0]
    outbox, deliveries = owed(taken)
    assert [task.attempt for task, _, _ in outbox.sent] == ([] if sent is None else [sent])
    assert [token for _, token, _ in outbox.sent] == ([] if sent is None else [None])
    assert deliveries.floor == taken.epoch + 1, "no floor goes back for it"


def test_the_start_of_a_successor_is_owed_until_it_is_in_the_log(log: WrittenLog) -> None:
    ended = WorkflowTerminated("replaced", Successor("a-2", STARTED))
    log.write("a-1", [STARTED])
    (closing,) = log.write("a-1", [ended])
    taken, tables = log.take_over()
    start = StartSuccessor("a", "a-2", STARTED)
    assert taken.successors == [(start, closing)]
    outbox, deliveries = owed(taken)
    assert outbox.sent == [] and deliveries.floor == closing
    deliveries.delivered(closing)
    assert deliveries.floor == taken.epoch + 1
    log.claim()
    log.write("a-2", [STARTED])
    assert log.take_over(tables)[0].successors == []
    assert log.take_over()[0].successors == []


def test_a_successor_that_was_purged_since_does_not_begin_again(log: WrittenLog) -> None:
    ended = WorkflowTerminated("replaced", Successor("a-2", STARTED))
    log.write("a-1", [STARTED, ended])
    (begun,) = log.write("a-2", [STARTED, DONE])
    log.add(lambda: log.owner.purged("a-2", 50))
    assert log.cleaned(begun).take_over()[0].successors == []
