"""Topics of replies that clients name: who reads which, and what a hostile name comes to."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from processor import Client, Settings, Worker
from processor.codec.records import decode_as, encode
from processor.core.data.address import ReplyToTopic
from processor.core.inputs import ClientCommand
from processor.core.questions import ListRuns
from processor.core.records.effects import DeadLetter
from processor.errors import ShardUnavailable, TopicsNotReady
from processor.kafka.topics.upkeep import apply, check, plan
from processor.kafka.transport import KafkaTransport
from tests.api.serving import CODE, greet
from tests.kafka.conftest import PARTITIONS
from tests.kafka.talking import PATIENT, dead_letters

pytestmark = pytest.mark.timeout(200)
HOSTILE = 2_000


def records_in(servers: str, topic: str, partitions: int = PARTITIONS) -> int:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "looks"})
    try:
        places = [TopicPartition(topic, partition) for partition in range(partitions)]
        return sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    finally:
        consumer.close()


def test_answers_are_in_the_topic_that_the_client_names(
    kafka_servers: str, made: str, admin: AdminClient, tmp_path: Path
) -> None:
    """The topic is made while the worker runs, and found by it."""

    async def main() -> None:
        worker = Worker(kafka_servers, namespace=made, **CODE, state_dir=tmp_path)
        async with asyncio.timeout(120), worker:
            async with Client(kafka_servers, namespace=made, settings=PATIENT) as client:
                assert await client.run(greet, "Ada") == "Hello, Ada!"
            shared = records_in(kafka_servers, f"{made}.replies")
            named = Client(kafka_servers, namespace=made, replies="team-a", settings=PATIENT)
            with pytest.raises(
                TopicsNotReady, match=rf"apply --namespace {made} --replies team-a`"
            ):
                await named.__aenter__()
            apply(admin, plan(admin, made, PARTITIONS, 1, optional=["replies.team-a"]))
            assert plan(admin, made, PARTITIONS, 1, optional=["replies.team-a"]) == []
            async with Client(
                kafka_servers, namespace=made, replies="team-a", settings=PATIENT
            ) as client:
                assert await client.run(greet, "Bob") == "Hello, Bob!"
                assert [run.workflow async for run in client.list()] == ["greet", "greet"]
            assert records_in(kafka_servers, f"{made}.replies.team-a") >= 1 + PARTITIONS
            assert records_in(kafka_servers, f"{made}.replies") == shared

    asyncio.run(main())
    (missing,) = [
        each for each in check(admin, made, optional=["replies.b"]) if each.severity == "error"
    ]
    assert missing.topic == f"{made}.replies.b"
    assert missing.remedy.endswith(f"--partitions {PARTITIONS} --replies b")


def test_a_topic_that_is_deleted_is_named_and_one_that_is_made_again_is_read(
    kafka_servers: str,
    made: str,
    admin: AdminClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its client reads the last partition, which the topic does not have any more then."""
    monkeypatch.setattr("processor.kafka.replies.random.randrange", lambda count: count - 1)
    topic, settings = f"{made}.replies.team-a", Settings(request_timeout_s=15)
    apply(admin, plan(admin, made, PARTITIONS, 1, optional=["replies.team-a"]))

    async def answered(client: Client) -> str:
        for _ in range(8):
            with suppress(ShardUnavailable):
                return await client.run(greet, "Ada")
        raise AssertionError("no answer came")

    async def main() -> None:
        worker = Worker(kafka_servers, namespace=made, **CODE, state_dir=tmp_path)
        named = Client(kafka_servers, namespace=made, replies="team-a", settings=settings)
        async with asyncio.timeout(170), worker, named as client:
            assert await answered(client) == "Hello, Ada!"
            admin.delete_topics([topic])[topic].result(30)
            with pytest.raises(ShardUnavailable) as told:
                await client.run(greet, "Bob")
            assert f"{topic} is not there" in str(told.value)
            assert f"apply --namespace {made} --replies team-a`" in str(told.value)
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
            assert await answered(client) == "Hello, Ada!"

    asyncio.run(main())
    assert f"{topic} was made again with 1 partitions" in caplog.text


def test_names_that_nobody_made_hold_up_nobody(
    kafka_servers: str,
    made: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No name of a stranger reaches the producer: only those of topics that are there."""
    sent: set[str] = set()
    looks: list[None] = []
    find = KafkaTransport._find_reply_topics

    def counted(self: KafkaTransport) -> object:
        looks.append(None)
        produce = self.sends.produce

        def noted(topic: str, *rest: object) -> None:
            sent.add(topic)
            produce(topic, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(self.sends, "produce", noted)
        return find(self)

    monkeypatch.setattr(KafkaTransport, "_find_reply_topics", counted)
    producer = Producer({"bootstrap.servers": kafka_servers})
    names = [f"n-{number}" for number in range(HOSTILE)]
    evil = ["../events", "", "x" * 500, "a b"]
    for number, name in enumerate([*names, *evil]):
        to = ReplyToTopic(number % 3, "stranger", 1, name)
        command = ClientCommand("", ListRuns(), reply_to=to)
        producer.produce(f"{made}.commands", encode(command), b"", number % PARTITIONS)
    assert producer.flush(20) == 0

    async def main() -> None:
        worker = Worker(kafka_servers, namespace=made, **CODE, state_dir=tmp_path)
        with caplog.at_level(logging.WARNING, "processor.kafka"):
            async with asyncio.timeout(120), worker:
                async with Client(kafka_servers, namespace=made, settings=PATIENT) as client:
                    assert await client.run(greet, "Ada") == "Hello, Ada!"
                    while "replies could not be sent" not in caplog.text:
                        await asyncio.sleep(0.05)

    asyncio.run(main())
    reasons = [decode_as(DeadLetter, each).reason for each in dead_letters(kafka_servers, made, 4)]
    assert all("topic of its reply address" in reason for reason in reasons), reasons
    assert f"apply --namespace {made} --replies n-" in caplog.text
    assert not {each for each in sent if ".replies." in each}
    assert 1 <= len(looks) < 100, "one look is for all that wait for it"
