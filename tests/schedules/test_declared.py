"""``@workflow.schedule``: what code may declare."""

from __future__ import annotations

from typing import Any

import pytest

from processor import InvalidArgument, workflow
from processor.workflow._schedule import declared_by


def test_a_workflow_declares_schedules() -> None:
    @workflow.schedule("@daily", args=[2])
    @workflow.schedule(every=60, id="often", overlap="allow-all")
    @workflow.define(name="shown")
    class Shown:
        @workflow.run
        async def run(self, count: int = 1) -> int:
            return count

    often, daily = declared_by(Shown.run)
    assert (often.id, often.config["args"]) == ("often", [])
    assert (daily.id, daily.config["workflow"], daily.config["args"]) == ("shown", "shown", [2])
    assert often.config["when"] == {"every_ms": 60_000}


def test_what_is_no_declaration_is_refused() -> None:
    @workflow.define
    async def job(city: str) -> str:
        return city

    async def plain(city: str) -> str:
        return city

    refused: list[tuple[Any, Any, str]] = [
        (plain, {"times": "@daily", "args": ["x"]}, "is no workflow: put it above @workflow.def"),
        (job, {"times": "61 * * * *"}, "@workflow.schedule: cron '61"),
        (job, {}, "@workflow.schedule: it has no times"),
        (job, {"times": "@daily"}, "missing a required argument: 'city'"),
        (job, {"times": "@daily", "args": "x"}, "args: give a list"),
    ]
    for function, how, text in refused:
        times = [how.pop("times")] if "times" in how else []
        with pytest.raises(InvalidArgument, match=text):
            workflow.schedule(*times, **how)(function)
    assert not declared_by(job)
    workflow.schedule("@daily", args=["x"])(job)
    with pytest.raises(InvalidArgument, match="has two schedules with the id 'job'"):
        workflow.schedule("@hourly", args=["x"])(job)
