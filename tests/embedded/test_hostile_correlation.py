"""Business keys under misuse: nothing is lost in silence, and no holder loses its key to a slip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest

from processor import KeyReused, Settings, UpdateRejected, workflow
from processor.testing import Environment


@workflow.define
async def takes(key: str, count: int) -> list[Any]:
    await workflow.correlate("shipment", key)
    return [await workflow.wait_for_event("item") for _ in range(count)]


@workflow.define
async def asks_on(key: str, how: str) -> str:
    """Hold a key, and give up a claim to it that changes nothing, or all claims to it."""
    claims = [asyncio.create_task(_asks(key)) for _ in range(1 if how == "alone" else 2)]
    await asyncio.sleep(0)
    if how == "the first of two":
        claims[0].cancel()
    if how in ("the last of two", "alone"):
        claims[-1].cancel()
    await asyncio.wait(claims)
    if how == "one after the other":
        try:
            async with asyncio.timeout(0):
                await _asks(key)
        except TimeoutError:
            pass
    return str(await workflow.wait_for_event("item"))


async def _asks(key: str) -> None:
    await workflow.correlate("shipment", key)


@workflow.define
async def goes_on(key: str) -> str:
    """Hold a key as a chain, whose next run asks again and gives that up."""
    if workflow.info().first_run_id == workflow.info().run_id:
        await workflow.correlate("shipment", key)
        workflow.continue_as_new(key)
    try:
        async with asyncio.timeout(0):
            await workflow.correlate("shipment", key)
    except TimeoutError:
        pass
    return str(await workflow.wait_for_event("item"))


def played(main: Callable[[Environment], Coroutine[Any, Any, None]], **how: Any) -> None:
    async def run() -> None:
        async with Environment([takes, asks_on, goes_on], **how) as env:
            await main(env)

    asyncio.run(run())


def test_the_idempotency_key_of_a_signal_is_for_one_signal() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        await key.signal("item", 1, key="evt-1")
        with pytest.raises(KeyReused, match="was used for 'item' before, and now for 'other'"):
            await key.signal("other", 2, key="evt-1")
        await key.signal("item", 3, key="evt-1", keep=9)
        assert [(each.name, each.value) for each in (await key.describe()).kept] == [("item", 1)]

    played(main)


@pytest.mark.parametrize("how", ["one after the other", "the first of two", "the last of two"])
def test_a_claim_that_is_given_up_frees_no_key_that_another_claim_got(how: str) -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        handle = await env.start(asks_on, "S-7", how, id="order")
        await env.sleep(5)
        assert (await key.describe()).holder == "order"
        await key.signal("item", how)
        assert await handle.result() == how

    played(main)


def test_the_only_claim_that_is_given_up_frees_the_key() -> None:
    async def main(env: Environment) -> None:
        handle = await env.start(asks_on, "S-7", "alone")
        await env.sleep(5)
        assert (await env.correlated("shipment", "S-7").describe()).holder is None
        await handle.terminate()

    played(main)


def test_a_claim_of_a_later_run_that_is_given_up_frees_no_key_of_its_chain() -> None:
    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        handle = await env.start(goes_on, "S-7", id="order")
        await env.sleep(5)
        assert (await key.describe()).holder == "order"
        await key.signal("item", "theirs")
        assert await handle.result() == "theirs"

    played(main)


def test_a_key_holds_no_keys() -> None:
    """It would hand its events on to itself for ever."""

    async def main(env: Environment) -> None:
        key = env.correlated("shipment", "S-7")
        await key.signal("item", 1)
        run = env.handle(key.id)
        run_id = (await run.describe()).run_id
        with pytest.raises(UpdateRejected, match="is a business key, and a key holds no keys"):
            await run.update("claim", key.id, run_id, run_id, 1)
        assert await env.run(takes, "S-7", 1) == [1]

    played(main)


@pytest.mark.parametrize(("name", "limit"), [("item", 2_000), ("\0" * 990, 1_000_000)])
def test_what_is_too_large_for_the_next_run_of_a_key_is_told(name: str, limit: int) -> None:
    """A key goes on as a new run, with or without a holder, and what it hands on is one value."""

    async def main(env: Environment) -> None:
        key, count = env.correlated("shipment", "S-7"), 350
        for number in range(count):
            await key.signal(name, number)
        kept = await (await env.start(collects, "S-7", name)).result()
        assert kept[:5] == [0, 1, 2, 3, 4], "the newest do not fit"
        lost = [int(letter.value or b"") for letter in env.dead_letters]
        assert lost and "payload_bytes_max" in env.dead_letters[0].reason
        assert sorted(kept + lost) == list(range(count)), "each once"
        assert kept == sorted(kept)

    async def run() -> None:
        async with Environment([collects], settings=Settings(payload_bytes_max=limit)) as env:
            await main(env)

    asyncio.run(run())


@workflow.define
async def collects(key: str, name: str) -> list[Any]:
    """Return all that comes, until nothing has come for an hour."""
    await workflow.correlate("shipment", key)
    came: list[Any] = []
    with suppress(TimeoutError):
        while True:
            came.append(await workflow.wait_for_event(name, timeout=3_600))
    return came
