"""Nothing happens in silence: parks, failing attempts, reasons, and who waits hears of them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from processor import (
    ActivityError,
    ApplicationError,
    Client,
    Handle,
    PayloadTooLarge,
    RetryPolicy,
    SchemaMismatch,
    Status,
    Worker,
    WorkflowAlreadyStarted,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowParked,
    WorkflowTerminated,
    activity,
    workflow,
)

ONCE = RetryPolicy(maximum_attempts=1)
OFTEN = RetryPolicy(initial_interval=timedelta(milliseconds=20), coefficient=1.0)
EVIL = "late\x1b[2J\nshard 0 is well"


@activity.define(retry=OFTEN)
async def fails() -> None:
    raise ValueError("the disk is full")


@activity.define(retry=ONCE)
async def refuses(how: str) -> Any:
    if how == "application":
        raise ApplicationError("no funds", type="Funds", details={"left": 3})
    if how == "large":
        return "x" * 1_100_000
    return object()


@workflow.define
async def waits() -> str:
    return await workflow.wait_for_event("go", str)


@workflow.define
async def has_a_bug() -> str:
    raise RuntimeError(f"a bug {EVIL}")


@workflow.define
async def bug_after(seconds: float) -> str:
    await asyncio.sleep(seconds)
    raise RuntimeError("a bug")


@workflow.define
async def tries() -> None:
    await fails()


@workflow.define
async def asks_nobody() -> None:
    await workflow.call_activity("nobody_knows")


@workflow.define
async def catches(how: str) -> list[str]:
    try:
        await refuses(how)
    except ActivityError as error:
        kinds = [ApplicationError, PayloadTooLarge, SchemaMismatch]
        found = [kind.__name__ for kind in kinds if isinstance(error, kind)]
        return [*found, error.activity, str(error.attempts), type(error).__name__]
    return []


@workflow.define
async def lets_through() -> None:
    await refuses("application")


TWO_LINES = "no funds:\n  ERROR root: all is lost \x1b[2J"


@workflow.define
async def fails_in_two_lines() -> None:
    raise ApplicationError(TWO_LINES)


WORKFLOWS = [
    fails_in_two_lines,
    waits,
    has_a_bug,
    bug_after,
    tries,
    asks_nobody,
    catches,
    lets_through,
]


def run(path: Path, talk: Callable[[Client], Awaitable[Any]], **how: Any) -> Any:
    async def main() -> Any:
        server = f"embedded:{path}"
        worker = Worker(server, workflows=WORKFLOWS, activities=[fails, refuses], **how)
        async with worker, Client(server) as client, asyncio.timeout(30):
            return await talk(client)

    return asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


# --- parks ------------------------------------------------------------------------------------


def test_a_park_is_logged_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(client: Client) -> None:
        await client.start(has_a_bug, id=EVIL)
        await until(lambda: "is parked" in caplog.text)

    run(tmp_path, talk)
    (record,) = [each for each in caplog.records if "is parked" in each.getMessage()]
    assert record.levelno == logging.WARNING
    text = record.getMessage()
    for part in ("RuntimeError: a bug", "test_silence.py", "Traceback (most recent", "has_a_bug"):
        assert part in text
    assert "\x1b" not in text
    assert all(line.startswith("    ") for line in text.splitlines()[1:]), "no row is forged"


@pytest.mark.parametrize("how", ["run", "result", "result of an id"])
def test_who_waits_for_a_parked_run_is_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    async def talk(client: Client) -> None:
        if how == "run":
            waiting = asyncio.ensure_future(client.run(has_a_bug, id="a"))
        else:
            handle = await client.start(has_a_bug, id="a")
            handle = handle if how == "result" else client.handle("a")
            waiting = asyncio.ensure_future(handle.result())
        await until(lambda: "still waiting for the result of 'a': run" in caplog.text)
        await asyncio.sleep(0)
        assert not waiting.done(), "a warning ends nothing"
        waiting.cancel()
        told = [r for r in caplog.records if r.name == "processor.client"]
        assert len(told) == 1
        assert "RuntimeError: a bug" in told[0].getMessage()

    run(tmp_path, talk)


@pytest.mark.parametrize("after_s", [0.0, 1.5])
def test_who_wants_it_raised_gets_an_error(tmp_path: Path, after_s: float) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(WorkflowParked, match="RuntimeError: a bug") as raised:
            await client.run(bug_after, after_s, id="a", parked="raise")
        with pytest.raises(WorkflowParked, match="is parked"):
            await client.handle("a").result(parked="raise")
        error = raised.value
        assert error.parked["kind"] == "bug"
        assert (error.workflow_id, error.run_id != "") == ("a", True)
        assert (await client.handle("a").describe()).status is Status.PARKED
        with pytest.raises(TimeoutError):  # not the park: time is up before anybody has looked
            await client.handle("a").result(0.2, parked="raise")

    run(tmp_path, talk)


def test_a_time_out_says_what_the_run_does(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(waits, id="a")
        with pytest.raises(TimeoutError, match=r"within 4 s: it is running; .*, event 'go'$"):
            await handle.result(4)
        with pytest.raises(TimeoutError, match=r"^no result of 'b' within 4 s: it is parked"):
            await client.run(has_a_bug, id="b", timeout=4)

    run(tmp_path, talk)


def test_who_ends_a_run_is_told_whether_it_was_open(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(waits, id="a")
        assert handle.created
        assert not (await client.start(waits, id="a", conflict="use-existing")).created
        assert await handle.cancel()
        assert not await handle.cancel()
        assert not await handle.terminate()

    run(tmp_path, talk)


# --- activities -------------------------------------------------------------------------------


def waits_until_told(workflow: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Wait for the result of a workflow until a warning says what holds it up."""

    async def talk(client: Client) -> None:
        handle = await client.start(workflow, id="a")
        waiting = asyncio.ensure_future(handle.result())
        await until(lambda: "still waiting" in caplog.text)
        waiting.cancel()

    run(tmp_path, talk)


def test_failing_attempts_are_told_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waits_until_told(tries, tmp_path, caplog)
    shard = [r.getMessage() for r in caplog.records if r.name == "processor.shard"]
    assert len(shard) == 1, "some forty attempts, one line"
    assert "activity 'fails' of 'a' failed" in shard[0]
    assert "ValueError: the disk is full" in shard[0]
    told = [r.getMessage() for r in caplog.records if r.name == "processor.client"]
    assert any("attempts failed, the last with ValueError: the disk is full" in t for t in told)


def test_an_activity_that_nobody_knows_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waits_until_told(asks_nobody, tmp_path, caplog)
    for name in ("processor.shard", "processor.client"):
        text = "\n".join(r.getMessage() for r in caplog.records if r.name == name)
        assert "nobody_knows" in text


@pytest.mark.parametrize(
    ("how", "kind"),
    [("application", "ApplicationError"), ("large", "PayloadTooLarge"), ("odd", "SchemaMismatch")],
)
@pytest.mark.parametrize("cached", [None, 0], ids=["live", "replayed"])
def test_an_activity_error_is_whatever_an_activity_raised(
    tmp_path: Path, how: str, kind: str, cached: int | None
) -> None:
    async def talk(client: Client) -> None:
        caught = await client.run(catches, how)
        if kind == "ApplicationError":
            assert caught == [kind, "refuses", "1", kind]
        else:
            assert caught[-3:-1] == ["refuses", "1"]

    run(tmp_path, talk, max_cached_runs=cached, strict_replay=True)


def test_the_text_of_a_failure_is_one_line_and_its_cause_has_all_of_them(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(WorkflowFailed) as failed:
            await client.run(fails_in_two_lines)
        text = str(failed.value)
        assert text.isprintable()
        assert text.endswith(r"failed: no funds:\n  ERROR root: all is lost \x1b[2J")
        assert str(failed.value.__cause__) == TWO_LINES

    run(tmp_path, talk)


def test_what_is_let_through_fails_the_run_as_before(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        with pytest.raises(WorkflowFailed) as failed:
            await client.run(lets_through)
        cause = failed.value.__cause__
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.details, str(cause)) == ("Funds", {"left": 3}, "no funds")

    run(tmp_path, talk)


# --- reasons ----------------------------------------------------------------------------------


def test_reasons_stand_in_the_errors_and_in_the_description(tmp_path: Path) -> None:
    async def ended(handle: Handle[Any], kind: Any) -> Any:
        with pytest.raises(kind, match=r": late\\x1b\[2J\\nshard 0 is well$") as raised:
            await handle.result()
        assert raised.value.reason == EVIL
        described = await handle.describe()
        assert described.cancel_reason == EVIL

    async def talk(client: Client) -> None:
        one, two = await client.start(waits), await client.start(waits)
        await one.cancel(EVIL)
        await ended(one, WorkflowCancelled)
        waiting = asyncio.ensure_future(ended(two, WorkflowTerminated))
        await asyncio.sleep(0.05)
        await two.terminate(EVIL)
        await waiting

    run(tmp_path, talk)


def test_who_is_replaced_hears_by_which_run(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        first = await client.start(waits, id="a")
        waiting = asyncio.ensure_future(first.result())
        await asyncio.sleep(0.05)
        second = await client.start(waits, id="a", conflict="terminate")
        for asking in (waiting, first.result()):
            with pytest.raises(WorkflowTerminated, match=f"replaced by run {second.run_id}"):
                await asking
        described = await client.handle("a", first.run_id).describe()
        assert described.successor == second.run_id

    run(tmp_path, talk)


# --- events -----------------------------------------------------------------------------------


def test_an_event_that_does_not_fit_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(waits, id="a")
        for _ in range(20):
            await handle.raise_event("go", 5)
        await until(lambda: "does not fit" in caplog.text)
        types = [each.type for each in await handle.history()]
        assert types.count("EventRejected") == 20
        await handle.raise_event("go", "fits")
        assert await handle.result() == "fits"

    run(tmp_path, talk)
    (record,) = [each for each in caplog.records if "does not fit" in each.getMessage()]
    assert (record.levelno, record.name) == (logging.WARNING, "processor.shard")
    for part in ("event 'go'", "'a'", "(workflow 'waits')", "str", "send the event again"):
        assert part in record.getMessage()


# --- reuse ------------------------------------------------------------------------------------


def test_use_existing_returns_the_first_runs_result(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        started = asyncio.ensure_future(client.run(waits, id="a", reuse="use-existing"))
        await asyncio.sleep(0.05)
        again = asyncio.ensure_future(client.run(waits, id="a", reuse="use-existing"))
        handle = await client.start(waits, id="a", reuse="use-existing")
        await client.handle("a").raise_event("go", "first")
        assert await asyncio.gather(started, again, handle.result()) == ["first"] * 3
        assert await client.run(waits, id="a", reuse="use-existing") == "first"
        events = await client.handle("a").history()
        assert [each.type for each in events].count("WorkflowStarted") == 1
        with pytest.raises(WorkflowAlreadyStarted):
            await client.start(waits, id="a", reuse="reject")
        other = await client.start(waits, id="a")
        assert other.run_id != handle.run_id
        last = await client.start(waits, id="a", reuse="use-existing", conflict="terminate")
        assert last.run_id != other.run_id

    run(tmp_path, talk)


# --- values -----------------------------------------------------------------------------------


@workflow.define
async def takes(order: dict[str, int], count: int = 1) -> int:
    return count


def test_a_value_that_does_not_fit_names_workflow_argument_and_path(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=[takes]), Client(server) as client:
            with pytest.raises(SchemaMismatch) as refused:
                await client.start("takes", {"a": json.loads('"x"')})
            text = str(refused.value)
            for part in ("workflow 'takes'", "argument 'order' at `$[...]`", "int", "str"):
                assert part in text, text
            with pytest.raises(SchemaMismatch, match="argument 'count' of workflow 'takes': "):
                await client.start(takes, {}, object())  # type: ignore[arg-type]
            with pytest.raises(SchemaMismatch, match="event 'e': "):
                await client.handle("a").raise_event("e", object())
            await client.start(takes, {}, 7, id="a")
            wrong = client.handle("a", workflow=waits)
            with pytest.raises(SchemaMismatch, match=r"the result of run .* of 'a': .*str"):
                await wrong.result()

    asyncio.run(main())
