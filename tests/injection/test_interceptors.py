"""Interceptors have every call, in their order, and headers travel along."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextvars import ContextVar
from typing import Any

import pytest

from processor import (
    ActivityFailed,
    ApplicationError,
    CommandRejected,
    Interceptor,
    InvalidArgument,
    RetryPolicy,
    Settings,
    WorkflowFailed,
    WorkflowNotFound,
    WorkflowParked,
    activity,
    workflow,
)
from processor.core.nouns.activity import ActivityScheduled
from processor.injection.interceptors import (
    ActivityCall,
    ActivityRun,
    ChildCall,
    ClientCall,
    Injected,
    Signal,
    WorkflowRun,
)
from processor.testing import Environment
from processor.workflow._engine.decisions import _payload_bytes

TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


@activity.define
async def who(name: str) -> str:
    return f"{name} for {TENANT.get()}"


@activity.define
def who_plain(name: str) -> str:
    return f"{name} for {TENANT.get()}"


@workflow.define
async def asks(name: str) -> list[str]:
    told = [await who(name), await who_plain(name)]
    await workflow.signal("listener", "heard", told)
    return told


@workflow.define
async def listens() -> Any:
    return await workflow.wait_for_event("heard")


class Tenants(Interceptor):
    """Carries who asks from the client to all activities."""

    async def request(self, call: ClientCall, next: Any) -> None:
        call.headers["tenant"] = TENANT.get().encode()
        await next(call)

    async def run_workflow(self, run: WorkflowRun, next: Any) -> Any:
        TENANT.set(run.info.headers["tenant"].decode())
        return await next(run)

    async def call_activity(self, call: ActivityCall, next: Any) -> Any:
        call.headers["tenant"] = TENANT.get().encode()
        return await next(call)

    async def call_child(self, call: ChildCall, next: Any) -> Any:
        call.headers["tenant"] = TENANT.get().encode()
        if call.starts:
            call.arguments = ("them",)
        return await next(call)

    def signal(self, signal: Signal, next: Any) -> Any:
        signal.headers["tenant"] = TENANT.get().encode()
        return next(signal)

    async def run_activity(self, attempt: ActivityRun, next: Any) -> Any:
        TENANT.set(attempt.info.headers["tenant"].decode())
        return await next(attempt)


@pytest.mark.parametrize("max_cached_runs", [0, 100])
def test_a_context_travels_from_a_client_to_activities_and_other_runs(
    max_cached_runs: int,
) -> None:
    async def main() -> None:
        env = Environment(
            [asks, listens],
            [who, who_plain],
            interceptors=[Tenants()],
            max_cached_runs=max_cached_runs,
        )
        async with env:
            TENANT.set("Ada")
            listener = await env.start(listens, id="listener")
            TENANT.set("Grace")
            handle = await env.start(asks, "it", id="asks")
            assert await handle.result() == ["it for Grace", "it for Grace"]
            assert await listener.result() == ["it for Grace", "it for Grace"]
            heads = {e.type: e.fields.get("headers") for e in await listener.history()}
            assert heads["WorkflowStarted"] == {"tenant": "Ada"}
            assert heads["EventReceived"] == {"tenant": "Grace"}
            heads = {e.type: e.fields.get("headers") for e in await handle.history()}
            assert heads["WorkflowStarted"] == heads["ActivityScheduled"] == {"tenant": "Grace"}

    asyncio.run(main())


@workflow.define
async def tells_who(name: str) -> str:
    return await who(name)


@workflow.define
async def asks_children() -> list[str]:
    child = await workflow.start_child(tells_who, "it")
    return [await workflow.call_child(tells_who, "it"), await child]


@pytest.mark.parametrize("max_cached_runs", [0, 100])
def test_a_context_travels_to_children(max_cached_runs: int) -> None:
    async def main() -> None:
        env = Environment(
            [asks_children, tells_who],
            [who],
            interceptors=[Tenants()],
            max_cached_runs=max_cached_runs,
        )
        async with env:
            TENANT.set("Grace")
            assert await env.run(asks_children) == ["it for Grace", "them for Grace"]

    asyncio.run(main())


class Notes(Interceptor):
    """Notes what it has, in its own words."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    def note(self, text: str) -> None:
        self.notes.append(f"{self.name} {text}")

    async def request(self, call: ClientCall, next: Any) -> None:
        self.note(f"request {call.operation} {call.workflow_id} {call.name}".rstrip())
        await next(call)

    async def run_workflow(self, run: WorkflowRun, next: Any) -> Any:
        if not run.replaying:
            self.note(f"run {run.info.workflow} {run.arguments}")
        result = await next(run)
        if not run.replaying:
            self.note(f"ran {result}")
        return result

    async def call_activity(self, call: ActivityCall, next: Any) -> Any:
        if not call.replaying:
            self.note(f"call {call.name} {call.arguments}")
        return await next(call)

    async def run_activity(self, attempt: ActivityRun, next: Any) -> Any:
        self.note(f"attempt {attempt.info.name} {attempt.info.attempt} {attempt.arguments}")
        try:
            return await next(attempt)
        except Exception as error:
            self.note(f"error {error!r}")
            raise


@workflow.define
async def doubles(number: int) -> int:
    return await double(number)


@activity.define
def double(number: int) -> int:
    if activity.info().attempt == 1:
        raise ZeroDivisionError("at first")
    return number * 2


@pytest.mark.parametrize("max_cached_runs", [0, 100])
def test_the_first_one_is_the_outermost(max_cached_runs: int) -> None:
    async def main() -> None:
        notes: list[str] = []
        both = [Notes("a", notes), Notes("b", notes)]
        env = Environment([doubles], [double], interceptors=both, max_cached_runs=max_cached_runs)
        async with env:
            assert await env.run(doubles, 4, id="run") == 8
            await env.handle("run").history()
        assert [each for each in notes if "request" not in each] == [
            "a run doubles (4,)",
            "b run doubles (4,)",
            "a call double (4,)",
            "b call double (4,)",
            "a attempt double 1 (4,)",
            "b attempt double 1 (4,)",
            "b error ZeroDivisionError('at first')",
            "a error ZeroDivisionError('at first')",
            "a attempt double 2 (4,)",
            "b attempt double 2 (4,)",
            "b ran 8",
            "a ran 8",
        ]
        asked = Counter(each[2:] for each in notes if "request" in each)
        assert asked["request start run doubles"] == 2
        assert asked["request result run"] >= 2
        assert asked["request history run"] == 2

    asyncio.run(main())


class Changes(Interceptor):
    """Gives other arguments, and other results."""

    async def run_workflow(self, run: WorkflowRun, next: Any) -> Any:
        run.arguments = (run.arguments[0] + 1,)
        return await next(run) + 100

    async def call_activity(self, call: ActivityCall, next: Any) -> Any:
        call.arguments = (call.arguments[0] * 10,)
        return await next(call)

    async def run_activity(self, attempt: ActivityRun, next: Any) -> Any:
        attempt.arguments = (attempt.arguments[0] + 1,)
        return await next(attempt)


def test_arguments_and_results_can_be_changed() -> None:
    async def main() -> None:
        env = Environment([doubles], [double], interceptors=[Changes()], max_cached_runs=0)
        async with env:
            assert await env.run(doubles, 4) == (5 * 10 + 1) * 2 + 100

    asyncio.run(main())


class Guards(Interceptor):
    """Lets only those in who may."""

    async def request(self, call: ClientCall, next: Any) -> None:
        if call.operation == "terminate":
            raise PermissionError("nobody terminates")
        await next(call)

    async def run_activity(self, attempt: ActivityRun, next: Any) -> Any:
        raise ApplicationError("not here", retryable=False)


def test_an_interceptor_refuses() -> None:
    async def main() -> None:
        async with Environment([doubles], [double], interceptors=[Guards()]) as env:
            handle = await env.start(doubles, 4, id="run")
            with pytest.raises(PermissionError, match="nobody terminates"):
                await handle.terminate()
            with pytest.raises(WorkflowFailed, match="not here"):
                await handle.result()
            with pytest.raises(WorkflowNotFound):
                await env.handle("nobody").cancel()

    asyncio.run(main())


class Seen(Interceptor):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def request(self, call: ClientCall, next: Any) -> None:
        try:
            await next(call)
        except Exception as error:
            self.seen.append(f"{call.operation}: {type(error).__name__}")
            raise


def test_an_interceptor_hears_what_a_shard_refuses() -> None:
    async def main() -> None:
        seen = Seen()
        async with Environment([doubles], [double], interceptors=[seen]) as env:
            assert await env.run(doubles, 4, id="run") == 8
            with pytest.raises(CommandRejected):
                await env.handle("run").raise_event("late")
            with pytest.raises(WorkflowNotFound):
                await env.handle("nobody").describe()
        assert seen.seen == ["event: CommandRejected", "describe: WorkflowNotFound"]

    asyncio.run(main())


class Forgets(Interceptor):
    async def request(self, call: ClientCall, next: Any) -> None:
        """Forgets ``next``."""


def test_who_forgets_next_is_told() -> None:
    async def main() -> None:
        async with Environment([doubles], [double], interceptors=[Forgets()]) as env:
            with pytest.raises(InvalidArgument, match="start of 'run': an interceptor returned"):
                await env.start(doubles, 4, id="run")

    asyncio.run(main())


class Headers(Interceptor):
    def __init__(self, headers: Any) -> None:
        self.headers = headers

    async def request(self, call: ClientCall, next: Any) -> None:
        call.headers.update(self.headers)
        await next(call)

    async def call_activity(self, call: ActivityCall, next: Any) -> Any:
        call.headers.update(self.headers)
        return await next(call)


@pytest.mark.parametrize("headers", [{"": b""}, {"a": "text"}, {1: b""}, {"a": None}])
def test_headers_are_bytes_by_name(headers: Any) -> None:
    async def main() -> None:
        async with Environment([doubles], [double], interceptors=[Headers(headers)]) as env:
            with pytest.raises(InvalidArgument, match=r"interceptor: header .*: give a name"):
                await env.start(doubles, 4)

    asyncio.run(main())


def test_headers_count_in_a_turn() -> None:
    """What is more than a record takes is refused where it is asked for, at replay as well."""

    @workflow.define
    async def many() -> str:
        try:
            await asyncio.gather(*(who(str(each)) for each in range(10)))
        except Exception as error:
            await asyncio.sleep(1)
            return type(error).__name__
        return "took all"

    class Large(Interceptor):
        async def call_activity(self, call: ActivityCall, next: Any) -> Any:
            call.headers["large"] = b"x" * 200_000
            return await next(call)

    async def main() -> None:
        settings = Settings(turn_bytes_max=1_000_000)
        env = Environment(
            [many], [who], interceptors=[Large()], settings=settings, max_cached_runs=0
        )
        async with env:
            assert await env.run(many) == "PayloadTooLarge"

    asyncio.run(main())
    asked = ActivityScheduled(1, "who", b"12", False, headers=(("large", b"345"),))
    assert _payload_bytes(asked) == len("12large345"), "what a lower limit lets pass at replay"


class Bugs(Interceptor):
    async def run_workflow(self, run: WorkflowRun, next: Any) -> Any:
        raise ZeroDivisionError("in the interceptor")


def test_a_bug_in_an_interceptor_of_workflows_parks_the_run() -> None:
    async def main() -> None:
        async with Environment([doubles], [double], interceptors=[Bugs()]) as env:
            with pytest.raises(WorkflowParked, match=r"in the interceptor at .*test_interceptors"):
                await env.run(doubles, 4)

    asyncio.run(main())


@activity.define(retry=RetryPolicy(maximum_attempts=1))
def stops() -> None:
    raise StopIteration


@workflow.define
async def calls_stops() -> str:
    try:
        await stops()
    except ActivityFailed as error:
        return error.type
    return "nothing"


def test_what_no_coroutine_can_raise_stays_what_it_is() -> None:
    async def main() -> None:
        notes = Notes("a", [])
        async with Environment([calls_stops], [stops], interceptors=[notes]) as env:
            assert await env.run(calls_stops) == "StopIteration"

    asyncio.run(main())


def test_where_a_run_waits_is_told_through_an_interceptor() -> None:
    async def main() -> None:
        async with Environment([listens], interceptors=[Tenants()]) as env:
            handle = await env.start(listens)
            (waiting,) = (await handle.describe()).pending["waiting"]
            assert waiting.endswith(" listens, event 'heard'")

    asyncio.run(main())


@pytest.mark.parametrize("given", ["text", [Tenants], [len]])
def test_what_is_no_interceptor_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgument, match="Environment: interceptors: give a list such as"):
        Environment(interceptors=given)


def test_what_is_not_overridden_is_not_called() -> None:
    injected = Injected(Environment()._calls.payloads, (Guards(), Forgets()))
    assert len(injected.around("request")) == 2
    assert len(injected.around("run_activity")) == 1
    assert injected.around("run_workflow") == injected.around("signal") == ()
