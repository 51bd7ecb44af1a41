"""What could not be delivered can be: topics that change meanwhile, and rules that do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation

from processor import Client, NamespaceForbidden, Settings, Worker, workflow
from processor.dev.local_broker import LocalBroker
from processor.kafka.publishing.publisher import ShardPublisher
from processor.kafka.topics.upkeep import connect
from processor.node.publishing import undeliverable
from tests.kafka.talking import PATIENT

from .delivered import allow, deny, is_done, letters, publishers, record, result, results, topic_of
from .harness import PARTITIONS, Adapters, adapters, set_config, until
from .own_broker import QUICK, need_jars, short_lived


@workflow.define
async def calls_there(namespace: str) -> str:
    try:
        return str(await workflow.call_child("any", namespace=namespace))
    except NamespaceForbidden as error:
        return str(error)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """A broker that asks who may do what; all may do all that no rule forbids."""
    need_jars()
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    overrides = {
        **QUICK,
        "authorizer.class.name": authorizer,
        "allow.everyone.if.no.acl.found": "true",
    }
    folder = tmp_path_factory.mktemp("guarded")
    with short_lived(), LocalBroker(folder, overrides=overrides) as broker:
        yield broker


@pytest.mark.parametrize("operation", [AclOperation.WRITE, AclOperation.ALL])
def test_records_for_a_topic_without_permission_are_letters(
    guarded: LocalBroker, namespace: str, tmp_path: Path, operation: AclOperation
) -> None:
    admin = connect(guarded.bootstrap_servers)
    with adapters(guarded.bootstrap_servers, namespace, admin, tmp_path) as kafka:
        closed = topic_of(kafka, "closed")
        open_too = topic_of(kafka, "open")
        deny(admin, closed, operation)
        with_publisher = publishers(kafka)
        publisher = next(with_publisher)
        for offset in range(50):
            records = [record(closed, b"%d" % offset, offset), record(open_too, b"%d" % offset)]
            publisher.publish(offset, [*records, result(offset)])
        until(is_done(publisher), "everything")
        numbers = [b"%d" % offset for offset in range(50)]
        found = letters(kafka, 50)
        assert [(letter.topic, letter.value) for letter in found] == [
            (closed, number) for number in numbers
        ]
        assert "TOPIC_AUTHORIZATION_FAILED" in found[0].reason
        assert [message.value() for message in kafka.records(open_too, 50)] == numbers
        assert results(kafka, 50) == list(range(50))
        next(with_publisher, None)


def test_a_namespace_to_which_the_workers_may_not_write_refuses_calls(
    guarded: LocalBroker, namespace: str, tmp_path: Path
) -> None:
    servers = guarded.bootstrap_servers
    admin = connect(servers)
    closed = f"{namespace}-closed"
    with (
        adapters(servers, closed, admin, tmp_path / "other") as other,
        adapters(servers, namespace, admin, tmp_path / "own") as own,
    ):
        deny(admin, other.topic("commands"), AclOperation.WRITE)

        async def main() -> None:
            worker = Worker(
                servers, namespace=namespace, workflows=[calls_there], state_dir=tmp_path / "worker"
            )
            settings = Settings(request_timeout_s=60.0)
            client = Client(servers, namespace=namespace, settings=settings)
            async with worker, client:
                told = await client.run(calls_there, closed, timeout=100)
                assert "TOPIC_AUTHORIZATION_FAILED" in told

        asyncio.run(main())
        [letter] = letters(own, 1)
        assert letter.topic == other.topic("commands")


def test_a_topic_that_is_made_smaller_and_larger_again_meanwhile(
    kafka: Adapters, publisher: ShardPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undeliverable, "_ASK_AGAIN_S", 0.5)
    topic = topic_of(kafka, "changes", max_message_bytes="20000")
    values = [os.urandom(5_000) for _ in range(4)]
    for offset, limit in enumerate(("20000", "1000", "20000")):
        set_config(kafka.admin, topic, "max.message.bytes", limit)
        time.sleep(1)  # a size that was refused is not tried again at once
        publisher.publish(offset, [record(topic, values[offset]), result(offset)])
        until(is_done(publisher), f"the one under {limit} bytes")
    assert [message.value() for message in kafka.records(topic, 2)] == [values[0], values[2]]
    assert [letter.value for letter in letters(kafka, 1)] == [values[1]]
    assert results(kafka, 3) == [0, 1, 2]


def test_each_size_around_the_limit_is_in_the_topic_or_a_letter(
    kafka: Adapters, publisher: ShardPublisher
) -> None:
    topic = topic_of(kafka, "limit", max_message_bytes="3000")
    sizes = list(range(2_880, 3_010, 2))
    for offset, size in enumerate(sizes):
        publisher.publish(offset, [record(topic, os.urandom(size), offset), result(offset)])
    until(is_done(publisher), "everything")
    assert results(kafka, len(sizes)) == list(range(len(sizes)))
    refused = [len(letter.value or b"") for letter in letters(kafka, 1)]
    there = [
        len(message.value() or b"") for message in kafka.records(topic, len(sizes) - len(refused))
    ]
    assert there + refused == sizes, "up to a limit all are there, above it none"
    assert there and refused


def test_a_shard_goes_on_once_dead_letters_may_be_written_again(
    guarded: LocalBroker, namespace: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    admin = connect(guarded.bootstrap_servers)
    with adapters(guarded.bootstrap_servers, namespace, admin, tmp_path) as kafka:
        narrow = topic_of(kafka, "narrow", max_message_bytes="1000")
        rule = deny(admin, kafka.topic("dead-letters"), AclOperation.WRITE)
        with_publisher = publishers(kafka)
        publisher = next(with_publisher)
        large = os.urandom(5_000)
        publisher.publish(0, [result(0)])
        until(is_done(publisher), "what needs no letter")
        for offset in range(1, 20):
            publisher.publish(offset, [record(narrow, large, offset), result(offset)])
        said = (
            f"a record for topic '{kafka.topic('dead-letters')}' was refused (TOPIC_AUTHORIZATION"
        )
        until(lambda: said in caplog.text, "the log to name the topic")
        assert "the broker has a rule against it (an ACL)" in caplog.text
        time.sleep(2)
        assert not is_done(publisher)(), "nothing is passed over before its letter is there"
        assert results(kafka, 1) == [0]
        allow(admin, rule)
        until(is_done(publisher), "everything", 30)
        assert [letter.value for letter in letters(kafka, 19)] == [large] * 19
        assert results(kafka, 20) == list(range(20))
        next(with_publisher, None)


@workflow.define
async def answers(number: int) -> int:
    return number


def test_a_shard_reads_on_once_dead_letters_may_be_written_again(
    guarded: LocalBroker, namespace: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    servers = guarded.bootstrap_servers
    admin = connect(servers)
    with adapters(servers, namespace, admin, tmp_path) as kafka:
        letters_topic = kafka.topic("dead-letters")

        async def main() -> None:
            worker = Worker(
                servers, namespace=namespace, workflows=[answers], state_dir=tmp_path / "worker"
            )
            async with worker, Client(servers, namespace=namespace, settings=PATIENT) as client:
                assert await client.run(answers, 1, timeout=60) == 1
                rule = deny(admin, letters_topic, AclOperation.WRITE)
                producer = Producer({"bootstrap.servers": servers})
                for partition in range(PARTITIONS):
                    producer.produce(kafka.topic("commands"), b"odd", b"w", partition)
                assert producer.flush(10) == 0
                running = asyncio.create_task(client.run(answers, 2, timeout=60))
                async with asyncio.timeout(20):
                    while letters_topic not in caplog.text:
                        await asyncio.sleep(0.1)
                await asyncio.sleep(2)
                assert not running.done(), "nothing is passed over before its letter is there"
                allow(admin, rule)
                assert await running == 2
                assert await client.run(answers, 3, timeout=60) == 3

        asyncio.run(main())
        assert [letter.value for letter in letters(kafka, PARTITIONS)] == [b"odd"] * PARTITIONS
