"""``processor topics dead-letters``: what could not be used is listed, and sent again once."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from processor import Client, Worker, workflow
from processor.codec.records import decode_as, encode
from processor.core.data.cause import ClientRequest, NamedRequest, Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun
from processor.core.records.effects import DeadLetter
from processor.kafka.publishing.writing import TOPIC_HEADER
from processor.kafka.topics import dead_letters
from processor.kafka.topics.upkeep import connect
from tests.kafka.harness import Adapters, adapters, until

from .conftest import Invoke


@pytest.fixture
def kafka(kafka_servers: str, namespace: str, tmp_path: Path) -> Iterator[Adapters]:
    with adapters(kafka_servers, namespace, connect(kafka_servers), tmp_path / "state") as made:
        yield made


@pytest.fixture
def where(kafka: Adapters) -> tuple[str, ...]:
    connection = kafka.connection
    return ("--server", connection.servers, "--namespace", connection.namespace)


def bury(kafka: Adapters, *letters: DeadLetter | bytes, topic: str | bytes = "") -> None:
    producer = Producer({"bootstrap.servers": kafka.connection.servers})
    name = topic.encode() if isinstance(topic, str) else topic
    headers: list[Any] = [(TOPIC_HEADER, name)] if name else []
    for letter in letters:
        value = letter if isinstance(letter, bytes) else encode(letter)
        producer.produce(kafka.topic("dead-letters"), value, b"place", headers=headers)
    assert producer.flush(10) == 0


def make(admin: AdminClient, topic: str) -> None:
    for future in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        future.result()


def lines(invoke: Invoke, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = invoke("topics", "dead-letters", *arguments, "--json")
    assert done.exit_code == code, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def outcomes(told: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(each["offset"], each["outcome"]) for each in told]


def letter(value: bytes | None, topic: str = "commands", reason: str = "no") -> DeadLetter:
    return DeadLetter(topic, 0, 5, b"w", value, reason)


def test_letters_are_listed_with_their_place_their_state_and_their_reason(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...]
) -> None:
    empty = invoke("topics", "dead-letters", "list", *where)
    assert empty.stdout == "no dead letters\n", empty.output
    bury(kafka, letter(b'{"type": "dance"}', reason="dance\nis\x1b no type"), letter(b"\xff\xfe"))
    first, second = lines(invoke, "list", *where)
    assert first["time"].endswith("+00:00")
    assert (first["offset"], first["topic"], first["partition"], first["source_offset"]) == (
        0,
        kafka.topic("commands"),
        0,
        5,
    )
    assert (first["key"], first["value"], first["state"]) == ("w", {"type": "dance"}, "waiting")
    assert second["value_base64"] == "//4="
    listed = invoke("topics", "dead-letters", "list", *where).stdout.splitlines()
    assert listed[0].split() == ["OFFSET", "TIME", "TOPIC", "KEY", "BYTES", "STATE", "REASON"]
    assert len(listed) == 3
    assert len(lines(invoke, "list", "--limit=1", *where)) == 1
    cut = invoke("topics", "dead-letters", "list", "--limit=1", *where)
    assert cut.stdout.splitlines()[-1] == "there are more than these 1: --limit shows more"
    assert lines(invoke, "list", "--topic=other", *where) == []


def test_forged_records_hide_no_letter(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...]
) -> None:
    """Everybody who may write to the topic may write this."""
    kafka.produce("dead-letters", 0, b"replayed/x", None)
    kafka.produce("dead-letters", 0, b"replayed/" + b"9" * 5_000, None)
    bury(kafka, letter(b"1"), topic=b"\xff\xfe")
    bury(kafka, letter(b"2"))
    assert [each["value"] for each in lines(invoke, "list", *where)] == [1, 2]
    told = outcomes(lines(invoke, "replay", "--all", *where, code=1))
    assert [(offset, outcome == "replayed") for offset, outcome in told] == [(2, False), (3, True)]


@pytest.mark.parametrize("name", ["events", "dead-letters", "replies", "a\0b", "a b", ".."])
@pytest.mark.parametrize("in_header", [True, False])
def test_nothing_is_replayed_to_where_no_record_of_ours_can_be_for(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...], name: str, in_header: bool
) -> None:
    own = kafka.topic(name) if name.isalpha() or "-" in name else name
    if in_header:
        bury(kafka, letter(b"1"), topic=own)
    else:
        bury(kafka, letter(b"1", topic=name))
    bury(kafka, letter(b'{"type": "start", "workflow": "hello", "arguments": []}'))
    assert len(lines(invoke, "list", *where)) == 2
    told = outcomes(lines(invoke, "replay", "--all", *where, code=1))
    assert [outcome == "replayed" for _, outcome in told] == [False, True]
    assert not kafka.records(kafka.topic("events"), 0, 4)


def test_while_a_transaction_is_open_on_the_topic_nothing_is_replayed(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hides which letters were replayed: each try would send them again."""
    monkeypatch.setattr(dead_letters, "_SETTLED_S", 0.3)
    bury(kafka, letter(b'{"type": "start", "workflow": "hello", "arguments": []}'))
    servers = {"bootstrap.servers": kafka.connection.servers}
    stranger = Producer({**servers, "transactional.id": kafka.topic("stranger")})
    stranger.init_transactions(10)
    stranger.begin_transaction()
    stranger.produce(kafka.topic("dead-letters"), b"junk", b"k")
    stranger.flush(10)
    for _ in range(2):
        done = invoke("topics", "dead-letters", "replay", "--all", *where)
        assert done.exit_code == 4, done.output
        assert "a transaction is open on" in done.output and "find-hanging" in done.output
    stranger.abort_transaction(10)
    for outcome in ("replayed", "replayed before"):
        assert outcomes(lines(invoke, "replay", "0", *where)) == [(0, outcome)]
    assert len(kafka.records(kafka.topic("commands"), 1, 4)) == 1


def test_what_a_user_asked_for_is_sent_again_once(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...]
) -> None:
    orders = f"{kafka.connection.namespace}-orders"
    for number in range(3):
        record = DeadLetter(orders, -1, -1, b"k%d" % number, b"v%d" % number, "it did not exist")
        bury(kafka, record, topic=orders)
    missing = lines(invoke, "replay", "--all", *where, code=1)
    assert [each["offset"] for each in missing] == [0, 1, 2]
    assert all("UNKNOWN" in each["outcome"] for each in missing)
    assert all(f"kafka-topics.sh --create --topic {orders})" in each["outcome"] for each in missing)
    make(kafka.admin, orders)
    assert outcomes(lines(invoke, "replay", "1", *where)) == [(1, "replayed")]
    assert outcomes(lines(invoke, "replay", "1", *where)) == [(1, "replayed before")]
    assert outcomes(lines(invoke, "replay", "--all", *where)) == [(0, "replayed"), (2, "replayed")]
    assert lines(invoke, "replay", "--all", *where) == []
    found = kafka.records(orders, 3)
    assert [(m.key(), m.value()) for m in found] == [(b"k1", b"v1"), (b"k0", b"v0"), (b"k2", b"v2")]
    states = [each["state"] for each in lines(invoke, "list", *where)]
    assert states == ["replayed"] * 3


def test_a_refused_letter_is_named_and_the_others_are_replayed(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...]
) -> None:
    orders, narrow = (f"{kafka.connection.namespace}-{name}" for name in ("orders", "narrow"))
    make(kafka.admin, orders)
    small = NewTopic(narrow, 1, 1, config={"max.message.bytes": "1000"})
    for future in kafka.admin.create_topics([small]).values():
        future.result()
    large = bytes(range(256)) * 20
    bury(kafka, DeadLetter(orders, -1, -1, b"k", b"before", ""), topic=orders)
    bury(kafka, DeadLetter(narrow, -1, -1, None, os.urandom(5_000), ""), topic=narrow)
    bury(kafka, DeadLetter(orders, -1, -1, None, large, ""), topic=orders)
    told = outcomes(lines(invoke, "replay", "--all", *where, code=1))
    assert [told[0], told[2]] == [(0, "replayed"), (2, "replayed")]
    assert told[1][0] == 1 and "MSG_SIZE_TOO_LARGE" in told[1][1]
    assert [message.value() for message in kafka.records(orders, 2)] == [b"before", large]
    assert [each["state"] for each in lines(invoke, "list", *where)][1] == "waiting"


def test_what_cannot_be_replayed_says_why(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...]
) -> None:
    cut = "no (the first 2,000,000 of 2,097,000 bytes are here)"
    event = DeadLetter("commands", -1, -1, b"w", b"1", "event 'paid' of w: no number")
    bury(kafka, letter(b"x", reason=cut), event, letter(None), letter(b"t", "activities"), b"odd")
    told = lines(invoke, "replay", "0", "1", "2", "3", "4", "77", *where, code=1)
    for each, why in zip(
        told,
        ("only a part", "processor event", "no value", "no topic", "no dead letter", "no such"),
        strict=True,
    ):
        assert why in each["outcome"]
    assert lines(invoke, "replay", "--all", *where) == []
    for wrong in ((), ("1", "--all")):
        refused = invoke("topics", "dead-letters", "replay", *wrong, *where)
        assert refused.exit_code == 2 and "--all" in refused.stderr


def test_a_command_gets_an_id_of_its_own(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...]
) -> None:
    """What is refused counts: with the id that it had, the shard would know it already."""
    body = RaiseEvent("paid", b"1")
    origin = Origin(b"\x01" * 16, 2, 7, 1)
    buried = [
        (NamedRequest("web-7"), 5, "0/5"),
        (ClientRequest("c", 3), 6, "0/6"),
        (None, 7, "0/7"),
        (NamedRequest("web-7"), 5, "0/5"),  # a crash buried it twice: it counts once
        (origin, -1, f"{'01' * 16}/2/7/1"),
        (None, -1, "letter/5"),
    ]
    for cause, offset, _ in buried:
        value = encode(ClientCommand("w", body, cause))
        bury(kafka, replace(letter(value), offset=offset))
    bury(kafka, letter(b"\x00odd"))
    assert len(lines(invoke, "replay", "--all", *where)) == 7
    found = kafka.records(kafka.topic("commands"), 7, 4)
    values = [message.value() or b"" for message in found]
    assert [decode_as(ClientCommand, value) for value in values[:6]] == [
        ClientCommand("w", body, NamedRequest(f"dead-letters/{place}")) for *_, place in buried
    ]
    assert values[6] == b"\x00odd"


def test_a_replay_of_unknown_outcome_is_looked_up(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = []

    class Deaf(Producer):
        def commit_transaction(self, *arguments: Any) -> None:
            if len(lost) % 2 == 0:
                super().commit_transaction(*arguments)
            lost.append(1)
            if len(lost) < 4:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    monkeypatch.setattr(dead_letters, "Producer", Deaf)
    orders = f"{kafka.connection.namespace}-orders"
    make(kafka.admin, orders)
    bury(kafka, *(DeadLetter(orders, -1, -1, None, b"%d" % n, "") for n in range(2)), topic=orders)
    assert [said for _, said in outcomes(lines(invoke, "replay", "--all", *where))] == [
        "replayed"
    ] * 2
    assert lost
    assert sorted(m.value() or b"" for m in kafka.records(orders, 2)) == [b"0", b"1"]


@workflow.define
async def greets(name: str) -> str:
    return f"hello {name}"


def test_a_start_that_nobody_knew_runs_after_the_fix(
    invoke: Invoke, kafka: Adapters, where: tuple[str, ...], tmp_path: Path
) -> None:
    connection = kafka.connection
    command = ClientCommand("greeting", StartRun("greets", b'["Ada"]'), NamedRequest("web-1"))

    async def works(workflows: Sequence[Any]) -> None:
        async with Worker(
            connection.servers,
            namespace=connection.namespace,
            workflows=workflows,
            state_dir=tmp_path / "worker",
        ):
            if not workflows:
                found = lambda: len(kafka.records(kafka.topic("dead-letters"), 1))  # noqa: E731
                await asyncio.to_thread(until, found, "the letter")
                return
            told = outcomes(await asyncio.to_thread(lines, invoke, "replay", "--all", *where))
            assert {outcome for _, outcome in told} == {"replayed"}, "a restart may bury it again"
            async with Client(connection.servers, namespace=connection.namespace) as client:
                async with asyncio.timeout(60):
                    while [run.workflow_id async for run in client.list()] != ["greeting"]:
                        await asyncio.sleep(0.1)
                    assert await client.handle("greeting").result() == "hello Ada"

    producer = Producer(connection.producer())
    producer.produce(kafka.topic("commands"), encode(command), b"greeting")
    assert producer.flush(10) == 0
    asyncio.run(works([]))
    asyncio.run(works([greets]))
