"""Failures of activities in workflow code, and what is too large to be asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import PayloadTooLarge, activity, workflow
from processor.config import Settings
from processor.core.data.failure import Failure
from processor.core.nouns.activity import ActivityScheduled
from processor.core.nouns.external import EventRejected
from processor.core.nouns.run import WorkflowCompleted, WorkflowFailed
from processor.core.nouns.value import StatusSet
from processor.errors import SchemaMismatch
from tests.workflow.driver import World


@activity.define
async def step(value: Any = None) -> int:
    raise NotImplementedError


# --- activity failures -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (
            Failure("application", "Refused", "no", b"[1]", retryable=False),
            ["ApplicationError", "no", "Refused", [1], False],
        ),
        (Failure("exception", "KeyError", "'x'"), ["ActivityFailed", "KeyError: 'x'", "KeyError"]),
        (
            Failure("activity_timed_out", "T", "late", b'"half"', timeout_kind="heartbeat"),
            ["ActivityTimedOut", "late", "heartbeat", "half"],
        ),
        (Failure("activity_cancelled", "C", "stopped"), ["ActivityCancelled", "stopped"]),
        (Failure("cancelled", "C", "stopped"), ["ActivityCancelled", "stopped"]),
        (Failure("payload_too_large", "P", "big"), ["PayloadTooLarge", "big"]),
        (Failure("schema_mismatch", "S", "odd"), ["SchemaMismatch", "odd"]),
    ],
    ids=lambda value: value.kind if isinstance(value, Failure) else "",
)
def test_a_failed_activity_raises(failure: Failure, expected: list[Any]) -> None:
    seen = []

    @workflow.define
    async def catches() -> list[Any]:
        try:
            await step()
        except Exception as error:
            names = ("type", "kind", "details", "retryable")
            rest = [getattr(error, name) for name in names if hasattr(error, name)]
            seen.append((getattr(error, "activity", "step"), getattr(error, "attempts", 1)))
            return [type(error).__name__, str(error), *rest]
        return []

    world = World(catches)
    world.start()
    assert world.result(world.fail(1, failure)) == expected
    assert seen == [("step", 1)]


def test_a_failure_travels_through_two_workflows_worth_of_layers() -> None:
    @workflow.define
    async def lets_through() -> None:
        await step()

    world = World(lets_through)
    world.start()
    cause = Failure("exception", "OSError", "disk", traceback="Traceback ...\nOSError: disk")
    (end,) = world.fail(1, Failure("exception", "KeyError", "'x'", cause=cause))
    assert isinstance(end, WorkflowFailed)
    failure = end.failure
    assert (failure.kind, failure.type, failure.activity) == ("activity_failed", "KeyError", "step")
    assert failure.message == "KeyError: 'x'"
    assert failure.cause is not None
    assert (failure.cause.type, failure.cause.message) == ("OSError", "disk")


def test_a_result_that_does_not_fit_raises_in_the_workflow() -> None:
    @workflow.define
    async def catches() -> str:
        try:
            await step()
        except SchemaMismatch as error:
            return str(error)
        return ""

    world = World(catches)
    world.start()
    assert "the result of activity 'step'" in world.result(world.complete(1, "text"))


# --- sizes -------------------------------------------------------------------------------------


def test_a_payload_that_is_too_large_raises_at_its_call() -> None:
    @workflow.define
    async def large() -> int:
        caught = 0
        for verb in (workflow.set_status, lambda value: workflow.publish("t", None, value)):
            try:
                verb("x" * 100)
            except PayloadTooLarge:
                caught += 1
        try:
            await step("x" * 100)
        except PayloadTooLarge:
            caught += 1
        return caught

    limited = World(large, settings=Settings(payload_bytes_max=100))
    assert limited.start() == [WorkflowCompleted(b"3")]


def test_a_result_that_is_too_large_fails_the_run() -> None:
    @workflow.define
    async def large() -> str:
        return "x" * 100

    failure = failed_at(World(large, settings=Settings(payload_bytes_max=100)))
    assert failure.kind == "payload_too_large"
    assert failure.message.startswith("the result of workflow 'large': 102 bytes")


def test_the_errors_name_what_the_size_and_the_limit() -> None:
    @workflow.define
    async def large() -> None:
        await step("x" * 100)

    failure = failed_at(World(large, settings=Settings(payload_bytes_max=100)))
    assert failure.message.startswith(
        "the arguments of activity 'step': 104 bytes; the limit is 100 (payload_bytes_max)."
    )


def failed_at(world: World) -> Failure:
    (end,) = world.start()
    assert isinstance(end, WorkflowFailed)
    return end.failure


def test_a_turn_that_asks_for_too_much_raises_at_the_call_that_crosses() -> None:
    @workflow.define
    async def wide() -> str:
        tasks = [asyncio.create_task(step("x" * 100)) for _ in range(10)]
        done = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for each in done[1]:
            each.cancel()
        return str(next(each.exception() for each in done[0]))

    world = World(wide, settings=Settings(turn_bytes_max=1_000))
    end = world.start()
    assert world.result(end).startswith(
        "one turn cannot ask for 5 things of 1,020 bytes together (the last one is activity "
        "'step'): the limit is 1,000 (turn_bytes_max)."
    )


def test_a_lower_limit_parks_no_run_that_asked_for_more_before() -> None:
    """What was let through is let through again, and what was refused is refused again."""

    @workflow.define
    async def large() -> str:
        try:
            workflow.set_status("x" * 700)
        except PayloadTooLarge:
            workflow.set_status("refused")
        await step("x" * 500)
        return "done"

    before = World(large, settings=Settings(payload_bytes_max=600, turn_bytes_max=900))
    before.start()
    (turn,) = before.turns
    (status, _), (asked, _) = turn.asked
    assert status == StatusSet(b'"refused"')
    assert isinstance(asked, ActivityScheduled)
    lowered = World(large, settings=Settings(payload_bytes_max=100, turn_bytes_max=300))
    replayed = lowered.runner.activate(turn.now_ms, turn.number, turn.facts, [status, asked])
    assert replayed == turn.asked
    (end,) = World(large, settings=Settings(payload_bytes_max=100)).start()[1:]
    assert isinstance(end, WorkflowFailed), "a new run has the new limit"


def test_a_lower_limit_parks_no_run_that_has_rejected_a_large_event() -> None:
    @workflow.define
    async def typed() -> int:
        return await workflow.wait_for_event("go", int)

    before = World(typed)
    before.start()
    (rejected,) = before.event("go", "x" * 500)
    assert isinstance(rejected, EventRejected)
    lowered = World(typed, settings=Settings(turn_bytes_max=300))
    lowered.start()
    turn = before.turns[1]
    replayed = lowered.runner.activate(turn.now_ms, turn.number, turn.facts, [rejected])
    assert replayed == turn.asked
