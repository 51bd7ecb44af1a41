"""Temporal: samples-python, the folders of one pattern each."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import msgspec
import pytest
from pydantic import BaseModel

from processor import (
    Client,
    Interceptor,
    PayloadCodec,
    PayloadCodecError,
    RetryPolicy,
    Worker,
    activity,
    workflow,
)
from processor.injection.interceptors import ActivityCall, ActivityRun, ClientCall, WorkflowRun
from processor.testing import Environment

P = ParamSpec("P")
R = TypeVar("R")

# --- batch_sliding_window


@dataclass
class Window:
    page: int
    size: int
    offset: int
    end: int
    progress: int = 0
    open: set[int] = field(default_factory=set)


class Records:
    def __init__(self, count: int) -> None:
        self.count = count

    @activity.define(start_to_close=5)
    async def how_many(self) -> int:
        return self.count

    @activity.define(start_to_close=5)
    async def page(self, offset: int, end: int) -> list[int]:
        return list(range(offset, min(end, self.count)))


@workflow.define
async def processes_record(record: int) -> None:
    await workflow.sleep(workflow.random().randint(1, 10))
    parent = workflow.info().parent
    assert parent is not None
    await workflow.signal(parent.workflow_id, SlidingWindow.report, record)


@workflow.define
class SlidingWindow:
    def __init__(self, window: Window) -> None:
        self.window = window

    @workflow.run
    async def run(self, window: Window) -> int:
        now = self.window
        me = workflow.info().workflow_id
        for record in await Records.page(now.offset, min(now.offset + now.page, now.end)):
            await workflow.wait_until(lambda: len(now.open) < now.size)
            await workflow.start_child(
                processes_record, record, id=f"{me}/{record}", parent_close="abandon"
            )
            now.open.add(record)
            now.offset += 1
        if now.offset < now.end:
            workflow.continue_as_new(now)
        await workflow.wait_until(lambda: not now.open)
        return now.progress

    @workflow.signal
    def report(self, record: int) -> None:
        if record in self.window.open:
            self.window.open.remove(record)
            self.window.progress += 1

    @workflow.query
    def state(self) -> Window:
        return self.window


def parts(number: int, count: int) -> list[int]:
    return [number // count + (n < number % count) for n in range(count)]


@workflow.define
async def processes_batch(page: int, size: int, partitions: int) -> int:
    me, offset, windows = workflow.info().workflow_id, 0, []
    sizes = parts(size, partitions)
    for n, count in enumerate(parts(await Records.how_many(), partitions)):
        window = Window(page, sizes[n], offset, offset + count)
        windows.append(workflow.call_child(SlidingWindow.run, window, id=f"{me}/{n}"))
        offset += count
    return sum(await asyncio.gather(*windows))


def test_batch_sliding_window() -> None:
    """batch_sliding_window: 73 lines, theirs 333. Children report to a parent that goes on anew."""

    async def main() -> None:
        records = Records(30)
        code = [processes_batch, SlidingWindow, processes_record]
        async with Environment(code, [records.how_many, records.page]) as env:
            batch = await env.start(processes_batch, 4, 10, 3, id="batch")
            await env.sleep(5)
            state = await env.handle("batch/0").query(SlidingWindow.state)
            assert 0 < len(state.open) <= 4
            assert await batch.result() == 30
            assert (await env.handle("batch/0/7").describe()).status == "completed"

    asyncio.run(main())


# --- dsl


class Invoke(msgspec.Struct, tag="activity"):
    name: str
    arguments: list[str] = []
    result: str | None = None


class InOrder(msgspec.Struct, tag="sequence"):
    elements: list[Invoke | InOrder | AtOnce]


class AtOnce(msgspec.Struct, tag="parallel"):
    branches: list[Invoke | InOrder | AtOnce]


@activity.define
async def joins(one: str, other: str) -> str:
    return f"{one}+{other}"


@workflow.define
class Dsl:
    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}

    @workflow.run
    async def run(
        self, root: Invoke | InOrder | AtOnce, variables: dict[str, Any]
    ) -> dict[str, Any]:
        self.variables = variables
        await self.execute(root)
        return self.variables

    async def execute(self, statement: Invoke | InOrder | AtOnce) -> None:
        match statement:
            case InOrder():
                for element in statement.elements:
                    await self.execute(element)
            case AtOnce():
                await asyncio.gather(*map(self.execute, statement.branches))
            case Invoke():
                arguments = [self.variables.get(name, "") for name in statement.arguments]
                result = await workflow.call_activity(statement.name, *arguments)
                if statement.result:
                    self.variables[statement.result] = result


def test_dsl() -> None:
    """dsl: 46 lines, theirs 146. A tree of statements is a workflow."""

    async def main() -> None:
        tree = InOrder(
            [
                AtOnce([Invoke("joins", ["a", "b"], "ab"), Invoke("joins", ["b", "a"], "ba")]),
                Invoke("joins", ["ab", "ba"], "all"),
            ]
        )
        async with Environment([Dsl], [joins]) as env:
            result = await env.run(Dsl.run, tree, {"a": "1", "b": "2"})
            assert result["all"] == "1+2+2+1"

    asyncio.run(main())


# --- custom_decorator


def heartbeats(
    function: Callable[P, Coroutine[Any, Any, R]],
) -> Callable[P, Coroutine[Any, Any, R]]:
    @functools.wraps(function)
    async def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        timeout = activity.info().heartbeat
        beating = None if timeout is None else asyncio.create_task(beats(timeout / 2))
        try:
            return await function(*args, **kwargs)
        finally:
            if beating is not None:
                beating.cancel()

    return wrapper


async def beats(every: timedelta) -> None:
    while True:
        await asyncio.sleep(every.total_seconds())
        activity.heartbeat()


@activity.define(
    heartbeat=2,
    start_to_close=timedelta(hours=20),
    retry=RetryPolicy(maximum_attempts=1),
    cancellation="wait",
)
@heartbeats
async def waits_for_cancel() -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Future()
    return "cancelled"


@workflow.define
class WaitsForCancel:
    def __init__(self) -> None:
        self.waiting: asyncio.Task[str] | None = None

    @workflow.run
    async def run(self) -> str:
        self.waiting = asyncio.create_task(waits_for_cancel())
        return await self.waiting

    @workflow.signal
    def stop(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()


def test_custom_decorator() -> None:
    """custom_decorator: 48 lines, theirs 99. Heartbeats by a decorator."""

    async def main() -> None:
        async with Environment([WaitsForCancel], [waits_for_cancel]) as env:
            handle = await env.start(WaitsForCancel.run)
            await env.sleep(10)
            await handle.signal(WaitsForCancel.stop)
            assert await handle.result() == "cancelled"

    asyncio.run(main())


# --- context_propagation

USER: ContextVar[str] = ContextVar("USER", default="nobody")


class Propagates(Interceptor):
    async def request(
        self, call: ClientCall, next: Callable[[ClientCall], Awaitable[None]]
    ) -> None:
        call.headers["user"] = USER.get().encode()
        await next(call)

    async def run_workflow(
        self, run: WorkflowRun, next: Callable[[WorkflowRun], Awaitable[Any]]
    ) -> Any:
        USER.set(run.info.headers["user"].decode())
        return await next(run)

    async def call_activity(
        self, call: ActivityCall, next: Callable[[ActivityCall], Awaitable[Any]]
    ) -> Any:
        call.headers["user"] = USER.get().encode()
        return await next(call)

    async def run_activity(
        self, attempt: ActivityRun, next: Callable[[ActivityRun], Awaitable[Any]]
    ) -> Any:
        USER.set(attempt.info.headers["user"].decode())
        return await next(attempt)


@activity.define
async def who_asks() -> str:
    return f"activity of {USER.get()}"


@workflow.define
class AsksWho:
    def __init__(self) -> None:
        self.signalled: str = ""

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_until(lambda: self.signalled)
        return [f"run of {USER.get()}", self.signalled, await who_asks()]

    @workflow.signal
    def go(self) -> None:
        self.signalled = f"signal of {USER.get()}"


def test_context_propagation() -> None:
    """context_propagation: 45 lines, theirs 233. A context variable travels in headers."""

    async def main() -> None:
        USER.set("Ada")
        async with Environment([AsksWho], [who_asks], interceptors=[Propagates()]) as env:
            handle = await env.start(AsksWho.run)
            USER.set("Bob")
            await handle.signal(AsksWho.go)
            assert await handle.result() == ["run of Ada", "signal of Ada", "activity of Ada"]

    contextvars.copy_context().run(asyncio.run, main())


# --- pydantic_converter


class Host(BaseModel):
    name: str
    address: IPv4Address
    up_for: timedelta


@activity.define
async def renames(hosts: list[Host]) -> list[Host]:
    return [host.model_copy(update={"name": host.name.upper()}) for host in hosts]


@workflow.define
async def passes_models(hosts: list[Host]) -> list[Host]:
    return await renames(hosts)


def test_pydantic_converter() -> None:
    """pydantic_converter: 17 lines, theirs 86. Models are arguments and results as they are."""

    async def main() -> None:
        host = Host(name="a", address=IPv4Address("127.0.0.1"), up_for=timedelta(hours=1))
        async with Environment([passes_models], [renames]) as env:
            found = await env.run(passes_models, [host])
            assert found == [host.model_copy(update={"name": "A"})]

    asyncio.run(main())


# --- encryption


class Scrambled(PayloadCodec):
    name = "scrambled"

    def encode(self, data: bytes) -> bytes:
        return base64.b85encode(data[::-1])

    def decode(self, data: bytes) -> bytes:
        return base64.b85decode(data)[::-1]


@workflow.define
async def keeps_secrets(name: str) -> str:
    return f"Hello, {name}!"


def test_encryption(tmp_path: Path) -> None:
    """encryption: 22 lines, theirs 140. Nothing of a value stands in the history."""

    async def main() -> None:
        server, payloads = f"embedded:{tmp_path}", [Scrambled()]
        worker = Worker(server, workflows=[keeps_secrets], payloads=payloads)
        async with worker, Client(server, payloads=payloads) as client, Client(server) as other:
            handle = await client.start(keeps_secrets, "Ada")
            assert await handle.result() == "Hello, Ada!"
            assert "Ada" in str((await handle.history())[0].fields)
            begun = (await other.handle(handle.id).history())[0].fields
            assert begun["arguments"]["encoded_by"] == "scrambled"
            with pytest.raises(PayloadCodecError, match="scrambled"):
                await other.handle(handle.id).result()

    asyncio.run(main())


# --- worker_specific_task_queues


class Files:
    def __init__(self, host: str) -> None:
        self.host, self.files = host, dict[str, str]()

    @activity.define(eager=False)
    async def which_host(self) -> str:
        return self.host

    @activity.define
    async def download(self, url: str) -> str:
        self.files[url] = f"content of {url}"
        return url

    @activity.define
    async def work_on(self, path: str) -> int:
        return len(self.files[path])


@workflow.define
async def processes_file(url: str) -> int:
    host = await Files.which_host()
    path = await Files.download.options(queue=host)(url)
    return await Files.work_on.options(queue=host)(path)


def test_worker_specific_task_queues() -> None:
    """worker_specific_task_queues: 25 lines, theirs 169. The queue of a host comes at run time."""

    async def main() -> None:
        files = Files("host-1")
        activities = [files.which_host, files.download, files.work_on]
        async with Environment([processes_file], activities) as env:
            assert await env.run(processes_file, "a.txt") == 16

    asyncio.run(main())


# --- nexus_cancel


@workflow.define
async def greets_in(language: str) -> str:
    await asyncio.sleep({"en": 3, "fr": 1, "de": 5}[language])
    return f"greeting in {language}"


@workflow.define
async def races(languages: list[str]) -> str:
    children = [await workflow.start_child(greets_in, each, id=each) for each in languages]
    done, losers = await asyncio.wait(children, return_when=asyncio.FIRST_COMPLETED)
    for loser in losers:
        loser.cancel("too slow")
    await asyncio.wait(losers)
    return done.pop().result()


def test_nexus_cancel() -> None:
    """nexus_cancel: 19 lines, theirs 174. The first child wins, the others are cancelled."""

    async def main() -> None:
        async with Environment([races, greets_in]) as env:
            assert await env.run(races, ["en", "fr", "de"]) == "greeting in fr"
            assert (await env.handle("de").describe()).cancel_reason == "too slow"
            assert (await env.handle("en").describe()).status == "cancelled"

    asyncio.run(main())
