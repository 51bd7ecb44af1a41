"""A namespace that is deleted and made again, while another one calls it, or is called by it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from processor import Client, Status, WorkflowNotFound
from processor.kafka.topics.upkeep import apply, plan
from tests.kafka.harness import PARTITIONS
from tests.kafka.talking import first_answer

from .test_namespaces import Ledger, billing, holds, opens, order, run, serving

__all__ = ("billing",)


def make_again(admin: AdminClient, namespace: str, partitions: int) -> None:
    """Delete the topics of a namespace, and make them anew, once the brokers have done so."""

    def topics() -> list[str]:
        known = admin.list_topics(timeout=10).topics
        return [topic for topic in known if topic.startswith(f"{namespace}.")]

    for deleted in admin.delete_topics(topics()).values():
        deleted.result(30)
    while topics():
        time.sleep(0.1)
    apply(admin, plan(admin, namespace, partitions, 1))


async def until_begun(client: Client, id: str) -> None:
    while True:
        try:
            await client.handle(id).value("opened", result_type=bool)
            return
        except WorkflowNotFound:
            await asyncio.sleep(0.1)


async def sums(shop: Client, billing: str, name: str) -> None:
    """Let orders use all that another namespace does."""
    runs = [shop.run(order, billing, n, id=f"{name}-{n}", timeout=90) for n in range(4)]
    assert await asyncio.gather(*runs) == [[True, n, n, n, n] for n in range(4)]


@pytest.mark.timeout(240)
def test_a_namespace_that_is_made_again_is_called_as_before_and_has_lost_what_it_had(
    kafka_servers: str, made: str, billing: str, admin: AdminClient, tmp_path: Path
) -> None:
    async def main() -> None:
        async with serving(kafka_servers, made, tmp_path) as shop:
            async with serving(kafka_servers, billing, tmp_path / "before") as other:
                await sums(shop, billing, "before")
                old = await shop.start(holds, billing, id="old")
                await until_begun(other, "old/ledger")
            await asyncio.to_thread(make_again, admin, billing, PARTITIONS + 3)
            meanwhile = await shop.start(opens, billing, id="meanwhile")
            async with serving(kafka_servers, billing, tmp_path / "after") as other:
                await first_answer(other)
                told = await meanwhile.result(90)
                assert told == "the sum is 0" or told.startswith("none: "), told
                await sums(shop, billing, "after")
                with pytest.raises(WorkflowNotFound):
                    await other.handle("old/ledger").describe()
                found = await old.describe()
                assert found.status is Status.RUNNING and found.pending["children_open"] == 1
                await old.terminate("its child is gone")

    run(main, 220)


@pytest.mark.timeout(240)
def test_what_comes_for_the_namespace_before_is_for_no_run_of_the_one_after(
    kafka_servers: str, made: str, billing: str, admin: AdminClient, tmp_path: Path
) -> None:
    async def main() -> None:
        async with serving(kafka_servers, billing, tmp_path) as other:
            async with serving(kafka_servers, made, tmp_path / "before") as shop:
                await sums(shop, billing, "before")
                await shop.start(holds, billing, id="old")
                await until_begun(other, "old/ledger")
            await asyncio.to_thread(make_again, admin, made, PARTITIONS)
            async with serving(kafka_servers, made, tmp_path / "after") as shop:
                await first_answer(shop)
                again = await shop.start(opens, billing, id="old")
                assert await again.result(90) == "the sum is 0"
                ledger = other.handle("old/ledger")
                await ledger.signal(Ledger.close)
                assert await ledger.result(60) == 0
                await sums(shop, billing, "after")  # behind the answer to the run of before
                assert (await again.describe()).run_id == again.run_id

    run(main, 220)
