"""The search attributes of a run, which its start and its code give it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    InvalidArgument,
    PayloadTooLarge,
    RetryPolicy,
    UpdateFailed,
    entity,
    workflow,
)
from processor.testing import Environment
from tests.embedded.approval import echo, serving

__all__ = ("serving",)

NOON = datetime(2027, 1, 31, 12, tzinfo=UTC)


@workflow.define
async def order(step: str) -> Any:
    workflow.upsert_attributes({"step": step, "due": NOON})
    await workflow.wait_for_event("go")
    workflow.upsert_attributes({"due": None, "tags": ["a", "b"], "sum": 1.5})
    await workflow.wait_for_event("go")
    return list(workflow.info().attributes.items())


def test_code_changes_what_a_start_has_given(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(order, "paid", id="a", attributes={"customer": 7, "due": "?"})
        await handle.raise_event("go")
        changed = {"customer": 7, "step": "paid", "sum": 1.5, "tags": ["a", "b"]}
        for _ in range(500):
            found = (await handle.describe()).attributes
            if found == changed:
                break
            assert found in (
                {"customer": 7, "due": "?"},
                {"customer": 7, "step": "paid", "due": NOON},
            )
        assert [run.attributes async for run in client.list()] == [changed]
        await handle.raise_event("go")
        assert [tuple(each) for each in await handle.result()] == [*changed.items()]
        assert (await handle.describe()).attributes == changed

    serving(work, order)


@workflow.define(retry=RetryPolicy(initial_interval=0.01, maximum_attempts=2))
async def tried(kind: str) -> Any:
    attempt, before = workflow.info().attempt, workflow.info().attributes
    workflow.upsert_attributes({"attempts": attempt, "first": before.get("first", kind)})
    if attempt == 1 and kind == "fails":
        raise ApplicationError("not yet")
    if kind == "goes on":
        return workflow.continue_as_new("went on")
    if kind == "anew":
        return workflow.continue_as_new("went on", attributes={"other": True})
    if kind == "without":
        return workflow.continue_as_new("went on", attributes=None)
    return before | {"last": workflow.info().attributes}


@pytest.mark.parametrize(
    ("kind", "before", "attempts"),
    [
        ("fails", {"attempts": 1, "first": "fails", "kept": "k"}, 2),
        ("goes on", {"attempts": 1, "first": "goes on", "kept": "k"}, 1),
        ("anew", {"other": True}, 1),
        ("without", {}, 1),
    ],
)
def test_the_runs_that_follow_have_them(
    serving: Any, kind: str, before: dict[str, Any], attempts: int
) -> None:
    async def work(client: Client) -> None:
        told = await client.run(tried, kind, id="a", attributes={"kept": "k"})
        last = {**before, "attempts": attempts, "first": before.get("first", "went on")}
        assert told == before | {"last": last}
        assert (await client.handle("a").describe()).attributes == last

    serving(work, tried)


@workflow.define
async def child() -> Any:
    return workflow.info().attributes


@workflow.define
async def parent() -> Any:
    found = [await workflow.call_child(child, attributes={"customer": "ada"})]
    found.append(await workflow.call_child(child))
    other = await workflow.signal_with_start(
        child, id="other", signal=("go", 1), attributes={"customer": "bob"}
    )
    return [*found, await other.result()]


def test_children_and_others_have_those_that_they_are_given(serving: Any) -> None:
    async def work(client: Client) -> None:
        told = await client.run(parent, attributes={"mine": 1})
        assert told == [{"customer": "ada"}, {}, {"customer": "bob"}]
        handle = await client.signal_with_start(
            child, id="with", signal=("go", 1), attributes={"customer": "eve"}
        )
        assert await handle.result() == {"customer": "eve"}

    serving(work, parent, child)


@workflow.define
async def wrong(kind: str) -> str:
    given: Any = {
        "list": [1],
        "names": {1: 2},
        "kind": {"a": {}},
        "own": {"status": "paid"},
        "large": {"a": "x" * 2_000},
        "count": {f"a{number}": number for number in range(100)},
    }
    try:
        workflow.upsert_attributes(given[kind])
    except (InvalidArgument, PayloadTooLarge) as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("list", "InvalidArgument: workflow.upsert_attributes: give names and values"),
        ("names", "InvalidArgument: workflow.upsert_attributes: 1 is no name"),
        ("kind", "InvalidArgument: workflow.upsert_attributes: 'a': give a bool, int"),
        ("own", "InvalidArgument: workflow.upsert_attributes: 'status' is what every run has"),
        ("large", "PayloadTooLarge: workflow.upsert_attributes: 'a' has 2,002 bytes"),
        ("count", "InvalidArgument: workflow.upsert_attributes: there would be 101"),
    ],
)
def test_what_is_none_is_refused_at_the_line_of_the_code(
    serving: Any, kind: str, says: str
) -> None:
    async def work(client: Client) -> None:
        assert (await client.run(wrong, kind, attributes={"one": 1})).startswith(says)
        with pytest.raises(InvalidArgument, match="start: attributes: 'a b' is no name"):
            await client.start(wrong, kind, attributes={"a b": 1})

    serving(work, wrong)


@entity.define
class Account:
    def named(self) -> None:
        workflow.upsert_attributes({"customer": "ada"})


def test_an_entity_has_none() -> None:
    async def work() -> None:
        async with Environment(entities=[Account]) as env:
            with pytest.raises(UpdateFailed, match="an entity has no search attributes"):
                await env.entity(Account, "ada").call(Account.named)

    asyncio.run(work())


def test_a_schedule_gives_its_runs_attributes() -> None:
    async def work() -> None:
        async with Environment([child]) as env:
            how: Any = {"attributes": {"customer": "ada", "due": NOON}}
            daily = await env.schedules.create(child, id="daily", every=3_600, **how)
            assert await run_of(daily, env) == how["attributes"]
            await daily.update(attributes={"customer": "bob"})
            assert await run_of(daily, env) == {"customer": "bob"}

    async def run_of(schedule: Any, env: Environment) -> Any:
        handle = await schedule.trigger()
        await env.sleep(5)
        return (await handle.describe()).attributes

    asyncio.run(work())


def test_a_standalone_activity_has_attributes(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start_activity(echo, "x", attributes={"customer": "ada"})
        assert await handle.result() == "x"
        assert (await handle.describe()).attributes == {"customer": "ada"}

    serving(work)
