"""How the tests of real processes talk to them: as a client, and as a consumer of topics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic, sleep
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from examples.orders import Order
from processor import Client, Settings, ShardUnavailable

__all__ = (
    "PATIENT",
    "Talk",
    "ask",
    "committed",
    "consumed",
    "dead_letters",
    "first_answer",
    "quick",
    "until_finished",
)

_READ_S = 30.0

PATIENT = Settings(request_timeout_s=60.0)
"""A client asks again after 5 s as by default, and waits long: what is tested is not how fast."""

Talk = Callable[[Client], Awaitable[Any]]


def ask(servers: str, namespace: str, talk: Talk, timeout_s: float = 170.0) -> Any:
    """Run a conversation with a patient client of its own, and return what it returns."""

    async def main() -> Any:
        client = Client(servers, namespace=namespace, settings=PATIENT)
        async with asyncio.timeout(timeout_s), client:
            return await talk(client)

    return asyncio.run(main())


def quick(number: int, **how: Any) -> Order:
    """Return an order without a review that is through in a moment."""
    return Order(str(number), 10.0, **{"payment_retry_s": 0.05, "follow_up_s": 0.2, **how})


async def first_answer(client: Client) -> None:
    """Wait until every shard answers, as long as the caller has patience."""
    while True:
        try:
            async for _ in client.list():
                pass
            return
        except ShardUnavailable:
            continue


def dead_letters(servers: str, namespace: str, count: int) -> list[bytes]:
    return consumed(servers, f"{namespace}.dead-letters", count)


def consumed(servers: str, topic: str, count: int, idle_s: float = 15.0) -> list[bytes]:
    """Return a topic's committed values once there are ``count``, and any that follow soon."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"{topic}.test",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    found: list[bytes] = []
    try:
        while (message := consumer.poll(2.0 if len(found) >= count else idle_s)) is not None:
            assert message.error() is None
            found.append(message.value() or b"")
    finally:
        consumer.close()
    return found


def committed(
    servers: str, topic: str, expected: int = 0, isolation: str = "read_committed"
) -> list[Message]:
    """Read a topic from its beginning to its end, once it holds ``expected`` records.

    What is still in an open transaction is waited for only as long as records are missing.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"{topic}.looks",
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    found: list[Message] = []
    try:
        partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ended: set[int | None] = set()
        deadline = monotonic() + _READ_S
        while monotonic() < deadline and (len(found) < expected or len(ended) < len(partitions)):
            for message in consumer.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    found.append(message)
                    ended.discard(message.partition())
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
    finally:
        consumer.close()
    return found


def until_finished(servers: str, topic: str, timeout_s: float = 90.0) -> None:
    """Wait until the workers of a queue have committed everything in it. Blocks."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": topic})
    try:
        partitions = reader.list_topics(topic, timeout=20).topics[topic].partitions
        places = [TopicPartition(topic, number) for number in partitions]
        ends = [reader.get_watermark_offsets(place, timeout=20)[1] for place in places]
        deadline = monotonic() + timeout_s
        while True:
            committed = [max(place.offset, 0) for place in reader.committed(places, 20)]
            if committed == ends:
                return
            assert monotonic() < deadline, f"{topic}: {committed} of {ends} are finished"
            sleep(0.2)
    finally:
        reader.close()
