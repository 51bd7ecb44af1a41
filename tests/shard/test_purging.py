"""Giving up the history of a closed run: its record first, its turns later, its id much later."""

from __future__ import annotations

import pytest

from processor.core.data.address import ReplyTo
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import TerminateRun
from processor.core.questions import AwaitResult, ReadHistory
from processor.core.records.answers import Accepted, Refused
from processor.core.records.turn import Purged, turn_key
from processor.shard.loop import Shard
from processor.shard.turns.writer import ID_RETENTION_MS
from processor.store.keyvalue import Memory

from .running import MINUTE_MS, ORDER, Ports, run, shard

TO = ReplyTo(2, "client", 7)
START = ClientCommand("a", StartRun("order_processing", ORDER), NamedRequest("r-1"), reply_to=TO)


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def running(ports: Ports) -> Shard:
    """A shard with a closed run of ``a`` and an open one of ``b``."""
    running = shard(ports)
    other = ClientCommand("b", START.body)
    ports.read_commands(START, ClientCommand("a", TerminateRun()), other)
    run(running)
    ports.deliver_all()
    ports.replies.clear()
    return running


def run_ids(ports: Ports) -> list[str]:
    return list(dict.fromkeys(turn.run_id for turn in ports.turns()))


def tombstones(ports: Ports) -> list[bytes]:
    return [record.key for record in ports.partition.written if record.value is None]


def minutes(ports: Ports, running: Shard, count: int = 2) -> None:
    for _ in range(count):
        ports.now += MINUTE_MS
        run(running)


def test_only_a_closed_run_can_be_purged_and_only_once(ports: Ports, running: Shard) -> None:
    closed, open_run = run_ids(ports)
    assert not running.purge("b", open_run), "it is open"
    assert not running.purge("b", closed), "it is of another workflow id"
    assert not running.purge("a", "there is none")
    assert running.purge("a", closed)
    assert not running.purge("a", closed), "it is under way"
    run(running)
    assert not running.purge("a", closed), "it is done"
    (record,) = [each for each in ports.records() if isinstance(each, Purged)]
    assert (record.run_id, record.status, record.latest) == (closed, "terminated", True)


def test_the_turns_go_when_a_mark_covers_the_purge_and_never_before(
    ports: Ports, running: Shard
) -> None:
    closed, _ = run_ids(ports)
    assert running.purge("a", closed)
    run(running)
    assert tombstones(ports) == []
    minutes(ports, running)
    keys = [turn_key(closed, first, 0) for first in (0, 2)]
    assert [key for key in tombstones(ports) if key in keys] == keys
    written = ports.partition.written
    covering = max(each.offset for each in written if each.key.startswith(b"mark/"))
    first = next(each.offset for each in written if each.value is None)
    assert min(covering, first) > 3
    after = Ports(ports.partition)
    after.partition.compact(after.partition.end)
    latest = shard(after)._ports.tables.latest("a")
    assert latest is not None and latest.purged_ms is not None
    assert latest.run_id == closed


def test_what_was_not_delivered_keeps_the_turns(ports: Ports, running: Shard) -> None:
    closed, _ = run_ids(ports)
    ports.read_commands(ClientCommand("nobody", TerminateRun()))
    run(running)  # its dead letter is on its way
    assert running.purge("a", closed)
    minutes(ports, running, 5)
    assert turn_key(closed, 0, 0) not in tombstones(ports)
    ports.deliver_all()
    minutes(ports, running)
    assert turn_key(closed, 0, 0) in tombstones(ports)


def test_who_asks_about_a_purged_run_is_told_so(ports: Ports, running: Shard) -> None:
    closed, _ = run_ids(ports)
    running.purge("a", closed)
    run(running)
    for body in (AwaitResult(), ReadHistory(run_id=closed)):
        ports.read_commands(ClientCommand("a", body, reply_to=TO))
        run(running)
        answer = ports.replies.pop().body
        assert isinstance(answer, Refused) and answer.error == "WorkflowNotFound"
        assert "was terminated, and then purged" in answer.message


def test_the_request_that_made_a_purged_run_does_not_make_it_again(
    ports: Ports, running: Shard
) -> None:
    closed, _ = run_ids(ports)
    running.purge("a", closed)
    minutes(ports, running)
    turns = len(ports.turns())
    ports.read_commands(START)
    run(running)
    assert ports.replies[-1].body == Accepted(closed)
    assert len(ports.turns()) == turns


def test_the_id_of_a_purged_run_is_known_for_a_month(ports: Ports, running: Shard) -> None:
    closed, _ = run_ids(ports)
    running.purge("a", closed)
    minutes(ports, running)
    tables = running._ports.tables
    ports.now += ID_RETENTION_MS - 10 * MINUTE_MS
    ports.read_commands(ClientCommand("nobody", TerminateRun()))
    minutes(ports, running)
    assert tables.run(closed) is not None
    ports.now += 20 * MINUTE_MS
    ports.read_commands(ClientCommand("nobody", TerminateRun()))
    minutes(ports, running)
    tables.flush()
    assert tables.run(closed) is None and tables.latest("a") is None
    ports.deliver_all()
    minutes(ports, running)
    assert f"{closed}/purged/0".encode() in tombstones(ports)


def test_an_old_purge_is_forgotten_by_the_next_owner_as_well(ports: Ports, running: Shard) -> None:
    closed, _ = run_ids(ports)
    running.purge("a", closed)
    minutes(ports, running)
    after = Ports(ports.partition)
    after.now = ports.now + ID_RETENTION_MS + MINUTE_MS
    following = shard(after, Memory())
    assert following._ports.tables.run(closed) is not None
    after.read_commands(ClientCommand("nobody", TerminateRun()))
    minutes(after, following)
    following._ports.tables.flush()
    assert following._ports.tables.run(closed) is None
