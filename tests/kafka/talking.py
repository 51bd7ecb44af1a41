"""How the tests of real processes talk to them: as a client, and as a consumer of topics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from confluent_kafka import Consumer

from examples.orders import Order
from processor import Client

__all__ = ("Talk", "ask", "consumed", "dead_letters", "first_answer", "quick")

Talk = Callable[[Client], Awaitable[Any]]


def ask(servers: str, namespace: str, talk: Talk, timeout_s: float = 120.0) -> Any:
    """Run a conversation with a client of its own, and return what it returns."""

    async def main() -> Any:
        async with asyncio.timeout(timeout_s), Client(servers, namespace=namespace) as client:
            return await talk(client)

    return asyncio.run(main())


def quick(number: int, **how: Any) -> Order:
    """Return an order without a review that is through in a moment."""
    return Order(str(number), 10.0, **{"payment_retry_s": 0.05, "follow_up_s": 0.2, **how})


async def first_answer(client: Client) -> None:
    """Wait until every shard answers."""
    async for _ in client.list():
        pass


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
