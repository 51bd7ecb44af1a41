"""The runner: how a run ends, is cancelled, parked, dropped, and what one turn may ask for."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import pytest

from processor import ApplicationError, activity, workflow
from processor.config import Settings
from processor.core.data.address import Address
from processor.core.data.failure import Failure
from processor.core.data.options import ActivityOptions
from processor.core.nouns.activity import ActivityCancelled, ActivityCompleted, ActivityScheduled
from processor.core.nouns.call import MessageSent
from processor.core.nouns.external import EventReceived
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import (
    WorkflowCancelled,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from processor.core.nouns.timer import TimerCancelled, TimerFired
from processor.core.nouns.value import StatusSet
from processor.core.runner import CodeError
from processor.errors import NonDeterminismError, SchemaMismatch, WorkflowNotRegistered
from processor.injection.interceptors import Injected
from processor.registry import Registry
from processor.workflow._engine.runners import WorkflowRunners
from tests.workflow.driver import PAYLOADS, SEED, START_MS, World


@activity.define
async def step(value: Any = None) -> int:
    raise NotImplementedError


@activity.define(queue="far", start_to_close=5)
async def far(name: str) -> str:
    raise NotImplementedError


# --- what commands say -------------------------------------------------------------------------


def test_an_activity_call_becomes_a_decision_with_its_line() -> None:
    @workflow.define
    async def calls() -> None:
        await far(name="x")

    world = World(calls)
    (scheduled,) = world.start()
    assert isinstance(scheduled, ActivityScheduled)
    assert (scheduled.id, scheduled.name, scheduled.arguments) == (1, "far", b'["x"]')
    assert scheduled.options == ActivityOptions(queue="far", start_to_close_ms=5_000)
    assert world.lines == [f"{__file__}:{calls.function.__code__.co_firstlineno + 2}"]


def test_activities_are_called_by_name_and_by_object() -> None:
    @workflow.define
    async def calls() -> list[Any]:
        first = workflow.call_activity("elsewhere", 1, result_type=int, queue="java")
        second = workflow.call_activity(far, "x", start_to_close=timedelta(seconds=9))
        return [*await asyncio.gather(first, second)]

    world = World(calls)
    one, two = world.start()
    assert isinstance(one, ActivityScheduled)
    assert isinstance(two, ActivityScheduled)
    assert (one.name, one.arguments) == ("elsewhere", b"[1]")
    assert one.options == ActivityOptions(queue="java")
    assert two.options == ActivityOptions(queue="far", start_to_close_ms=9_000)
    world.complete(1, 5)
    assert world.result(world.complete(2, "done")) == [5, "done"]


def test_sync_verbs_become_decisions() -> None:
    @workflow.define
    async def verbs() -> None:
        workflow.publish("records", "key", b"raw")
        workflow.publish("records", None, {"a": 1})
        workflow.signal("other", "hello", [1])
        workflow.cancel("other", "enough")
        workflow.set_status("half way")

    world = World(verbs)
    assert world.start() == [
        RecordPublished("records", b"key", b"raw"),
        RecordPublished("records", None, b'{"a":1}'),
        MessageSent(Address(None, "other"), "event", "hello", "", b"[1]"),
        MessageSent(Address(None, "other"), "cancel", "", "enough", None),
        StatusSet(b'"half way"'),
        WorkflowCompleted(None),
    ]
    first = verbs.function.__code__.co_firstlineno + 2
    assert world.lines == [*(f"{__file__}:{first + n}" for n in range(5)), ""]


def test_time_identity_and_randomness() -> None:
    @workflow.define
    async def looks() -> list[str]:
        info, begun = workflow.info(), workflow.now()
        await asyncio.sleep(1.5)
        assert workflow.in_workflow()
        assert asyncio.get_running_loop().time() == 60 + (workflow.now() - begun).total_seconds()
        assert workflow.info() == info
        drawn = [str(workflow.uuid4()), str(workflow.random().randint(1, 10**9))]
        same = str(begun == info.started)
        return [info.workflow_id, info.run_id, info.workflow, same, str(workflow.now()), *drawn]

    world = World(looks)
    found = world.run()
    assert found[:4] == ["order-1", "run-1", "looks", "True"]
    assert found[4] == str(datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(seconds=1.5))
    random = Random(b"workflow" + SEED)
    assert found[5] == str(UUID(int=random.getrandbits(128), version=4))
    assert found[6] == str(random.randint(1, 10**9))
    world.replay()


def test_headers_came_with_the_start() -> None:
    @workflow.define
    async def reads() -> dict[str, str]:
        return {name: value.decode() for name, value in workflow.info().headers.items()}

    world = World(reads)
    headers = (("trace", b"abc"), ("tenant", b"7"))
    started = replace(world.started, headers=headers)
    runners = WorkflowRunners(Registry([reads], [], Injected(PAYLOADS)))
    runner = runners.start("w", "r", started, START_MS)
    [(end, _)] = runner.activate(START_MS, 0, [started], None)
    assert world.result([end]) == {"trace": "abc", "tenant": "7"}
    assert world.run() == {}


def test_a_run_that_was_begun_with_a_flag_of_a_later_release_waits_for_that() -> None:
    @workflow.define
    async def flagged() -> None: ...

    world = World(flagged)
    started = replace(world.started, flags=("awaits-signals", "guards-more"))
    runners = WorkflowRunners(Registry([flagged], [], Injected(PAYLOADS)))
    with pytest.raises(WorkflowNotRegistered, match="awaits-signals, guards-more, which this"):
        runners.start("w", "r", started, START_MS)


def test_time_never_goes_back() -> None:
    @workflow.define
    async def looks() -> str:
        begun = workflow.now()
        await workflow.wait_for_event("go")
        return str(workflow.now() - begun)

    world = World(looks)
    world.start()
    assert world.result(world.event("go", 1, after_ms=-5_000)) == "0:00:00"


# --- timers and cancellation -------------------------------------------------------------------


def test_a_timer_that_is_cancelled_within_its_turn_was_never_started() -> None:
    @workflow.define
    async def hasty() -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        await step()

    (only,) = World(hasty).start()
    assert isinstance(only, ActivityScheduled)


def test_an_activity_that_is_cancelled_within_its_turn_was_never_scheduled() -> None:
    @workflow.define
    async def hasty() -> None:
        task = asyncio.create_task(step())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await far("x")

    (only,) = World(hasty).start()
    assert isinstance(only, ActivityScheduled)
    assert (only.id, only.name) == (2, "far")


def test_cancelling_an_activity_later_gives_a_command_and_ignores_its_result() -> None:
    @workflow.define
    async def gives_up() -> str:
        try:
            await asyncio.wait_for(step(), 5)
        except TimeoutError:
            await workflow.wait_for_event("go")
            return "gave up"
        return ""

    world = World(gives_up)
    world.start()
    (timer,) = world.timers
    (cancelled,) = world.fire(timer)
    assert isinstance(cancelled, ActivityCancelled)
    assert "test_runner.py" in world.lines[0]
    late = ActivityCompleted(cancelled.id, 1, b"1")
    assert world.runner.activate(world.now_ms, world.number, [late], None) == []
    assert world.result(world.event("go", 1)) == "gave up"


def test_what_has_arrived_in_the_same_turn_is_not_cancelled_any_more() -> None:
    """After a run was parked, a turn has several facts; the log holds the timer's end already."""

    @workflow.define
    async def both() -> int:
        async with asyncio.timeout(5):
            return await step()

    world = World(both)
    world.start()
    result, fired = ActivityCompleted(2, 1, b"9"), TimerFired(1)
    assert world.feed(result, fired) == [WorkflowCompleted(b"9")]
    world.replay()


def test_a_cancellation_ends_the_run() -> None:
    @workflow.define
    async def waits() -> None:
        await step()

    world = World(waits)
    world.start()
    given_up, end = world.cancel("closing")
    assert isinstance(given_up, ActivityCancelled)
    assert end == WorkflowCancelled("closing")
    world.replay()


def test_a_cancellation_is_raised_once_with_its_reason_and_may_be_cleaned_up_after() -> None:
    @workflow.define
    async def cleans_up() -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError as error:
            await step(str(error))
            return "cleaned up"
        return ""

    world = World(cleans_up)
    world.start()
    cancelled, clean_up = world.cancel("closing")
    assert isinstance(cancelled, TimerCancelled)
    assert isinstance(clean_up, ActivityScheduled)
    assert clean_up.arguments == b'["closing"]'
    assert world.cancel("again") == []
    assert world.result(world.complete(2, 1)) == "cleaned up"
    world.replay()


def test_a_cancellation_without_a_request_is_a_bug() -> None:
    @workflow.define
    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    with pytest.raises(CodeError, match="nobody asked for that") as caught:
        World(cancels_itself).start()
    assert caught.value.kind == "bug"
    assert "await asyncio.sleep(1)" in caught.value.where


# --- ends --------------------------------------------------------------------------------------


def failed(world: World) -> Failure:
    *_, end = world.start()
    assert isinstance(end, WorkflowFailed)
    assert "test_runner.py:" in world.lines[-1]
    return end.failure


def test_an_error_of_ours_fails_the_run_with_its_causes() -> None:
    @workflow.define
    async def refuses() -> None:
        try:
            raise KeyError("x")
        except KeyError as error:
            raise ApplicationError("no", type="Refused", details=[1]) from error

    failure = failed(World(refuses))
    assert (failure.kind, failure.type, failure.message) == ("application", "Refused", "no")
    assert failure.details == b"[1]"
    assert failure.traceback is not None
    assert "raise ApplicationError" in failure.traceback
    assert "/processor/" not in failure.traceback.replace(__file__, "")
    assert failure.cause is not None
    assert (failure.cause.kind, failure.cause.type) == ("exception", "KeyError")


def test_declared_types_and_groups_of_failures_fail_the_run() -> None:
    @workflow.define(failure_exception_types=(LookupError,))
    async def declared() -> None:
        raise KeyError("x")

    @workflow.define(failure_exception_types=(LookupError,))
    async def grouped() -> None:
        async def refuse(error: Exception) -> None:
            raise error

        async with asyncio.TaskGroup() as group:
            group.create_task(refuse(ApplicationError("one")))
            group.create_task(refuse(KeyError("two")))

    assert (failed(World(declared)).kind, failed(World(declared)).type) == ("exception", "KeyError")
    failure = failed(World(grouped))
    assert failure.type == "ExceptionGroup"
    assert "ApplicationError: one; KeyError: 'two'" in failure.message
    assert failure.cause is not None
    assert failure.cause.type == "ApplicationError"


def test_any_other_error_is_a_bug_that_names_its_line() -> None:
    @workflow.define
    async def divides() -> float:
        await step()
        return 1 / 0

    world = World(divides)
    world.start()
    with pytest.raises(CodeError) as caught:
        world.complete(1, 1)
    error = caught.value
    assert (error.kind, error.error) == ("bug", "ZeroDivisionError: division by zero")
    line = divides.function.__code__.co_firstlineno + 3
    assert error.where == f"{__file__}:{line}: return 1 / 0"
    assert "return 1 / 0" in error.traceback
    assert "workflow/_run" not in error.traceback
    with pytest.raises(RuntimeError, match="is over"):
        world.runner.activate(world.now_ms, world.number, [], None)


def test_leaving_the_process_is_a_bug_too() -> None:
    @workflow.define
    async def leaves() -> None:
        sys.exit(3)

    with pytest.raises(CodeError, match="SystemExit: 3"):
        World(leaves).start()


def test_a_keyboard_interrupt_of_the_code_is_a_bug_too() -> None:
    @workflow.define
    async def interrupts() -> None:
        raise KeyboardInterrupt("of the code")

    @workflow.define
    async def interrupts_in_a_task() -> None:
        async def inner() -> None:
            raise KeyboardInterrupt("of the code")

        await asyncio.gather(inner(), asyncio.sleep(1))

    for code in (interrupts, interrupts_in_a_task):
        with pytest.raises(CodeError, match="KeyboardInterrupt: of the code"):
            World(code).start()


UNGUARDED = Settings(guard=False)
"""The guard refuses signals; here one comes as from the keyboard."""


@pytest.mark.parametrize("how", ["default", "asyncio", "own", "own, partial"])
def test_an_interrupt_of_the_keyboard_ends_more_than_the_run(how: str) -> None:
    def own(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    @workflow.define
    async def works() -> None:
        signal.raise_signal(signal.SIGINT)
        for _ in range(1_000):
            pass

    handlers: dict[str, Any] = {"own": own, "own, partial": partial(own)}
    before = signal.signal(signal.SIGINT, handlers.get(how, signal.default_int_handler))
    try:
        if how == "asyncio":
            with asyncio.Runner() as runner, pytest.raises(KeyboardInterrupt):
                runner.run(_twice(works))
        else:
            with pytest.raises(KeyboardInterrupt):
                World(works, settings=UNGUARDED).start()
    finally:
        signal.signal(signal.SIGINT, before)


async def _twice(code: workflow.Workflow[[], None]) -> None:
    """asyncio takes the first one as a wish to cancel."""
    for _ in range(2):
        World(code, settings=UNGUARDED).start()


@pytest.mark.parametrize("breaks", ["a call that is refused", "a side effect that raises"])
def test_nothing_more_of_the_code_runs_once_it_is_to_be_parked(breaks: str) -> None:
    seen = []

    @workflow.define
    async def goes_on() -> None:
        try:
            await workflow.wait_for_event("go")
            if breaks == "a call that is refused":
                asyncio.get_running_loop().run_in_executor(None, print)
            workflow.side_effect(lambda: 1 // 0)
        except (NonDeterminismError, ZeroDivisionError):
            pass
        await workflow.wait_for_event("go")
        seen.append("the next fact")

    world = World(goes_on)
    world.start()
    go = EventReceived("go", None)
    with pytest.raises(CodeError, match=r"run_in_executor|ZeroDivisionError"):
        world.feed(go, go)
    assert seen == []


def test_groups_in_groups_are_looked_through_in_no_time() -> None:
    """Each path through shared groups would be two to the power of their levels."""

    @workflow.define
    async def fails() -> None:
        raise shared_group(ApplicationError("in it"))

    @workflow.define
    async def breaks() -> None:
        raise shared_group(ValueError("in it"))

    def shared_group(inner: Exception) -> Exception:
        for _ in range(60):
            inner = ExceptionGroup("two", [inner, inner])
        return inner

    assert failed(World(fails)).type == "ExceptionGroup"
    with pytest.raises(CodeError, match="ExceptionGroup: two"):
        World(breaks).start()


def test_after_the_end_nothing_is_asked_for() -> None:
    @workflow.define
    async def ends() -> str:
        async def more() -> None:
            await asyncio.sleep(0)
            await step()

        tasks = [asyncio.create_task(more()) for _ in range(3)]
        await asyncio.sleep(0)
        return f"{len(tasks)}"

    world = World(ends)
    assert world.start() == [WorkflowCompleted(b'"3"')]
    assert world.runner.waiting() == []


def test_unknown_workflows_and_wrong_arguments_are_refused_at_the_start() -> None:
    @workflow.define
    async def typed(number: int, text: str = "") -> None: ...

    runners = WorkflowRunners(Registry([typed], [], Injected(PAYLOADS)))
    with pytest.raises(WorkflowNotRegistered, match=r"'other' is not registered.*it has: typed"):
        runners.start("w", "r", WorkflowStarted("other", b"[]", SEED), START_MS)
    for arguments, message in (
        (None, "takes 1 to 2 arguments; the payload has 0"),
        (b"[]", "takes 1 to 2 arguments; the payload has 0"),
        (b'["x"]', "Expected `int`, got `str`"),
        (b"{}", "have to be a list"),
        (b"null", "have to be a list"),
        (b"", "have to be a list"),
    ):
        with pytest.raises(SchemaMismatch, match=message):
            runners.start("w", "r", WorkflowStarted("typed", arguments, SEED), START_MS)
