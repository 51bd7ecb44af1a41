"""What workflow code asks of other instances: each question is answered once, at any replay."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    CommandRejected,
    InvalidArgument,
    ProcessorError,
    Settings,
    Worker,
    WorkflowFailed,
    WorkflowParked,
    workflow,
)
from processor.testing import Environment, NothingLeft
from tests.embedded.approval import serving

__all__ = ("serving",)


@workflow.define
class Cart:
    def __init__(self, fails: bool = False) -> None:
        self.items: list[str] = []
        self.paid = False

    @workflow.run
    async def run(self, fails: bool = False) -> list[str]:
        await workflow.wait_until(lambda: self.paid)
        if fails:
            raise ApplicationError("no money", type="Money", details=7)
        workflow.set_value("paid", len(self.items))
        return self.items

    @workflow.update
    async def add(self, item: str) -> int:
        await workflow.sleep(0.01)
        if item == "stone":
            raise ApplicationError("too heavy", type="Weight")
        if item == "never":
            await workflow.wait_for_event("never")
        self.items.append(item)
        workflow.set_value("items", len(self.items))
        return len(self.items)

    @add.validator
    def check(self, item: str) -> None:
        if item in self.items:
            raise ValueError(f"there is one {item} already")

    @workflow.signal
    def pay(self) -> None:
        self.paid = True

    @workflow.query
    def standing(self, many: int = 1) -> list[str]:
        if many < 0:
            raise ApplicationError("less than nothing")
        return self.items * many

    @workflow.query
    def much(self) -> str:
        return "x" * 1_950_000


async def word(asked: Coroutine[Any, Any, Any]) -> Any:
    """What comes of a question, in a word."""
    try:
        return await asked
    except ProcessorError as error:
        return f"{type(error).__name__}: {error} ({error.__cause__})"


@workflow.define
async def shops(id: str) -> list[Any]:
    cart = workflow.handle(id, workflow=Cart.run)
    early = asyncio.create_task(cart.value("items", result_type=int))
    ends = [asyncio.create_task(word(each)) for each in (cart.result(), cart.value("paid"))]
    found: list[Any] = [await cart.update(Cart.add, "apple"), await early]
    found.append(await cart.update("add", "pear", result_type=int))
    found.append(await cart.query(Cart.standing, 2))
    await cart.signal(Cart.pay)
    return [*found, *[await each for each in ends], await cart.result(), await cart.value("items")]


@workflow.define
async def errs(id: str) -> list[Any]:
    cart, nobody = workflow.handle(id), workflow.handle("nobody")
    asked = [
        *(cart.update("add", each) for each in ("apple", "stone")),
        *(cart.query("standing", -1), cart.query("unknown"), cart.query("standing", "many")),
        *(cart.query("standing", reject="not-open"), cart.query("standing", result_type=int)),
        *(cart.query("much"), cart.update("unknown"), cart.value("items", result_type=str)),
        *(nobody.update("add", "x"), nobody.query("x"), nobody.value("x"), nobody.result()),
    ]
    found = [await word(each) for each in asked]
    found.append(await word(cart.update("add", "apple")))
    ends = [asyncio.create_task(word(each)) for each in (cart.update("add", "never"),)]
    ends += [asyncio.create_task(word(each)) for each in (cart.result(), cart.value("paid"))]
    await workflow.sleep(0.05)
    await cart.signal("pay")
    found += [await each for each in ends]
    late = (cart.result(), cart.value("paid"), cart.update("add", "late"))
    return [*found, *[str(await word(each)) for each in late]]


@workflow.define
async def gives_up(id: str) -> list[Any]:
    """Wait for what does not come, twice; then for what came meanwhile."""
    cart = workflow.handle(id)
    for asked in (cart.value("items"), cart.result(), cart.update("add", "never")):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asked
    unsent = asyncio.create_task(cart.update("add", "unsent"))
    await asyncio.sleep(0)
    unsent.cancel()
    await asyncio.wait([unsent])
    await cart.update("add", "apple")
    return [await cart.value("items"), await cart.query("standing")]


@workflow.define
async def waits(id: str) -> Any:
    return await workflow.handle(id).result()


@workflow.define
async def watches(id: str) -> Any:
    return await workflow.handle(id).value("last")


@workflow.define
async def counts_down(count: int) -> str:
    if not count:
        workflow.set_value("last", "there")
        await workflow.wait_for_event("go")
        return "done"
    await workflow.wait_for_event("go")
    return workflow.continue_as_new(count - 1)


def test_results_values_queries_and_updates_of_another_instance(serving: Any) -> None:
    async def work(client: Client) -> None:
        cart = await client.start(Cart.run, id="cart")
        items = ["apple", "pear"]
        told = [1, 1, 2, items * 2, items, 2, items, 2]
        assert await client.run(shops, "cart", id="shops") == told
        kinds = [each.type for each in await client.handle("shops").history()]
        assert kinds.count("CallSent") == kinds.count("CallAnswered") == 9
        seen = [each.type for each in await cart.history()]
        assert "AnswerNotAwaited" not in seen, "who was told waits no more"

    serving(work, Cart, shops)


def test_what_cannot_be_told_says_why(serving: Any) -> None:
    async def work(client: Client) -> None:
        await client.start(Cart.run, True, id="cart")
        told = await client.run(errs, "cart", id="errs")
        run = (await client.handle("cart").describe()).run_id
        here = f"run {run} of 'cart'"
        expected = [
            "1",
            "UpdateFailed: update",
            "QueryFailed: query 'standing' of 'cart' failed: less than nothing (less than nothing)",
            "QueryFailed: there is no query 'unknown'; the workflow has: 'much', 'standing'",
            "SchemaMismatch: ",
            "[",
            "SchemaMismatch: the answer of query 'standing' of 'cart'",
            "PayloadTooLarge: ",
            f"UpdateRejected: update 'unknown' of {here}: ",
            "SchemaMismatch: value 'items' of 'cart': ",
            *["WorkflowNotFound: no run of workflow id 'nobody'"] * 4,
            f"UpdateRejected: update 'add' of {here}: ValueError: there is one apple already",
            f"UpdateUnfinished: {here} is failed, and the handler of update ",
            f"WorkflowFailed: {here} failed: no money (no money)",
            f"ValueNotSet: {here} is failed, and has not set the value 'paid'",
            f"WorkflowFailed: {here} failed: no money (no money)",
            f"ValueNotSet: {here} is failed, and has not set the value 'paid'",
            f"WorkflowNotFound: {here} is failed: update 'add' was not taken",
        ]
        for each, start in zip(map(str, told), expected, strict=True):
            assert each.startswith(start), (each, start)

    serving(work, Cart, errs)


def test_whoever_gives_up_waits_no_more_and_the_other_run_knows(serving: Any) -> None:
    async def work(client: Client) -> None:
        cart = await client.start(Cart.run, id="cart")
        assert await client.run(gives_up, "cart", id="gives-up") == [1, ["apple"]]
        kinds = [each.type for each in await client.handle("gives-up").history()]
        assert kinds.count("CallGivenUp") == 3
        while (await cart.describe()).pending["callers"]:
            await asyncio.sleep(0.01)
        kinds = [each.type for each in await cart.history()]
        assert kinds.count("AnswerAwaited") == 4 and kinds.count("AnswerNotAwaited") == 3
        assert kinds.count("UpdateAccepted") == 2, "what was cancelled in its turn is not sent"

    serving(work, Cart, gives_up)


def test_a_run_that_ends_waits_no_more(serving: Any) -> None:
    async def work(client: Client) -> None:
        cart = await client.start(Cart.run, id="cart")
        asker = await client.start(waits, "cart")
        while (await cart.describe()).pending["callers"] != 1:
            await asyncio.sleep(0.01)
        assert (await asker.describe()).pending["calls"][0]["operation"] == "AwaitResult"
        await asker.terminate()
        while (await cart.describe()).pending["callers"]:
            await asyncio.sleep(0.01)

    serving(work, Cart, waits)


def test_a_result_is_that_of_the_whole_chain_and_a_value_that_of_any_run(serving: Any) -> None:
    async def work(client: Client) -> None:
        chain = await client.start(counts_down, 2, id="chain")
        askers = [await client.start(each, "chain") for each in (waits, watches)]
        while (await chain.describe()).pending["callers"] != 2:
            await asyncio.sleep(0.01)
        for _ in range(2):
            await chain.raise_event("go")
        assert await askers[1].result() == "there"
        await chain.raise_event("go")
        assert await askers[0].result() == "done"
        assert [await client.run(each, "chain") for each in (waits, watches)] == ["done", "there"]

    serving(work, counts_down, waits, watches)


def test_an_error_that_nobody_catches_fails_the_run(serving: Any) -> None:
    async def work(client: Client) -> None:
        with pytest.raises(WorkflowFailed) as raised:
            await client.run(waits, "nobody")
        cause = raised.value.__cause__
        assert isinstance(cause, ApplicationError) and cause.type == "WorkflowNotFound"

    serving(work, waits)


def test_the_answer_comes_though_both_workers_have_ended_meanwhile(tmp_path: Path) -> None:
    server = f"embedded:{tmp_path}"

    async def life(work: Any) -> None:
        async with Worker(server, workflows=[Cart, waits]), Client(server) as client:
            await work(client)

    async def begin(client: Client) -> None:
        cart = await client.start(Cart.run, id="cart")
        await client.start(waits, "cart", id="asker")
        while not (await cart.describe()).pending["callers"]:
            await asyncio.sleep(0.01)

    async def pay(client: Client) -> None:
        await client.handle("cart").signal("pay")
        assert await client.handle("asker").result() == []

    asyncio.run(life(begin))
    asyncio.run(life(pay))


@workflow.define
async def misuses(how: str) -> None:
    match how:
        case "own":
            await workflow.handle(workflow.info().workflow_id).result()
        case "id":
            workflow.handle("")
        case "kind":
            workflow.handle("x").query(Cart.add, "x")
        case _:
            workflow.handle("x").query("x", reject="never")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("own", "a run that waits for its own end does not end"),
        ("id", "workflow.handle: id: give an id"),
        ("kind", "workflow.handle: query: .* is no handler of queries"),
        ("reject", "workflow.handle: query: reject: give one of"),
    ],
)
def test_what_cannot_be_asked_is_a_bug_of_the_code(how: str, match: str) -> None:
    async def main() -> None:
        async with Environment([misuses]) as env:
            with pytest.raises(WorkflowParked, match=match):
                await env.run(misuses, how)

    asyncio.run(main())


def test_outside_of_workflow_code_there_is_no_such_handle() -> None:
    with pytest.raises(RuntimeError, match="outside of workflow code"):
        workflow.handle("x")
    assert issubclass(InvalidArgument, ProcessorError)


@workflow.define
async def asks_no_type(kind: str) -> str:
    """Ask for what is no type, and wait until an answer could be there."""
    cart, odd = workflow.handle("cart"), 5
    try:
        match kind:
            case "query":
                await cart.query("standing", result_type=odd)  # type: ignore[call-overload]
            case "update":
                await cart.update("add", "apple", result_type=odd)  # type: ignore[call-overload]
            case "value":
                await cart.value("items", result_type=odd)  # type: ignore[call-overload]
            case "promise":
                workflow.promise(odd)
            case _:
                workflow.side_effect(lambda: 1, odd)
    except InvalidArgument as error:
        await workflow.sleep(1)
        return str(error)
    return "taken"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("query", "query 'standing' of 'cart': result_type: "),
        ("update", "update 'add' of 'cart': result_type: "),
        ("value", "value 'items' of 'cart': result_type: "),
        ("promise", "workflow.promise: type: "),
        ("side effect", "workflow.side_effect: type: "),
    ],
)
def test_what_is_no_type_is_refused_before_anybody_is_asked(kind: str, says: str) -> None:
    async def main() -> None:
        async with Environment([Cart, asks_no_type], max_cached_runs=0) as env:
            await env.start(Cart.run, id="cart")
            handle = await env.start(asks_no_type, kind, id="asks")
            told = await handle.result()
            assert told.startswith(f"{says}JSON cannot be decoded to 5: Type '5' is not supported")
            kinds = [each.type for each in await handle.history()]
            assert kinds == ["WorkflowStarted", "TimerStarted", "TimerFired", "WorkflowCompleted"]

    asyncio.run(main())


@workflow.define
async def asks_much(id: str, count: int) -> None:
    await asyncio.gather(*(workflow.handle(id).value("never") for _ in range(count)))


def test_too_many_open_questions_park_the_run() -> None:
    async def main() -> None:
        async with Environment([Cart, asks_much], settings=Settings(children_open_max=3)) as env:
            await env.start(Cart.run, id="cart")
            with pytest.raises(WorkflowParked, match=r"children_open_max=3.*was not sent"):
                await env.run(asks_much, "cart", 4)

    asyncio.run(main())


@workflow.define
async def gives_up_often(id: str, times: int) -> str:
    other = workflow.handle(id)
    for _ in range(times):
        unsent = asyncio.create_task(other.value("never"))
        await asyncio.sleep(0)
        unsent.cancel()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await other.value("never")
    return "done"


@pytest.mark.parametrize("cached", [0, None])
def test_questions_that_are_given_up_are_open_no_more(cached: int | None) -> None:
    async def main() -> None:
        settings = Settings(children_open_max=2)
        given: Any = {"settings": settings, "max_cached_runs": cached}
        async with Environment([Cart, gives_up_often], **given) as env:
            await env.start(Cart.run, id="cart")
            assert await env.run(gives_up_often, "cart", 5) == "done"

    asyncio.run(main())


def test_a_test_is_told_what_holds_up_the_run_that_is_asked() -> None:
    async def main() -> None:
        async with Environment([Cart, waits]) as env:
            await env.start(Cart.run, id="cart")
            with pytest.raises(NothingLeft, match="of 'cart' is running"):
                await env.run(waits, "cart")

    asyncio.run(main())


@workflow.define
async def refused(id: str) -> str:
    try:
        await workflow.handle(id).update("add", "apple")
    except CommandRejected as error:
        return str(error)
    return "taken"


@workflow.define
async def has_a_bug() -> None:
    workflow.on_update("add", lambda item: item)
    await workflow.wait_for_event("go")
    raise ValueError("a bug")


def test_a_parked_run_answers_queries_and_refuses_updates(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(has_a_bug, id="parked")
        await handle.raise_event("go")
        while (await handle.describe()).parked is None:
            await asyncio.sleep(0.01)
        assert "is parked, so update 'add' was not taken" in await client.run(refused, "parked")

    serving(work, has_a_bug, refused)


@workflow.define
async def puts(id: str, items: list[str]) -> list[Any]:
    """Tell a cart of each item, whoever has to start it."""
    for item in items:
        start = workflow.signal_with_start(Holder.run, 2, id=id, signal=(Holder.put, item))
        holder = await start
        assert holder.id == id
    return [await holder.result(), await word(late(id))]


async def late(id: str) -> Any:
    signal = ("put", "late")
    return await workflow.signal_with_start("Holder", 2, id=id, signal=signal, reuse="reject")


@workflow.define
class Holder:
    def __init__(self, count: int) -> None:
        self.items: list[str] = []

    @workflow.run
    async def run(self, count: int) -> list[str]:
        await workflow.wait_until(lambda: len(self.items) >= count)
        assert workflow.info().parent is None
        return self.items

    @workflow.signal
    def put(self, item: str) -> None:
        self.items.append(item)


def test_a_signal_starts_what_does_not_run(serving: Any) -> None:
    async def work(client: Client) -> None:
        items, taken = await client.run(puts, "holder", ["apple", "pear"], id="puts")
        assert items == ["apple", "pear"]
        assert taken.startswith("WorkflowAlreadyStarted: workflow id 'holder' is taken by run")
        kinds = [each.type for each in await client.handle("holder").history()]
        assert kinds == ["WorkflowStarted", "EventReceived", "WorkflowCompleted"]

    serving(work, Holder, puts)


@workflow.define
async def misuses_a_start(how: str) -> None:
    given: dict[str, Any] = {"id": "x", "signal": ("put", 1)}
    given |= {"signal": {"signal": "put"}, "reuse": {"reuse": "use-existing"}}.get(how, {"id": ""})
    await workflow.signal_with_start("Holder", 1, **given)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("signal", "signal_with_start: signal: give a handler and its arguments in a tuple"),
        ("reuse", "signal_with_start: reuse: give one of"),
        ("id", "signal_with_start: id: give an id"),
    ],
)
def test_what_cannot_be_started_with_a_signal(how: str, match: str) -> None:
    async def main() -> None:
        async with Environment([misuses_a_start]) as env:
            with pytest.raises(WorkflowParked, match=match):
                await env.run(misuses_a_start, how)

    asyncio.run(main())
