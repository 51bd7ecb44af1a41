"""Promises: what the code waits for until somebody outside settles it, by its id."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    InvalidArgument,
    PayloadTooLarge,
    PromiseNotOpen,
    QueryFailed,
    SchemaMismatch,
    WorkflowFailed,
    workflow,
)
from processor.core.nouns.promise import PromiseId
from tests.embedded.approval import serving
from tests.embedded.test_handlers import answers

__all__ = ("serving",)


@workflow.define
async def asks(count: int) -> list[str]:
    """Make some promises, tell their ids, and say what each comes to."""
    made = [workflow.promise(int) for _ in range(count)]
    workflow.set_value("ids", [each.id for each in made])
    told = await asyncio.gather(*made, return_exceptions=True)
    return [_told(each) for each in told]


def _told(value: Any) -> str:
    if isinstance(value, ApplicationError):
        return f"{value.type}: {value.message} {value.details}"
    return str(value)


def test_each_is_settled_once_by_its_id(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(asks, 4, id="order 7/ä")
        ids = await handle.value("ids")
        assert all(re.fullmatch(r"[\w-]+", each, re.ASCII) for each in ids)
        await client.resolve(ids[2], 30)
        await client.reject(ids[0], "no stock", type="OutOfStock", details=[7])
        await client.reject(ids[1], "")
        for settle in (client.resolve(ids[2], 30), client.reject(ids[2], "too late")):
            with pytest.raises(PromiseNotOpen, match=r"promise 3 of run .* is settled already"):
                await settle
        (left,) = (await handle.describe()).pending["promises"]
        assert (left["id"], left["number"]) == (ids[3], 4)
        await client.resolve(ids[3], 40)
        assert await handle.result() == [
            "OutOfStock: no stock [7]", "ApplicationError:  None", "30", "40",
        ]  # fmt: skip
        with pytest.raises(PromiseNotOpen, match="the run is completed"):
            await client.resolve(ids[3], 41)

    serving(work, asks)


def test_what_names_no_open_promise_is_refused(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(asks, 1, id="a")
        (id,) = await handle.value("ids")
        await client.start(asks, 1, id="a", conflict="terminate")
        with pytest.raises(PromiseNotOpen, match=r"promise 1 of run .* has ended, or never was"):
            await client.resolve(id, 1)
        again = client.handle("a")
        (fresh,) = await again.value("ids")
        assert fresh != id
        never = fresh_id(fresh, 9)
        with pytest.raises(PromiseNotOpen, match=r"promise 9 .* there never was one"):
            await client.reject(never, "no")
        for wrong in ("", "x", id + "=", 7, None):
            with pytest.raises(InvalidArgument, match=r"id: give the id of a workflow.promise\(\)"):
                await client.resolve(wrong, 1)  # type: ignore[arg-type]
        await client.resolve(fresh, 1)
        assert await again.result() == ["1"]

    serving(work, asks)


def fresh_id(id: str, number: int) -> str:
    return PromiseId.read(id)._replace(number=number).text


@workflow.define
async def patient() -> list[Any]:
    """Wait in all ways that there are, each of which gives up."""
    made = workflow.promise(str)
    workflow.set_value("id", made.id)
    seen: list[Any] = []
    for wait in (_timeout, _wait_for, _gather, _shield):
        try:
            await wait(made)
        except TimeoutError:
            seen.append(wait.__name__)
    done, waiting = await asyncio.wait([made], timeout=0.2)
    seen.append([len(done), len(waiting)])
    workflow.set_value("reminded", True)
    done, _ = await asyncio.wait({made, asyncio.create_task(asyncio.sleep(3600))},
                                 return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.awaited())
    return [*seen, made in done, await made, await made, task.result(), made.result()]


async def _timeout(made: workflow.Promise[str]) -> None:
    async with asyncio.timeout(0.2):
        await made


async def _wait_for(made: workflow.Promise[str]) -> None:
    await asyncio.wait_for(made, 0.2)


async def _gather(made: workflow.Promise[str]) -> None:
    async with asyncio.timeout(0.2):
        await asyncio.gather(made, made)


async def _shield(made: workflow.Promise[str]) -> None:
    async with asyncio.timeout(0.2):
        await asyncio.shield(made)


def test_it_stays_open_when_whoever_waits_gives_up(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(patient, id="a")
        id = await handle.value("id")
        assert await handle.value("reminded", timeout=30)
        await client.resolve(id, "at last")
        gave_up = ["_timeout", "_wait_for", "_gather", "_shield"]
        assert await handle.result() == [*gave_up, [0, 1], True, *["at last"] * 4]

    serving(work, patient)


@workflow.define
async def strict(kind: str) -> int:
    made = workflow.promise(int)
    workflow.set_value("id", made.id)
    if kind == "cancels":
        made.cancel()
        return int(await workflow.wait_for_event("go", int))
    return await made


def test_a_value_has_to_fit_and_an_error_fails_the_run(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(strict, "waits", id="a")
        id = await handle.value("id")
        await client.resolve(id, "many")
        with pytest.raises(WorkflowFailed, match=f"the value of promise 1 .{id}"):
            await handle.result()
        handle = await client.start(strict, "waits", id="b")
        await client.reject(await handle.value("id"), "enough", type="Stopped")
        with pytest.raises(WorkflowFailed) as failed:
            await handle.result()
        assert isinstance(failed.value.__cause__, ApplicationError)
        assert failed.value.__cause__.type == "Stopped"
        handle = await client.start(strict, "cancels", id="c")
        await client.resolve(await handle.value("id"), 1)
        await handle.raise_event("go", 5)
        assert await handle.result() == 5

    serving(work, strict)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"details": object()}, SchemaMismatch, "the details of the error: .* no encoding for"),
        ({"details": "x" * 1_000_000}, PayloadTooLarge, "the details of the error: 1,000,002 byte"),
        ({"type": ""}, InvalidArgument, "reject: type: give a name of 1 to 1,000 bytes, not 0"),
        ({"type": "x" * 1_001}, InvalidArgument, "reject: type: give a name of 1 to 1,000 bytes"),
        ({"type": 5}, InvalidArgument, "reject: type: give a name as text"),
        ({"type": "\ud800"}, InvalidArgument, "reject: type: .* half of a surrogate pair"),
    ],
)
def test_what_an_error_cannot_have_is_refused_and_leaves_the_promise_open(
    serving: Any, wrong: dict[str, Any], error: Any, says: str
) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(asks, 1, id="a")
        (id,) = await handle.value("ids")
        with pytest.raises(error, match=says):
            await client.reject(id, "why", **wrong)
        await client.reject(id, "why", type="x" * 1_000)
        assert await handle.result() == ["x" * 1_000 + ": why None"]

    serving(work, asks)


@workflow.define
class Asks:
    """Its promises are made by handlers, too, and settled while nobody awaits them."""

    def __init__(self) -> None:
        self.made: list[workflow.Promise[int]] = []

    @workflow.run
    async def run(self, count: int) -> int:
        await workflow.wait_until(lambda: len(self.made) == count)
        return sum(await asyncio.gather(*self.made))

    @workflow.update
    def ask(self) -> str:
        self.made.append(workflow.promise(int))
        return self.made[-1].id

    @workflow.query
    def settled(self) -> int:
        return sum(each.done() for each in self.made)


def test_a_promise_may_be_settled_before_it_is_awaited(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Asks.run, 2, id="a")
        await client.resolve(await handle.update(Asks.ask), 3)
        await answers(handle, Asks.settled, 1)
        await client.resolve(await handle.update(Asks.ask), 4)
        assert await handle.result() == 7

    serving(work, Asks)


@workflow.define
async def greedy() -> str:
    for _ in range(10_000):
        workflow.promise()
    try:
        workflow.promise()
    except InvalidArgument as error:
        return str(error)
    return "no bound"


def test_open_promises_have_a_bound(serving: Any) -> None:
    async def work(client: Client) -> None:
        assert "10,000 promises that nobody has settled" in await client.run(greedy)

    serving(work, greedy)


@workflow.define
async def reads_wrongly() -> None:
    made = workflow.promise(int)
    workflow.on_query("promise", lambda: workflow.promise(int).id)
    await made


def test_a_query_makes_none(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(reads_wrongly, id="a")
        for _ in range(50):
            try:
                await handle.query("promise")
            except QueryFailed as error:
                if "a promise" in str(error):
                    break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("it was made")
        await handle.terminate()

    serving(work, reads_wrongly)


def test_its_value_is_one_of_its_type_with_codecs_too(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(strict, "waits", id="a")
        with pytest.raises(SchemaMismatch, match="the value of the promise"):
            await client.resolve(await handle.value("id"), object())
        await handle.terminate()

    serving(work, strict)
