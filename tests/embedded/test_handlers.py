"""Signals and queries of workflows: in classes, and registered while a function runs."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    Handle,
    InvalidArgument,
    QueryFailed,
    RetryPolicy,
    Status,
    Worker,
    WorkflowFailed,
    activity,
    workflow,
)
from processor.testing import Environment
from tests.embedded.approval import Approval, echo, serving

__all__ = ("serving",)


async def parked(handle: Handle[Any]) -> str:
    for _ in range(200):
        found = await handle.describe()
        if found.status is Status.PARKED:
            assert found.parked is not None
            return str(found.parked["error"])
        await asyncio.sleep(0.02)
    raise AssertionError("it does not park")


async def answers(handle: Handle[Any], query: Any, expected: Any, *args: Any) -> None:
    """Wait until a query is answered as it is expected."""
    for _ in range(200):
        if await handle.query(query, *args) == expected:
            return
        await asyncio.sleep(0.02)
    assert await handle.query(query, *args) == expected


def test_signals_are_taken_in_their_order_and_queries_see_them(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Approval.run, "x", id="a")
        await handle.signal(Approval.nobody)
        assert await handle.query(Approval.standing) == ["nobody"]
        await handle.signal("set-needed", 7)
        await handle.signal(Approval.several, "Ada", 2)
        await handle.signal("several", "Bob")
        await handle.signal("unheard", [1])
        assert await handle.query("first", 5, "- ", result_type=list[str]) == [
            "- nobody", "- Ada", "- Ada", "- Bob", "- unheard=[1]",
        ]  # fmt: skip
        await handle.raise_event("vote", "Eve")
        await handle.signal(Approval.vote, "Zoe")
        said = "x: nobody, Ada, Ada, Bob, unheard=[1], Eve, Zoe"
        assert await handle.result() == said
        assert await handle.query(Approval.first, 2) == ["nobody", "Ada"]

    serving(work, Approval)


def test_what_does_not_fit_is_buried_and_the_next_is_taken(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Approval.run, "x", id="a")
        await handle.signal("set-needed", "many")
        await handle.signal("nobody", 1)
        await handle.signal("several", [1, 2, 3])
        await handle.signal("set-needed", 1)
        await handle.signal("nobody")
        assert await handle.result() == "x: nobody"
        rejected = [e for e in await handle.history() if e.type == "EventRejected"]
        assert [each.fields["name"] for each in rejected] == ["set-needed", "nobody", "several"]

    serving(work, Approval)


@workflow.define
class Fails:
    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.seen: list[str] = []
        if kind == "init":
            raise ApplicationError("not made")

    @workflow.run
    async def run(self, kind: str) -> None:
        await workflow.wait_until(lambda: False)

    @workflow.signal
    async def fail(self) -> None:
        await asyncio.sleep(0)
        raise ApplicationError("from the handler")

    @workflow.signal
    def see(self, value: str) -> None:
        self.seen.append(value)

    @workflow.signal
    def break_it(self) -> None:
        raise ValueError("a bug")

    @workflow.query
    def all(self) -> list[str]:
        return self.seen


def test_an_error_of_a_handler_is_one_of_the_code(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(Fails.run, "x", id="a")
        await handle.signal(Fails.fail)
        with pytest.raises(WorkflowFailed, match="from the handler"):
            await handle.result()
        with pytest.raises(WorkflowFailed, match="not made"):
            await client.run(Fails.run, "init", id="b")
        with pytest.raises(QueryFailed, match="no state: __init__ of the class failed"):
            await client.handle("b").query(Fails.all)
        handle = await client.start(Fails.run, "x", id="c")
        await handle.signal(Fails.see, "one")
        await handle.signal(Fails.break_it)
        assert "a bug" in await parked(handle)
        assert await handle.query(Fails.all) == ["one"]
        await handle.terminate()

    serving(work, Fails)


@workflow.define
async def function() -> list[str]:
    seen: list[str] = []

    async def slow(value: str) -> None:
        await echo(value)
        seen.append(value)

    await workflow.wait_for_event("begin")
    workflow.on_query("seen", lambda: list(seen))
    workflow.on_signal("slow", slow)
    workflow.on_signal(None, lambda name, value=None: seen.append(f"{name}:{value}"))
    await workflow.wait_until(lambda: len(seen) >= 4)
    await workflow.wait_until(workflow.all_handlers_finished)
    return seen


def test_a_function_registers_handlers_and_what_waits_is_taken(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(function, id="a")
        await handle.signal("early", 1)
        await handle.signal("slow", "x")
        await handle.signal("early", 2)
        with pytest.raises(QueryFailed, match="no query 'seen'; the workflow has: none"):
            await handle.query("seen")
        await handle.raise_event("begin")
        await answers(handle, "seen", ["early:1", "early:2", "x"])
        await handle.signal("late")
        assert await handle.result() == ["early:1", "early:2", "x", "late:None"]

    serving(work, function)


@workflow.define(retry=RetryPolicy(timedelta(milliseconds=1)))
async def hears_late(fails: int) -> list[str]:
    seen: list[str] = []
    attempt = workflow.info().attempt
    if attempt == 1:
        await workflow.wait_for_event("begin")
    workflow.on_signal(None, lambda name, value: seen.append(f"{name}:{value}"))
    if attempt <= fails:
        raise ApplicationError("before the handler has begun")
    await workflow.wait_until(lambda: len(seen) == 4)
    return seen


@pytest.mark.parametrize("fails", [0, 2])
def test_what_waits_is_taken_in_its_order_whatever_its_name(serving: Any, fails: int) -> None:
    """Also by the run that tries again, where the one before has not begun with it."""

    async def work(client: Client) -> None:
        handle = await client.start(hears_late, fails, id="a")
        for number, name in enumerate("abab"):
            await handle.signal(name, number)
        await handle.raise_event("begin")
        assert await handle.result() == ["a:0", "b:1", "a:2", "b:3"]

    serving(work, hears_late)


@workflow.define
class Ends:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_for_event("end")

    @workflow.signal
    async def warned(self) -> None:
        await workflow.wait_for_event("never")

    @workflow.signal(unfinished="abandon")
    async def abandoned(self) -> None:
        await workflow.wait_for_event("never")


def test_the_end_warns_of_handlers_that_run(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Environment(workflows=[Ends]) as env:
            handle = await env.start(Ends.run, id="a")
            await handle.signal(Ends.warned)
            await handle.signal(Ends.abandoned)
            await handle.raise_event("end")
            await handle.result()

    with caplog.at_level(logging.WARNING, "processor.workflow"):
        asyncio.run(main())
    told = [each.getMessage() for each in caplog.records if "handlers" in each.getMessage()]
    assert len(told) == 1
    assert "workflow a, run " in told[0]
    assert "('warned')" in told[0]


class Base:
    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_until(lambda: len(self.heard) == 2)
        return self.heard

    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(f"base {what}")

    @workflow.signal
    def shout(self, what: str) -> None:
        self.hear(what.upper())


@workflow.define
class Inherits(Base):
    @workflow.signal
    def hear(self, what: str) -> None:
        self.heard.append(f"own {what}")


@workflow.define(name="second")
class Second(Inherits):
    pass


def test_classes_inherit(serving: Any) -> None:
    async def work(client: Client) -> None:
        for cls, name in ((Inherits, "Inherits"), (Second, "second")):
            handle = await client.start(cls.run, id=name)
            await handle.signal(cls.hear, "a")
            await handle.signal(cls.shout, "b")
            assert await handle.result() == ["own a", "own B"]
            assert (await handle.describe()).workflow == name

    serving(work, Inherits, Second)


@workflow.define
@dataclass
class Counter:
    """Its fields are its state: none of them is an argument of the run."""

    total: int = 0
    seen: list[int] = field(default_factory=list)

    @workflow.run
    async def run(self, end: int) -> list[int]:
        await workflow.wait_until(lambda: self.total >= end)
        return self.seen

    @workflow.signal
    def add(self, number: int) -> None:
        self.total += number
        self.seen.append(number)


def test_a_dataclass_is_made_without_arguments(serving: Any) -> None:
    async def work(client: Client) -> None:
        handles = [await client.start(Counter.run, 5, id=each) for each in ("a", "b")]
        for handle in handles:
            await handle.signal(Counter.add, 2)
            await handle.signal(Counter.add, 3)
            assert await handle.result() == [2, 3]

    serving(work, Counter)


def test_classes_that_contradict_are_refused() -> None:
    def hides() -> None:
        @workflow.define
        class Hides(Base):
            def hear(self, what: str) -> None: ...  # type: ignore[override]

    def twice() -> None:
        @workflow.define
        class Twice(Base):
            @workflow.signal(name="hear")
            def listen(self, what: str) -> None: ...

    def other_arguments() -> None:
        @workflow.define
        class Other(Base):
            def __init__(self, count: int) -> None: ...

    def runs_not() -> None:
        @workflow.define
        class RunsNot:
            pass

    def asynchronous() -> None:
        class Asynchronous(Base):
            @workflow.query
            async def all(self) -> None: ...

    def yields() -> None:
        class Yields(Base):
            @workflow.signal
            async def all(self) -> Any:
                yield 1

    for wrong, said in (
        (yields, "has a yield, so that calling it does nothing"),
        (hides, "Hides.hear hides the signal of Base: put @workflow.signal on it"),
        (twice, "two signals have the name 'hear'"),
        (other_arguments, "__init__ gets the arguments of the run"),
        (runs_not, "needs one method under @workflow.run; it has none"),
        (asynchronous, "a query only reads, and answers at once"),
    ):
        with pytest.raises(ValueError, match=said):
            wrong()


def test_what_names_no_workflow_or_handler_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with Environment(workflows=[Approval]) as env:
            handle = await env.start(Approval.run, "x", id="a")
            for call, said in (
                (lambda: env.start(Base.run), "put @workflow.define on the class"),
                (lambda: env.start(Approval, "x"), "name the method that is run: Approval.run"),
                (lambda: handle.signal(Approval.standing), "is no handler of signals"),
                (lambda: handle.query(Approval.vote), "is no handler of queries"),
                (lambda: handle.signal(Approval.other, "n"), "has no name of its own"),
                (lambda: handle.signal(Approval.vote), "missing a required argument: 'who'"),
                (lambda: handle.query(Approval.standing, reject="x"), "query: reject"),
            ):
                with pytest.raises(ValueError, match=said):
                    await call()  # type: ignore[no-untyped-call]
        with pytest.raises(ValueError, match=r"put @workflow.define on the function or class"):
            Worker(f"embedded:{tmp_path}", workflows=[Base])

    asyncio.run(main())


@activity.define
def plain_echo(value: str) -> str:
    return value


@workflow.define
class Greets:
    def __init__(self) -> None:
        self.greeted: list[str] = []

    @workflow.run
    async def run(self, first: str) -> list[str]:
        await self.greet(first)
        return self.greeted

    @workflow.signal
    async def greet(self, who: str) -> None:
        self.greeted.append(await plain_echo(f"hello {who}"))


def test_handlers_and_run_await_plain_activities_in_a_plain_test() -> None:
    async def main() -> None:
        greets = Greets()
        await greets.greet("Ada")
        assert await greets.run("Bob") == ["hello Ada", "hello Bob"]
        async with Environment([Greets], [plain_echo]) as env:
            assert await env.run(Greets.run, "Eve") == ["hello Eve"]

    asyncio.run(main())


def test_an_instance_is_tested_as_any_other() -> None:
    approval = Approval()
    approval.several("Ada", 2)
    assert approval.standing() == ["Ada", "Ada"]
    with pytest.raises(TypeError, match=r"A client calls it with handle.query"):
        Approval.standing()


@workflow.define
async def registers_what_yields() -> str:
    def yields(value: int) -> Any:
        yield value

    refused = []
    for register in (workflow.on_signal, workflow.on_query):
        try:
            register("any", yields)
        except InvalidArgument as error:
            refused.append(str(error))
    return "; ".join(refused)


def test_a_function_that_yields_is_no_handler() -> None:
    async def main() -> None:
        async with Environment([registers_what_yields]) as env:
            told = await env.run(registers_what_yields)
            assert told.count("has a yield, so that calling it does nothing: take it out") == 2

    asyncio.run(main())
