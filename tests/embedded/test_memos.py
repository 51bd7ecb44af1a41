"""The memo of a run, which its code changes."""

from __future__ import annotations

from typing import Any

import pytest

from processor import (
    ApplicationError,
    Client,
    InvalidArgument,
    PayloadTooLarge,
    RetryPolicy,
    workflow,
)
from tests.embedded.approval import serving

__all__ = ("serving",)


@workflow.define
async def notes(end: bool) -> Any:
    workflow.upsert_memo({"step": "paid", "by": "code"})
    workflow.on_query("memo", lambda: workflow.info().memo)
    await workflow.wait_for_event("go")
    workflow.upsert_memo({"step": None, "ends": end})
    await workflow.wait_for_event("go")
    return workflow.info().memo


def test_code_changes_what_a_start_has_attached(serving: Any) -> None:
    async def work(client: Client) -> None:
        handle = await client.start(notes, True, id="a", memo={"by": "Ada", "for": [7]})
        await handle.raise_event("go")
        for _ in range(200):
            if (await handle.describe()).memo == {"by": "code", "for": [7], "ends": True}:
                break
        listed = [run.memo async for run in client.list()]
        assert listed == [{"by": "code", "for": [7], "ends": True}]
        assert await handle.query("memo") == listed[0]
        await handle.raise_event("go")
        assert await handle.result() == listed[0]
        assert (await handle.describe()).memo == listed[0]
        handle = await client.start(notes, False, id="b")
        await handle.raise_event("go")
        await handle.raise_event("go")
        assert await handle.result() == {"by": "code", "ends": False}

    serving(work, notes)


@workflow.define(retry=RetryPolicy(initial_interval=0.01, maximum_attempts=2))
async def tried(kind: str) -> Any:
    attempt, before = workflow.info().attempt, workflow.info().memo
    workflow.upsert_memo({"attempt": attempt, "before": before and before["attempt"]})
    if attempt == 1 and kind == "fails":
        raise ApplicationError("not yet")
    if before is None:
        return workflow.continue_as_new("goes on")
    return workflow.info().memo


def test_the_runs_that_follow_have_it(serving: Any) -> None:
    async def work(client: Client) -> None:
        assert await client.run(tried, "fails") == {"attempt": 2, "before": 1}
        assert await client.run(tried, "goes on") == {"attempt": 1, "before": 1}

    serving(work, tried)


@workflow.define
async def wrong(kind: str) -> str:
    given: Any = {"list": [1], "names": {1: 2}, "large": {"a": "x" * 100_000}, "plain": {"a": 1}}
    try:
        workflow.upsert_memo(given[kind])
    except (InvalidArgument, PayloadTooLarge) as error:
        return f"{type(error).__name__}: {error}"
    return "taken"


@pytest.mark.parametrize(
    ("kind", "memo", "says"),
    [
        ("list", None, "InvalidArgument: workflow.upsert_memo: values: give names and values"),
        ("names", None, "InvalidArgument: workflow.upsert_memo: values: give names and values"),
        ("large", None, "PayloadTooLarge: workflow.upsert_memo: the memo would have 100,008 bytes"),
        ("plain", [1], "InvalidArgument: workflow.upsert_memo: the memo of the start has no names"),
        ("plain", {"b": 2}, "taken"),
    ],
)
def test_what_is_no_memo_is_refused(serving: Any, kind: str, memo: Any, says: str) -> None:
    async def work(client: Client) -> None:
        assert (await client.run(wrong, kind, memo=memo)).startswith(says)

    serving(work, wrong)
