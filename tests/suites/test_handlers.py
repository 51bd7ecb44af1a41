"""Handlers of signals and queries: who takes what, in which order, and beside whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CommandRejected,
    QueryFailed,
    SchemaMismatch,
    Status,
    activity,
    workflow,
)

from .passing import until


@activity.define
async def upper(text: str) -> str:
    return text.upper()


@workflow.define
async def child(text: str) -> str:
    return f"child {await upper(text)}"


@workflow.define
class Desk:
    """A run that ends when it is told to, with all that it has heard."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.lock = asyncio.Lock()
        self.going = False
        self.limit = 0
        self.asked = 0

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_until(lambda: self.going)
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal
    def go(self) -> None:
        self.going = True

    @workflow.signal
    def hear(self, what: Any) -> None:
        self.heard.append(what)

    @workflow.signal
    async def slowly(self, name: str, seconds: float) -> None:
        self.heard.append(f"{name} begins")
        await workflow.sleep(seconds)
        self.heard.append(f"{name} ends")

    @workflow.signal
    async def alone(self, name: str) -> None:
        async with self.lock:
            self.heard.append(f"{name} in")
            self.heard.append(await upper(name))
            self.heard.append(f"{name} out")

    @workflow.signal(name="set-limit")
    def limit_is(self, limit: int = 7) -> None:
        self.limit = limit

    @workflow.signal
    async def until_limit(self, limit: int) -> None:
        await workflow.wait_until(lambda: self.limit >= limit)
        self.heard.append(f"limit {limit}")

    @workflow.signal
    async def in_time(self, seconds: float) -> None:
        try:
            await workflow.wait_until(lambda: self.limit > 0, timeout=seconds)
        except TimeoutError as error:
            self.heard.append(f"TimeoutError: {error}")
        else:
            self.heard.append("in time")

    @workflow.signal
    async def calls(self, text: str) -> None:
        found = await asyncio.gather(upper(text), workflow.call_child(child, text))
        self.heard.append(found)

    @workflow.signal
    def tells(self, name: str) -> None:
        workflow.set_value(name, len(self.heard))
        workflow.set_status(f"told {name}")

    @workflow.signal(dynamic=True)
    async def other(self, name: str, *values: Any) -> None:
        await workflow.sleep(0)
        self.heard.append([name, *values])

    @workflow.query
    def all(self) -> list[Any]:
        return self.heard

    @workflow.query(name="what-limit")
    def limit_told(self, more: int = 0) -> int:
        return self.limit + more

    @workflow.query(dynamic=True)
    def anything(self, name: str, *values: Any) -> list[Any]:
        return [name, *values]

    @workflow.query
    def breaks(self, kind: str) -> None:
        raise ApplicationError("asked too much", type="Asked") if kind == "own" else KeyError(kind)


async def test_two_handlers_run_beside_each_other_in_the_order_of_their_timers(
    client: Client, id: str
) -> None:
    handle = await client.start(Desk.run, id=id)
    await handle.signal(Desk.slowly, "long", 0.15)
    await handle.signal(Desk.slowly, "short", 0.01)
    await handle.signal(Desk.go)
    assert await handle.result() == ["long begins", "short begins", "short ends", "long ends"]


async def test_a_lock_keeps_handlers_apart(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    for name in ("a", "b", "c"):
        await handle.signal(Desk.alone, name)
    await handle.signal(Desk.go)
    expected = [[f"{name} in", name.upper(), f"{name} out"] for name in ("a", "b", "c")]
    assert await handle.result() == [each for one in expected for each in one]


async def test_a_handler_waits_for_what_another_one_changes(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    for limit in (9, 5):
        await handle.signal(Desk.until_limit, limit)
    await handle.signal("set-limit")
    assert await handle.query(Desk.all) == ["limit 5"]
    await handle.signal(Desk.limit_is, 9)
    await handle.signal(Desk.go)
    assert await handle.result() == ["limit 5", "limit 9"]


async def test_a_condition_of_a_handler_is_late_or_in_time(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    await handle.signal(Desk.in_time, 0.01)

    async def is_late() -> bool:
        return bool(await handle.query(Desk.all))

    await until(client, is_late)
    await handle.signal(Desk.in_time, 3_600)
    await handle.signal(Desk.limit_is, 1)
    await handle.signal(Desk.go)
    late, in_time = await handle.result()
    assert late.startswith("TimeoutError: the condition did not hold")
    assert in_time == "in time"


async def test_a_handler_calls_activities_and_children(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    await handle.signal(Desk.calls, "x")
    await handle.signal(Desk.go)
    assert await handle.result() == [["X", "child X"]]


async def test_a_handler_sets_values_and_the_status(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    await handle.signal(Desk.hear, 1)
    await handle.signal(Desk.tells, "count")
    assert await handle.value("count") == 1
    assert (await handle.describe()).custom_status == "told count"
    await handle.signal(Desk.go)
    await handle.result()


async def test_names_of_handlers_are_those_that_they_were_given(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    await handle.signal("set-limit", 3)
    await handle.signal("limit_is", 4)
    assert await handle.query("what-limit", 10) == 13
    assert await handle.query(Desk.limit_told) == 3
    assert await handle.query("limit_told") == ["limit_told"]
    assert await handle.query(Desk.all) == [["limit_is", 4]], "the name of the method is no name"
    await handle.terminate()


async def test_dynamic_handlers_take_what_has_no_other_one(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    for values in ((), (1,), (1, "two", None), ([1, 2],)):
        await handle.signal("unknown", *values)
    assert await handle.query("what?", 1, "two") == ["what?", 1, "two"]
    await handle.signal(Desk.go)
    found = await handle.result()
    assert found[:3] == [["unknown"], ["unknown", 1], ["unknown", 1, "two", None]]


async def test_every_value_of_json_arrives_as_it_was_sent(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    sent = [None, False, 0, "", [], {}, {"a": [1.5, None]}, "ü😀", 2**53]
    for each in sent:
        await handle.signal(Desk.hear, each)
    assert await handle.query(Desk.all) == sent
    await handle.signal(Desk.go)
    assert await handle.result() == sent


async def test_signals_with_a_start_come_before_the_code_and_later_ones_after(
    client: Client, id: str
) -> None:
    handle = await client.signal_with_start(Desk.run, id=id, signal=(Desk.go,))
    assert await handle.result() == []
    handle = await client.signal_with_start(Desk.run, id=id, signal=(Desk.hear, 1))
    for number in (2, 3):
        sent = await client.signal_with_start(Desk.run, id=id, signal=(Desk.hear, number))
        assert not sent.created
    await handle.signal(Desk.go)
    assert await handle.result() == [1, 2, 3]


async def test_a_run_that_waits_for_its_time_takes_signals_in_order(
    client: Client, id: str
) -> None:
    handle = await client.start(Desk.run, id=id, delay=3_600)
    for number in range(3):
        await handle.signal(Desk.hear, number)
    await handle.start_now()
    assert await handle.query(Desk.all) == [0, 1, 2]
    await handle.signal(Desk.go)
    assert await handle.result() == [0, 1, 2]


async def test_errors_of_queries_are_told_and_stop_nothing(client: Client, id: str) -> None:
    handle = await client.start(Desk.run, id=id)
    with pytest.raises(QueryFailed, match="asked too much") as failed:
        await handle.query(Desk.breaks, "own")
    cause = failed.value.__cause__
    assert isinstance(cause, ApplicationError) and cause.type == "Asked"
    with pytest.raises(QueryFailed, match="no key"):
        await handle.query(Desk.breaks, "no key")
    with pytest.raises(SchemaMismatch, match="what-limit"):
        await handle.query("what-limit", "many")
    assert (await handle.describe()).status is Status.RUNNING
    await handle.signal(Desk.go)
    assert await handle.result() == []


@workflow.define
async def has_no_handlers() -> str:
    return await workflow.wait_for_event("go", str)


async def test_unknown_queries_name_those_that_there_are(client: Client, id: str) -> None:
    handle = await client.start(has_no_handlers, id=id)
    with pytest.raises(QueryFailed, match="no query 'any'; the workflow has: none"):
        await handle.query("any")
    await handle.signal("go", "gone")
    assert await handle.result() == "gone"


async def test_what_has_ended_answers_queries_and_takes_no_signals(client: Client, id: str) -> None:
    handle = await client.signal_with_start(Desk.run, id=id, signal=(Desk.hear, 1))
    await handle.signal(Desk.go)
    await handle.result()
    assert await handle.query(Desk.all) == [1]
    with pytest.raises(QueryFailed):
        await handle.query(Desk.all, reject="not-open")
    with pytest.raises(CommandRejected, match="is completed"):
        await handle.signal(Desk.hear, 2)
    assert await handle.query(Desk.all) == [1]


@workflow.define
async def registers_late(fails: bool) -> list[str]:
    """Handlers that are there after a while, take another's place, and make others."""
    seen: list[str] = []

    def makes(name: str) -> None:
        workflow.on_signal(name, lambda value: seen.append(f"made {name} {value}"))

    workflow.on_signal("a", lambda value: seen.append(f"first {value}"))
    await workflow.wait_for_event("on")
    workflow.on_signal("a", lambda value: seen.append(f"second {value}"))
    workflow.on_signal("make", makes)
    workflow.on_query("seen", lambda: list(seen))
    await workflow.wait_for_event("on")
    workflow.on_query("seen", lambda: [*seen, "again"])
    await workflow.wait_for_event("end")
    return seen


async def test_a_later_handler_of_a_name_takes_its_place(client: Client, id: str) -> None:
    handle = await client.start(registers_late, False, id=id)
    await handle.signal("a", 1)
    await handle.raise_event("on")
    await handle.signal("a", 2)
    assert await handle.query("seen") == ["first 1", "second 2"]
    await handle.raise_event("on")
    assert await handle.query("seen") == ["first 1", "second 2", "again"]
    await handle.raise_event("end")
    assert await handle.result() == ["first 1", "second 2"]


async def test_a_handler_makes_one_for_what_came_before_it(client: Client, id: str) -> None:
    handle = await client.start(registers_late, False, id=id)
    for number in range(2):
        await handle.signal("b", number)
    await handle.signal("make", "b")
    await handle.raise_event("on")
    await handle.signal("b", 2)
    await handle.raise_event("on")
    await handle.raise_event("end")
    assert await handle.result() == ["made b 0", "made b 1", "made b 2"]


@workflow.define
class Relay:
    """Its handler sends on to another run, if there is one, and to its own."""

    def __init__(self, to: str) -> None:
        self.to = to
        self.heard: list[str] = []

    @workflow.run
    async def run(self, to: str) -> list[str]:
        await workflow.wait_until(lambda: len(self.heard) == 2)
        await workflow.wait_until(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal
    async def hear(self, what: str) -> None:
        self.heard.append(what)
        if self.to and len(self.heard) == 1:
            await workflow.signal(self.to, "hear", f"{what} from {workflow.info().workflow_id}")
            await workflow.signal(workflow.info().workflow_id, "hear", "from itself")


async def test_handlers_signal_others_and_their_own_run(client: Client, id: str) -> None:
    last = await client.start(Relay.run, "", id=f"{id}-last")
    first = await client.start(Relay.run, f"{id}-last", id=id)
    await first.signal(Relay.hear, "hello")
    assert await first.result() == ["hello", "from itself"]
    await last.signal(Relay.hear, "end")
    assert await last.result() == [f"hello from {id}", "end"]


@workflow.define
async def waiter_or_handler() -> list[Any]:
    """A waiter has an event that the dynamic handler would have; one with the name comes first."""
    found: list[Any] = []
    workflow.on_signal(None, lambda name, value: found.append(f"dynamic {name} {value}"))
    found.append(await workflow.wait_for_event("a"))
    workflow.on_signal("b", lambda value: found.append(f"handler b {value}"))
    try:
        await workflow.wait_for_event("b", timeout=0.05)
    except TimeoutError:
        found.append("no b")
    return found


async def test_a_wait_has_an_event_before_a_dynamic_handler_and_after_a_named_one(
    client: Client, id: str
) -> None:
    handle = await client.start(waiter_or_handler, id=id)
    await handle.signal("a", 1)
    await handle.signal("b", 2)
    await handle.signal("a", 3)
    assert await handle.result() == [1, "handler b 2", "dynamic a 3", "no b"]


@workflow.define
class Counting:
    """Counts how often its condition was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.over = False

    def _over(self) -> bool:
        self.asked += 1
        return self.over

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_until(self._over)
        return "over"

    @workflow.signal
    def end(self) -> None:
        self.over = True

    @workflow.query
    def how_often(self) -> int:
        return self.asked


async def test_a_query_asks_no_condition(client: Client, id: str) -> None:
    handle = await client.start(Counting.run, id=id)
    first = await handle.query(Counting.how_often)
    assert [await handle.query(Counting.how_often) for _ in range(3)] == [first] * 3
    await handle.signal(Counting.end)
    assert await handle.result() == "over"
