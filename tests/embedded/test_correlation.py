"""Business keys: events reach whichever run holds one, once each and in order, or are told lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CorrelationTaken,
    InvalidArgument,
    RetryPolicy,
    Settings,
    Worker,
    WorkflowError,
    WorkflowFailed,
    entity,
    sync,
    workflow,
)
from processor.client import Correlated
from processor.testing import Environment


@dataclass
class Parcel:
    weight: float
    to: str


@workflow.define
async def takes(key: str, count: int, how: str = "") -> list[Any]:
    """Hold a key until so many events of the name "item" have come."""
    await workflow.correlate("shipment", key)
    found = []
    for _ in range(count):
        found.append(await workflow.wait_for_event("item"))
    if how == "fails":
        raise ApplicationError("no more")
    if how == "gives back":
        await workflow.uncorrelate("shipment", key)
        await workflow.wait_for_event("end")
    return found


@workflow.define
class Collects:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    @workflow.run
    async def run(self, key: str) -> list[Any]:
        await workflow.correlate("shipment", key)
        await workflow.wait_until(lambda: "end" in self.seen)
        return self.seen

    @workflow.signal
    def parcel(self, parcel: Parcel, floor: int = 0) -> None:
        self.seen.append([parcel.to, parcel.weight, floor])

    @workflow.signal
    def end(self) -> None:
        self.seen.append("end")


@workflow.define
async def chain(key: str, runs: int, how: str) -> list[Any]:
    """Hold a key over several runs: only the first one asks for it."""
    info = workflow.info()
    if info.first_run_id == info.run_id:
        await workflow.correlate("shipment", key)
    item = await workflow.wait_for_event("item")
    if how == "continues" and runs > 1:
        workflow.continue_as_new(key, runs - 1, how)
    if how == "retries" and info.attempt < runs:
        raise ApplicationError("again")
    return [item, info.first_run_id == info.run_id]


ALL: list[Any] = [takes, Collects, chain]


def played(main: Callable[[Environment], Coroutine[Any, Any, None]], **how: Any) -> None:
    async def run() -> None:
        async with Environment(ALL, **how) as env:
            await main(env)

    asyncio.run(run())


async def held(env: Environment, key: Correlated, by: str | None) -> None:
    await env.sleep(5)
    assert (await key.describe()).holder == by


@pytest.mark.parametrize("max_cached_runs", [1_000, 0])
def test_events_reach_the_holder_in_order_also_those_that_came_first(max_cached_runs: int) -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        for number in range(3):
            await key.signal("item", number)
        told = await key.describe()
        assert (told.holder, [each.value for each in told.kept]) == (None, [0, 1, 2])
        handle = await env.start(takes, "S-7", 6, id="order")
        await held(env, key, "order")
        assert (await key.describe()).run_id == handle.run_id
        for item in ({"four": [4, 5.5]}, None, "six"):
            await key.signal("item", item)
        assert await handle.result() == [0, 1, 2, {"four": [4, 5.5]}, None, "six"]
        await held(env, key, None)
        assert not env.dead_letters

    played(main, max_cached_runs=max_cached_runs)


def test_handlers_take_typed_values_and_several_arguments() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "=7=")
        await key.signal(Collects.parcel, Parcel(1.5, "Ada"), 3)
        handle = await env.start(Collects.run, "=7=")
        await key.signal(Collects.parcel, Parcel(2.5, "Bob"))
        await key.signal("parcel", Parcel(3.0, "Cleo"))
        await key.signal(Collects.end)
        seen = [["Ada", 1.5, 3], ["Bob", 2.5, 0], ["Cleo", 3.0, 0], "end"]
        assert await handle.result() == seen

    played(main)


def test_a_taken_key_raises_and_names_the_holder() -> None:
    async def main(env: Environment) -> None:
        holder = await env.start(takes, "S-7", 1, id="holder")
        await held(env, env.correlated("shipment", "S-7"), "holder")
        with pytest.raises(WorkflowFailed) as failed:
            await env.run(takes, "S-7", 1)
        taken = failed.value.__cause__
        assert isinstance(taken, ApplicationError) and taken.type == "CorrelationTaken"
        assert f"('shipment', 'S-7') is held by 'holder' (run {holder.run_id})" in str(taken)
        assert "processor correlation release shipment S-7" in str(taken)
        assert await env.run(takes, "S-8", 0) == [], "another key is free"
        await env.correlated("shipment", "S-7").signal("item", 1)
        assert await holder.result() == [1], "who is refused changes nothing"

    played(main)


@workflow.define
async def asks_for(key: str) -> str:
    try:
        await workflow.correlate("shipment", key)
    except CorrelationTaken as taken:
        return taken.workflow_id
    await workflow.correlate("shipment", key)
    return "held, also by who asks again"


def test_the_error_can_be_caught_and_who_holds_a_key_may_ask_again() -> None:
    async def main() -> None:
        async with Environment([asks_for, takes]) as env:
            assert (await env.run(asks_for, "S-7")).startswith("held")
            await env.start(takes, "S-7", 1, id="holder")
            await env.sleep(5)
            assert await env.run(asks_for, "S-7") == "holder"

    asyncio.run(main())


ENDS = ("completes", "fails", "cancelled", "terminated", "timed out", "gives back", "released")


@pytest.mark.parametrize("end", ENDS)
def test_each_end_of_the_holder_frees_the_key(end: str) -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        how: Any = {"execution_timeout": 100} if end == "timed out" else {}
        count = 2 if end in ("cancelled", "terminated", "timed out", "released") else 1
        handle = await env.start(takes, "S-7", count, end, id="first", **how)
        await key.signal("item", "of the first")
        await held(env, key, None if end in ("completes", "fails", "gives back") else "first")
        if end == "cancelled":
            await handle.cancel()
        elif end == "terminated":
            await handle.terminate()
        elif end == "timed out":
            await env.sleep(100)
        elif end == "released":
            assert await key.release() == "first"
            assert await key.release() is None
        if end in ("completes", "gives back"):
            await handle.raise_event("end") if end == "gives back" else None
            assert await handle.result() == ["of the first"]
        elif end != "released":
            with pytest.raises(WorkflowError):
                await handle.result()
        second = await env.start(takes, "S-7", 1, id="second")
        await held(env, key, "second")
        await key.signal("item", "of the second")
        assert await second.result() == ["of the second"]
        assert not env.dead_letters

    played(main)


def test_the_next_holder_asks_as_soon_as_the_last_one_has_ended() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        for number in range(20):
            handle = await env.start(takes, "S-7", 1)
            await key.signal("item", number)
            assert await handle.result() == [number]

    played(main)


def test_a_chain_holds_its_key() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        retry = RetryPolicy(initial_interval=60, maximum_attempts=5)
        for how, options in (("continues", {}), ("retries", {"retry": retry})):
            handle = await env.start(chain, "S-7", 3, how, id=how, **options)
            for number in range(3):
                await held(env, key, how)
                await key.signal("item", number)
            assert await handle.result() == [2, False]
            await held(env, key, None)
        assert not env.dead_letters

    played(main)


@workflow.define
async def daily(key: str) -> None:
    await workflow.correlate("shipment", key)
    await workflow.wait_for_event("item")


def test_a_cron_chain_holds_its_key_and_a_start_in_its_place_does_not() -> None:
    async def main() -> None:
        async with Environment([daily, takes]) as env:
            key = env.correlated("shipment", "S-7")
            handle = await env.start(daily, "S-7", id="daily", cron="@daily")
            await env.sleep(timedelta(days=1, hours=1))
            for _ in range(2):
                await key.signal("item", keep=timedelta(days=9))
                await held(env, key, "daily")
                await env.sleep(timedelta(days=1))
            assert (await handle.describe()).run_id != handle.run_id, "it has gone on"
            other = await env.start(takes, "T", 1, id="daily", conflict="terminate")
            await held(env, key, None)
            await key.signal("item", "lost on who has the id now")
            await env.sleep(5)
            assert [each.value for each in (await key.describe()).kept] == [
                "lost on who has the id now"
            ]
            await other.terminate()

    asyncio.run(main())


def test_what_nobody_takes_in_time_goes_to_the_dead_letters() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        await key.signal("item", {"n": 1}, keep=10)
        await key.signal("item", 2, keep=timedelta(minutes=1))
        await key.signal("item", 3)
        await env.sleep(11)
        (letter,) = env.dead_letters
        assert (letter.key, letter.value) == (key.id.encode(), b'{"n":1}')
        assert "event 'item'" in letter.reason
        assert "no run held the key as long as it was kept" in letter.reason
        assert [each.value for each in (await key.describe()).kept] == [2, 3]
        assert await env.run(takes, "S-7", 2) == [2, 3]
        await key.signal("item", 4, keep=0)
        await env.sleep(timedelta(days=2))
        assert [each.value for each in env.dead_letters] == [b'{"n":1}', b"4"]
        await key.signal("item", 5)
        await env.sleep(timedelta(hours=23))
        assert len(env.dead_letters) == 2
        await env.sleep(timedelta(hours=2))
        assert len(env.dead_letters) == 3, "a day, if nobody says otherwise"
        runs = [run async for run in env.list(workflow="processor.correlation")]
        assert not any(run.status.is_open for run in runs), "a key that nobody uses is no open run"

    played(main)


def test_a_key_keeps_a_thousand_events_and_half_a_megabyte() -> None:
    async def main(env: Environment) -> None:
        small, large = env.correlated("shipment", "small"), env.correlated("shipment", "large")
        for number in range(1_002):
            await small.signal("item", number)
        assert [each.value for each in env.dead_letters] == [b"1000", b"1001"]
        assert "1,000 events of" in env.dead_letters[0].reason
        assert await env.run(takes, "small", 1_000) == list(range(1_000))
        for _ in range(3):
            await large.signal("item", "x" * 200_000)
        assert len(env.dead_letters) == 3
        found = await env.run(takes, "large", 2)
        assert [len(each) for each in found] == [200_000, 200_000]
        await large.signal("item", "x" * 600_000)
        assert len(env.dead_letters) == 4, "nobody holds the key, and it is too large to wait"
        handle = await env.start(takes, "large", 1)
        await env.sleep(5)
        await large.signal("item", "x" * 600_000)
        assert len((await handle.result())[0]) == 600_000, "who holds the key gets it"

    played(main)


def test_events_keep_their_order_when_the_key_goes_on_as_a_new_run() -> None:
    async def main(env: Environment) -> None:
        key, count = env.correlated("shipment", "S-7"), 600
        handle = await env.start(takes, "S-7", count)
        await key.signal("item", 0)
        first = (await env.handle(key.id).describe()).run_id
        for number in range(1, count):
            await key.signal("item", number)
        assert await handle.result() == list(range(count))
        assert (await env.handle(key.id).describe()).run_id != first
        assert not env.dead_letters

    played(main)


def test_a_holder_that_has_ended_leaves_what_it_did_not_take_to_the_next_one() -> None:
    async def main(env: Environment) -> None:
        key, taken = env.correlated("shipment", "S-7"), []
        for number in range(10):
            first = await env.start(takes, "S-7", 5)
            await env.sleep(5)
            await asyncio.gather(first.terminate(), *(key.signal("item", number) for _ in range(3)))
            await env.sleep(5)
            taken.append(len((await key.describe()).kept))
            assert await env.run(takes, "S-7", taken[-1]) == [number] * taken[-1]
        assert any(taken) and not env.dead_letters

    played(main)


def test_a_holder_whose_events_are_full_does_not_take_more() -> None:
    async def main() -> None:
        async with Environment([takes, Collects], settings=Settings(unread_events_max=2)) as env:
            key = env.correlated("shipment", "S-7")
            await env.start(takes, "S-7", 1, id="full")
            for number in range(3):
                await key.signal("other", number)
            await env.sleep(5)
            (letter,) = env.dead_letters
            assert letter.value == b"2"
            assert "'full', which holds the key, did not take it" in letter.reason

    asyncio.run(main())


def test_a_key_of_the_sender_counts_once() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        for _ in range(3):
            await key.signal("item", 1, key="evt-1")
        await key.signal("item", 2)
        assert await env.run(takes, "S-7", 2) == [1, 2]

    played(main)


@workflow.define
async def impatient(key: str) -> str:
    try:
        async with asyncio.timeout(0.5):
            await workflow.correlate("shipment", key)
    except TimeoutError:
        await workflow.wait_for_event("end")
        return "gave up"
    return "held"


def test_who_gives_up_waiting_holds_nothing() -> None:
    async def main() -> None:
        async with Environment([impatient, takes]) as env:
            key = env.correlated("shipment", "S-7")
            holder = await env.start(takes, "S-7", 1)
            await env.sleep(5)
            waits = await env.start(impatient, "S-7")
            await env.sleep(0.7)
            await key.signal("item", 1)
            await holder.result()
            await held(env, key, None)
            await waits.raise_event("end")
            assert await waits.result() == "gave up"

    asyncio.run(main())


def test_what_is_sent_to_the_id_of_a_key_is_for_its_holder() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        handle = await env.start(takes, "S-7", 1)
        await env.sleep(5)
        await env.handle(key.id).signal("item", "by id")
        assert await handle.result() == ["by id"]

    played(main)


def test_a_key_that_is_cancelled_tells_what_it_kept() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        await key.signal("item", 1)
        await key.signal("item", 2)
        await env.handle(key.id).cancel()
        await env.sleep(1)
        assert [each.value for each in env.dead_letters] == [b"1", b"2"]
        assert "cancelled" in env.dead_letters[0].reason
        assert (await key.describe()).kept == []

    played(main)


@entity.define
class Holds:
    async def ask(self) -> None:
        await workflow.correlate("shipment", "S-7")


def test_misuse_is_said_at_the_call(tmp_path: Path) -> None:
    async def main() -> None:
        async with Environment([takes], entities=[Holds]) as env:
            for name, key, told in (
                ("a=b", "c", "name: 'a=b' has an ="),
                ("", "c", "correlated: name"),
                ("a", "", "correlated: key"),
                ("a" * 500, "k" * 500, "name and key have 987 bytes together at the most"),
            ):
                with pytest.raises(InvalidArgument, match=told):
                    env.correlated(name, key)
            with pytest.raises(InvalidArgument, match="signal: keep"):
                await env.correlated("a", "b").signal("item", keep=-1)
            with pytest.raises(Exception, match="an entity holds no keys") as failed:
                await env.entity(Holds, "x").call(Holds.ask)
            assert "workflow.correlate" in str(failed.value)

        @workflow.define(name="processor.correlation")
        async def ours() -> None: ...

        with pytest.raises(InvalidArgument, match="business keys"):
            Worker(f"embedded:{tmp_path}", workflows=[ours])

    asyncio.run(main())


def test_a_key_outlives_the_process(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=ALL), Client(server) as client:
            key = client.correlated("shipment", "S-7")
            await key.signal("item", 1)
            await client.correlated("shipment", "S-8").signal("item", "kept")
            await client.start(takes, "S-7", 2, id="order")
        async with Worker(server, workflows=ALL), Client(server) as client:
            await client.correlated("shipment", "S-7").signal("item", 2)
            assert await client.handle("order").result(30) == [1, 2]
            assert await client.run(takes, "S-8", 1, timeout=30) == ["kept"]

    asyncio.run(main())


def test_callers_that_block_have_keys(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"
    with sync.Worker(server, workflows=ALL), sync.Client(server) as client:
        key = client.correlated("shipment", "S-7")
        assert (key.name, key.key, key.id) == ("shipment", "S-7", "correlation:shipment=S-7")
        key.signal("item", 1, keep=60)
        assert [each.name for each in key.describe().kept] == ["item"]
        assert client.run(takes, "S-7", 1, timeout=30) == [1]
        assert key.release() in (None, "whoever")
