"""Activities: how attempts end, what follows them, and what the workflow hears."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest

from processor import (
    ActivityFailed,
    ActivityTimedOut,
    ApplicationError,
    Client,
    RetryPolicy,
    SchemaMismatch,
    WorkflowCancelled,
    WorkflowFailed,
    activity,
    workflow,
)

from .passing import SLOTS, kinds_of, until

SOON = RetryPolicy(initial_interval=0.005, coefficient=1)
THRICE = RetryPolicy(initial_interval=0.005, coefficient=1, maximum_attempts=3)
ONCE = RetryPolicy(maximum_attempts=1)

HEARD: dict[str, list[Any]] = defaultdict(list)
"""What attempts did, by the id of their run."""


def hear(what: Any) -> int:
    """Note what an attempt does; return which attempt it is."""
    info = activity.info()
    HEARD[info.workflow_id].append(what)
    return info.attempt


class Missing(ApplicationError):
    pass


class LongGone(Missing):
    pass


@dataclass
class Parcel:
    to: str
    weight: float = 1.0


@activity.define(retry=SOON)
async def third_time(how: str) -> str:
    attempt = hear("attempt")
    if attempt < 3:
        raise KeyError(how) if how == "foreign" else ApplicationError(how)
    return f"attempt {attempt}"


@activity.define(retry=THRICE)
async def fails(how: str) -> None:
    hear(how)
    match how:
        case "missing":
            raise Missing("it is not there", details=[1, 2])
        case "long gone":
            raise LongGone("it was there")
        case "for good":
            raise ApplicationError("for good", type="Good", retryable=False)
        case "exit":
            raise SystemExit(3)
        case "cancelled":
            raise asyncio.CancelledError("nobody asked")
        case "chained":
            try:
                raise ValueError("the cause")
            except ValueError as error:
                raise Missing("chained") from error
    raise ApplicationError(how)


@activity.define(retry=RetryPolicy(initial_interval=3_600))
async def says_when() -> str:
    if hear("attempt") == 1:
        raise ApplicationError("soon", next_delay=0.01)
    return "came soon"


@activity.define(retry=SOON, start_to_close=0.05)
async def is_slow_at_first() -> str:
    if hear("attempt") < 3:
        await asyncio.sleep(3_600)
    return "in time"


@activity.define(heartbeat=0.1, retry=SOON)
async def resumes() -> list[Any]:
    """Its first attempt stops to beat, its second one fails right after a beat."""
    before = activity.heartbeat_details(int)
    attempt = hear(before)
    if attempt < 3:
        activity.heartbeat(attempt * 10)
    if attempt == 1:
        await asyncio.sleep(3_600)
    if attempt == 2:
        raise ApplicationError("after a beat")
    return [attempt, before]


@activity.define(heartbeat=0.1, retry=ONCE)
async def stops_to_beat() -> None:
    activity.heartbeat({"row": 7})
    await asyncio.sleep(3_600)


@activity.define(retry=SOON)
async def never_succeeds() -> None:
    hear("attempt")
    raise ApplicationError("again")


@activity.define(retry=ONCE)
async def tells() -> list[Any]:
    info = activity.info()
    return [info.workflow_id, info.run_id, info.attempt, info.name, info.idempotency_key, info.id]


@activity.define
def sends(parcel: Parcel, times: int = 1) -> list[Parcel]:
    return [parcel] * times


@activity.define(retry=ONCE)
async def cleans_up() -> str:
    try:
        await asyncio.sleep(3_600)
    except asyncio.CancelledError:
        hear("cancelled")
        raise
    return "never"


@activity.define(retry=ONCE)
async def finishes() -> str:
    try:
        await asyncio.sleep(3_600)
    except asyncio.CancelledError:
        return "a half"
    return "never"


@activity.define
def in_a_thread() -> str:
    hear("begun")
    while not activity.is_cancelled():
        time.sleep(0.005)
    hear("cancelled")
    return "a half"


@activity.define
async def quick(value: Any, seconds: float = 0) -> Any:
    await asyncio.sleep(seconds)
    return value


@activity.define(eager=False, retry=THRICE)
async def far(value: str) -> str:
    hear("attempt")
    if value == "fail":
        raise ApplicationError("far away")
    return f"far {value}"


@activity.define(retry=SOON)
async def left_open() -> str:
    HEARD[activity.info().workflow_id].append(activity.info().task_token)
    raise activity.CompleteAsync


@workflow.define
async def calls(name: str, *args: Any) -> Any:
    defined: Any = globals()[name]
    return await defined(*args)


async def cause_of(client: Client, id: str, name: str, *args: Any) -> BaseException | None:
    """Run a workflow whose activity fails; return the error that it failed with."""
    with pytest.raises(WorkflowFailed) as failed:
        await client.run(calls, name, *args, id=id)
    return failed.value.__cause__


# --- attempts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["foreign", "own"])
async def test_attempts_that_fail_are_followed_and_leave_no_history(
    client: Client, id: str, how: str
) -> None:
    handle = await client.start(calls, "third_time", how, id=id)
    assert await handle.result() == "attempt 3"
    assert await kinds_of(handle) == [
        *("WorkflowStarted", "ActivityScheduled", "ActivityCompleted", "WorkflowCompleted"),
    ]


@pytest.mark.parametrize(
    ("how", "attempts", "kind", "text"),
    [
        ("missing", 3, "Missing", "it is not there"),
        ("for good", 1, "Good", "for good"),
        ("chained", 3, "Missing", "chained"),
        ("exit", 3, "SystemExit", "3"),
        ("cancelled", 3, "CancelledError", "nobody asked"),
    ],
)
async def test_the_last_attempt_is_the_error_of_the_activity(
    client: Client, id: str, how: str, attempts: int, kind: str, text: str
) -> None:
    error = await cause_of(client, id, "fails", how)
    assert error is not None and text in str(error)
    assert len(HEARD[id]) == attempts
    if isinstance(error, ApplicationError):
        assert error.type == kind
        assert error.details == ([1, 2] if how == "missing" else None)
        assert (error.__cause__ is not None) is (how == "chained")
    else:
        assert isinstance(error, ActivityFailed) and kind in str(error)


@workflow.define
async def chooses(types: list[str], how: str) -> str:
    kinds = {"Missing": Missing, "LongGone": LongGone}
    final = [kinds.get(each, each) for each in types]
    policy = RetryPolicy(0.005, coefficient=1, maximum_attempts=3, non_retryable=final)
    try:
        await fails.options(retry=policy)(how)
    except ApplicationError as error:
        return error.type
    return "none"


@pytest.mark.parametrize(
    ("types", "how", "attempts"),
    [
        (["Missing"], "missing", 1),
        (["Missing"], "long gone", 1),
        (["LongGone"], "missing", 3),
        (["Other", "Good"], "missing", 3),
    ],
)
async def test_types_that_are_not_tried_again(
    client: Client, id: str, types: list[str], how: str, attempts: int
) -> None:
    assert await client.run(chooses, types, how, id=id) in ("Missing", "LongGone")
    assert HEARD[id] == [how] * attempts


async def test_an_error_says_when_the_next_attempt_begins(client: Client, id: str) -> None:
    assert await client.run(calls, "says_when", id=id, timeout=10) == "came soon"
    assert len(HEARD[id]) == 2


# --- time-outs ----------------------------------------------------------------------------------


async def test_an_attempt_that_is_too_slow_is_followed(client: Client, id: str) -> None:
    assert await client.run(calls, "is_slow_at_first", id=id) == "in time"
    assert len(HEARD[id]) == 3


async def test_the_next_attempt_has_what_the_last_one_beat(client: Client, id: str) -> None:
    assert await client.run(calls, "resumes", id=id) == [3, 20]
    assert HEARD[id] == [None, 10, 20]


async def test_a_heartbeat_that_does_not_come_is_a_time_out_with_the_details(
    client: Client, id: str
) -> None:
    error = await cause_of(client, id, "stops_to_beat")
    assert isinstance(error, ActivityTimedOut)
    assert (error.kind, error.details) == ("heartbeat", {"row": 7})


@workflow.define
async def in_all(seconds: float) -> str:
    began = workflow.now()
    try:
        await never_succeeds.options(schedule_to_close=seconds)()
    except ApplicationError as error:
        told = error.type
    except ActivityTimedOut as error:
        told = error.kind
    assert (workflow.now() - began).total_seconds() < seconds + 1
    return told


@workflow.define
async def comes_late(how: str) -> list[Any]:
    asked = far.options(schedule_to_start=0.05 if how == "time-out" else None, retry=ONCE)
    async with asyncio.TaskGroup() as group:
        for number in range(SLOTS):
            group.create_task(quick(number, 1.5))
        await asyncio.sleep(0)
        try:
            await asyncio.wait_for(asked("x"), 0.05 if how == "cancelled" else None)
        except ActivityTimedOut as error:
            return [error.kind, error.attempts]
        except TimeoutError:
            return ["cancelled"]
    return []


@pytest.mark.parametrize(
    ("how", "told"), [("time-out", ["schedule_to_start", 1]), ("cancelled", ["cancelled"])]
)
async def test_what_is_over_before_it_has_a_slot_never_begins(
    client: Client, id: str, how: str, told: list[Any]
) -> None:
    assert await client.run(comes_late, how, id=id) == told
    assert await client.run(far_away, id=f"{id}-next"), "there are slots"
    assert not HEARD[id], "its function was never called"


async def test_all_attempts_together_have_a_time_out(client: Client, id: str) -> None:
    told = await client.run(in_all, 0.1, id=id)
    assert told in ("schedule_to_close", "ApplicationError")
    assert len(HEARD[id]) > 1


# --- what goes in and comes out -----------------------------------------------------------------


@workflow.define
async def asks_who() -> list[Any]:
    run = workflow.info()
    found = [await tells(), await tells()]
    assert [each[:2] for each in found] == [[run.workflow_id, run.run_id]] * 2
    return [each[2:] for each in found]


async def test_an_attempt_knows_which_it_is(client: Client, id: str) -> None:
    first, second = await client.run(asks_who, id=id)
    assert first[:2] == second[:2] == [1, "tells"]
    assert first[2] != second[2] and first[3] != second[3], "each call is one of its own"


@workflow.define
async def sends_parcels() -> list[Any]:
    parcel = Parcel("Ada")
    typed = await sends(parcel, 2)
    assert typed == [parcel, parcel]
    plain = await workflow.call_activity("sends", {"to": "Bob", "weight": 2})
    by_name = await workflow.call_activity("sends", parcel, result_type=list[Parcel])
    try:
        await workflow.call_activity("sends", parcel, result_type=int)
    except SchemaMismatch as error:
        wrong = str(error)
    nothing = [await quick(each) for each in (None, False, 0, "", [], {})]
    return [plain, by_name[0].to, "sends" in wrong, nothing]


async def test_values_arrive_as_the_annotations_say(client: Client, id: str) -> None:
    assert await client.run(sends_parcels, id=id) == [
        *([{"to": "Bob", "weight": 2.0}], "Ada", True, [None, False, 0, "", [], {}]),
    ]


@workflow.define
async def many(count: int) -> list[Any]:
    """Results of ``gather`` have the order of the calls, those of ``as_completed`` that of ends."""
    ordered = await asyncio.gather(*(quick(number) for number in range(count)))
    ends = [quick(name, seconds) for name, seconds in (("slow", 0.2), ("quick", 0))]
    return [list(ordered), [await each for each in asyncio.as_completed(ends)]]


async def test_many_at_once_have_their_order(client: Client, id: str) -> None:
    assert await client.run(many, 30, id=id) == [list(range(30)), ["quick", "slow"]]


@workflow.define
async def far_away() -> list[str]:
    found = [await far("x"), await far.options(eager=True)("y")]
    try:
        await far("fail")
    except ApplicationError as error:
        found.append(str(error))
    return found


async def test_a_queue_takes_it_and_brings_it_back(client: Client, id: str) -> None:
    assert await client.run(far_away, id=id) == ["far x", "far y", "far away"]
    assert len(HEARD[id]) == 2 + 3


# --- cancellation, and ends by somebody else ----------------------------------------------------


@workflow.define
async def cancelled(name: str, how: Any) -> str:
    defined: Any = globals()[name]
    try:
        async with asyncio.timeout(0.05):
            return str(await defined.options(cancellation=how)())
    except TimeoutError as error:
        cause = error.__cause__
        assert isinstance(cause, asyncio.CancelledError)
        return f"timed out: {type(cause.__cause__).__name__}"


@pytest.mark.parametrize(
    ("name", "how", "expected"),
    [
        ("cleans_up", "try", "timed out: NoneType"),
        ("cleans_up", "wait", "timed out: ActivityCancelled"),
        ("cleans_up", "abandon", "timed out: NoneType"),
        ("finishes", "wait", "a half"),
        ("in_a_thread", "wait", "a half"),
        ("in_a_thread", "try", "timed out: NoneType"),
    ],
)
async def test_a_time_out_around_an_activity(
    client: Client, id: str, name: str, how: str, expected: str
) -> None:
    assert await client.run(cancelled, name, how, id=id) == expected

    async def was_told() -> bool:
        return "cancelled" in HEARD[id]

    if name != "finishes":
        await until(client, was_told)


@workflow.define
async def races() -> str:
    """The loser is cancelled, and what it comes to is not heard."""
    slow, soon = (asyncio.create_task(each) for each in (cleans_up(), quick("first")))
    done, pending = await asyncio.wait([slow, soon], return_when=asyncio.FIRST_COMPLETED)
    for each in pending:
        each.cancel()
    return f"{[each.result() for each in done]} {len(pending)}"


async def test_the_loser_of_a_race_is_cancelled(client: Client, id: str) -> None:
    handle = await client.start(races, id=id)
    assert await handle.result() == "['first'] 1"
    kinds = await kinds_of(handle)
    assert kinds.count("ActivityCompleted") == 1
    assert kinds[-1] == "WorkflowCompleted"


async def test_a_cancelled_run_stops_its_activity(client: Client, id: str) -> None:
    handle = await client.start(calls, "in_a_thread", id=id)

    async def has_begun() -> bool:
        return bool(HEARD[id])

    await until(client, has_begun)
    await handle.cancel("enough")
    with pytest.raises(WorkflowCancelled, match="enough"):
        await handle.result()

    async def was_told() -> bool:
        return HEARD[id] == ["begun", "cancelled"]

    await until(client, was_told)


async def test_somebody_else_ends_what_is_left_open(client: Client, id: str) -> None:
    handle = await client.start(calls, "left_open", id=id)

    async def is_open() -> bool:
        return any(each["left_open"] for each in (await handle.describe()).pending["activities"])

    await until(client, is_open)
    assert not await client.heartbeat(HEARD[id][0], "beats")
    await client.fail(HEARD[id][0], ApplicationError("not today"))

    async def is_open_again() -> bool:
        return len(HEARD[id]) == 2 and await is_open()

    await until(client, is_open_again)
    await client.complete(HEARD[id][1], "granted")
    assert await handle.result() == "granted"
