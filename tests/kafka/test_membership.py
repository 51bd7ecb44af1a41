"""Which process owns which shard, as the consumer group decides it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.config import Settings
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.group import membership
from processor.kafka.group.membership import MemberFenced, Membership
from processor.kafka.topics.upkeep import apply, plan
from tests.kafka.own_broker import OwnBroker, prepare

PARTITIONS = 4
SETTINGS = Settings(session_timeout_s=6.0)


class Member:
    """A process's shards, seen from its loop."""

    def __init__(
        self, connection: KafkaSettings, instance_id: str, came_back: bool = False
    ) -> None:
        self.shards: set[int] = set()
        self.revoked: list[int] = []
        self.revoke_s = 0.05
        self.error: BaseException | None = None
        self.membership = Membership(
            connection,
            SETTINGS,
            instance_id,
            asyncio.get_running_loop(),
            assign=self.shards.add,
            revoke=self._revoke,
            failed=self._failed,
            next_command=lambda _: 3,
            came_back=came_back,
        )

    async def _revoke(self, partition: int) -> None:
        await asyncio.sleep(self.revoke_s)
        self.shards.discard(partition)
        self.revoked.append(partition)

    def _failed(self, error: BaseException) -> None:
        self.error = error

    async def may_own(self, partition: int) -> bool:
        return await asyncio.to_thread(self.membership.may_own, partition)


@pytest.fixture
def connection(kafka_servers: str, namespace: str, admin: AdminClient) -> KafkaSettings:
    apply(admin, plan(admin, namespace, PARTITIONS, 1))
    return KafkaSettings(kafka_servers, namespace)


@asynccontextmanager
async def member(
    connection: KafkaSettings, instance_id: str, *, came_back: bool = False
) -> AsyncIterator[Member]:
    made = Member(connection, instance_id, came_back)
    made.membership.start()
    try:
        yield made
    finally:
        await made.membership.close()


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> float:
    """Wait for it; return the seconds that it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < timeout_s, f"timed out: {what}"
        await asyncio.sleep(0.01)
    return time.monotonic() - begun


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    asyncio.run(main())


def test_members_share_the_shards_and_give_them_back(connection: KafkaSettings) -> None:
    async def test() -> None:
        async with member(connection, "a") as first:
            took_s = await until(lambda: len(first.shards) == PARTITIONS, "all shards")
            print(f"first member has its shards after {took_s:.2f} s")
            assert await first.may_own(0)
            async with member(connection, "b") as second:
                took_s = await until(
                    lambda: len(first.shards) == 2 == len(second.shards), "an even share"
                )
                print(f"second member has its share after {took_s:.2f} s")
                assert not first.shards & second.shards
                assert sorted(first.revoked) == sorted(second.shards)
                (moved, *_) = second.shards
                assert await second.may_own(moved)
                assert not await first.may_own(moved)
                begun = time.monotonic()
            await until(lambda: len(first.shards) == PARTITIONS, "what the second one left")
            print(f"a clean stop hands over within {time.monotonic() - begun:.2f} s")
            assert time.monotonic() - begun < SETTINGS.session_timeout_s

    run(test)


def test_a_shard_that_is_slow_to_stop_is_no_longer_in_the_standing(
    connection: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its next owner may have it already, in a generation that we are a member of."""
    monkeypatch.setattr(membership, "_REVOKE_S", 0.2)

    async def test() -> None:
        async with member(connection, "a") as first:
            await until(lambda: len(first.shards) == PARTITIONS, "all shards")
            first.revoke_s = 5.0
            async with member(connection, "b") as second:
                await until(lambda: len(second.shards) == 2, "an even share")
                assert len(first.shards) == PARTITIONS
                assert not first.membership.standing.owned.keys() & second.shards
                first.revoke_s = 0.0

    run(test)


def test_a_member_that_comes_back_has_its_shards_at_once(connection: KafkaSettings) -> None:
    async def test() -> None:
        first = Member(connection, "a")
        first.membership.start()
        await until(lambda: len(first.shards) == PARTITIONS, "all shards")
        await first.membership.close(leave=False)
        assert not first.shards
        async with member(connection, "a") as again:
            took_s = await until(lambda: len(again.shards) == PARTITIONS, "the shards again")
            print(f"a restarted static member has its shards after {took_s:.2f} s")
            assert took_s < 5

    run(test)


def test_the_next_member_of_the_same_name_shuts_the_first_out(connection: KafkaSettings) -> None:
    async def test() -> None:
        async with member(connection, "twin") as first:
            await until(lambda: len(first.shards) == PARTITIONS, "all shards")
            async with member(connection, "twin") as second:
                await until(lambda: first.error is not None, "the error")
                assert isinstance(first.error, MemberFenced)
                assert "PROCESSOR_INSTANCE_ID" in str(first.error)
                assert "'twin'" in str(first.error)
                assert not first.shards
                assert not await first.may_own(0)
                await until(lambda: len(second.shards) == PARTITIONS, "the second one's")

    run(test)


def test_a_member_that_its_own_former_self_shuts_out_joins_again(
    connection: KafkaSettings,
) -> None:
    """As after a broker's absence: it lost its session, joined, and a late commit was refused."""

    async def test() -> None:
        async with member(connection, "twice") as it:
            await until(lambda: len(it.shards) == PARTITIONS, "all shards")
            it.membership._assignments.lost = True
            await asyncio.to_thread(join_shortly, connection, "twice")
            await until(lambda: sorted(it.revoked) == list(range(PARTITIONS)), "the loss")
            await until(lambda: len(it.shards) == PARTITIONS, "all shards again")
            assert it.error is None
            assert await it.may_own(0)

    run(test)


def join_shortly(connection: KafkaSettings, instance_id: str) -> None:
    """Be that member, in the same group, for as long as it takes to be let in."""
    other = Consumer(
        connection.consumer(
            {
                "group.instance.id": instance_id,
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": int(SETTINGS.session_timeout_s * 1000),
            }
        )
    )
    other.subscribe([connection.topic("commands")])
    deadline = time.monotonic() + 60
    while not other.assignment():
        other.poll(0.1)
        assert time.monotonic() < deadline, "the other one is not let in"
    other.close()


async def live(connection: KafkaSettings, instance_id: str, ready: Path) -> None:
    async with member(connection, instance_id) as it:
        await until(lambda: bool(it.shards), "shards")
        await asyncio.to_thread(ready.touch)
        await asyncio.sleep(300)


def live_in_a_process(servers: str, namespace: str, instance_id: str, ready: Path) -> None:
    asyncio.run(live(KafkaSettings(servers, namespace), instance_id, ready))


def test_a_dead_members_shards_are_taken_over(connection: KafkaSettings, tmp_path: Path) -> None:
    async def test() -> None:
        async with member(connection, "survivor") as survivor:
            await until(lambda: len(survivor.shards) == PARTITIONS, "all shards")
            ready = tmp_path / "ready"
            process = multiprocessing.get_context("spawn").Process(
                target=live_in_a_process,
                args=(connection.servers, connection.namespace, "victim", ready),
            )
            process.start()
            try:
                await until(ready.exists, "the victim's shards")
                await until(lambda: len(survivor.shards) == 2, "half of the shards")
            finally:
                process.kill()
            begun = time.monotonic()
            process.join()
            await until(lambda: len(survivor.shards) == PARTITIONS, "the takeover")
            print(f"a killed member's shards are taken over after {time.monotonic() - begun:.2f} s")
            assert time.monotonic() - begun < SETTINGS.session_timeout_s + 20

    run(test)


async def die_while_it_gives_up(connection: KafkaSettings, ready: Path) -> None:
    async with member(connection, "a") as it:
        it.membership._revoke = dies
        await until(lambda: len(it.shards) == PARTITIONS, "all shards")
        await asyncio.to_thread(ready.touch)
        await asyncio.sleep(300)


async def dies(partition: int) -> None:
    os._exit(1)


def die_in_a_process(servers: str, namespace: str, ready: Path) -> None:
    asyncio.run(die_while_it_gives_up(KafkaSettings(servers, namespace), ready))


def test_what_a_member_had_given_up_when_it_died_is_somebodys_again(
    connection: KafkaSettings, tmp_path: Path
) -> None:
    """A static member that comes back in time begins no generation: nobody would have it."""

    async def test() -> None:
        ready = tmp_path / "ready"
        process = multiprocessing.get_context("spawn").Process(
            target=die_in_a_process, args=(connection.servers, connection.namespace, ready)
        )
        process.start()
        await until(ready.exists, "all shards")
        async with member(connection, "b") as other:
            await asyncio.to_thread(process.join, 20)
            async with member(connection, "a", came_back=True) as again:

                def whole() -> bool:
                    return len(again.shards) == PARTITIONS - len(other.shards) == 2

                took_s = await until(whole, "a share for each")
                print(f"all shards are somebody's after {took_s:.2f} s")
                assert not again.shards & other.shards
                assert again.error is None and other.error is None

    run(test)


def test_a_member_whose_broker_goes_away_as_it_asks_is_in_its_group_again(
    breakable: OwnBroker, namespace: str
) -> None:
    """It stood outside for five minutes, and took the shards that others had for its own."""
    prepare(breakable.servers, namespace)
    connection, away = KafkaSettings(breakable.servers, namespace), Event()

    async def test() -> None:
        async with (
            member(connection, "a") as other,
            member(connection, "b", came_back=True) as it,
        ):
            comeback = it.membership._comeback
            subscribe = comeback._subscribe

            def asks(topic: str) -> None:
                if topic.startswith("^"):
                    breakable.broker.pause()
                subscribe(topic)
                if topic.startswith("^"):
                    time.sleep(0.5)
                    breakable.broker.kill()
                    away.set()

            comeback._subscribe = asks
            await until(away.is_set, "its question")
            await asyncio.to_thread(breakable.broker.start)

            def whole() -> bool:
                return len(it.shards) == PARTITIONS - len(other.shards) == 2

            await until(lambda: comeback._state == "over" and whole(), "an answer", 60)
            assert not it.shards & other.shards

    run(test)


def test_positions_are_committed_for_the_tools_that_show_lag(
    connection: KafkaSettings, admin: AdminClient
) -> None:
    async def test() -> None:
        async with member(connection, "a") as it:
            await until(lambda: len(it.shards) == PARTITIONS, "all shards")
            assert await it.may_own(1)
            await asyncio.sleep(0.1)

    run(test)
    reader = Consumer(connection.consumer())
    (place,) = reader.committed([TopicPartition(connection.topic("commands"), 1)], 10)
    reader.close()
    assert place.offset == 3


def test_a_thread_that_dies_ends_the_worker_and_says_why(
    connection: KafkaSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else nobody would keep its place in the group, and its shards would stand still."""

    def broken(_: Membership) -> None:
        raise ValueError("a bug")

    async def main() -> None:
        async with member(connection, "one") as one:
            await until(lambda: len(one.shards) == PARTITIONS, "its shards")
            monkeypatch.setattr(Membership, "_confirm", broken)
            await until(lambda: one.error is not None, "the error")
            assert "a bug" in str(one.error) and "Restart the process" in str(one.error)
            assert "Traceback" in caplog.text

    run(main)
