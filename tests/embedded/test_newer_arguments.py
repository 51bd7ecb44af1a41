"""Whatever a user passes to the verbs of updates, values, activities, and starts with more."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

from processor import Client, InvalidArgument, RetryPolicy, Worker, activity, workflow

from .test_arguments import DEEP, ODD, Call, outcome, returns


@activity.define(schedule_to_close=timedelta(days=1))
async def left_open() -> int:
    raise activity.CompleteAsync


@workflow.define
class Busy:
    @workflow.run
    async def run(self, value: Any = None) -> Any:
        workflow.set_value("v", value)
        return await workflow.call_activity(left_open)

    @workflow.update
    def change(self, value: Any = None) -> Any:
        return value

    @workflow.query
    def shown(self, value: Any = None) -> Any:
        return value

    @workflow.signal
    def told(self, value: Any = None) -> None: ...


async def first(found: Any) -> None:
    async with asyncio.timeout(0.05):
        async for _ in found:
            return


T = {"timeout": 0.05}
UPDATE = ("change", 1)
CALLS: dict[str, Call] = {
    "start: retry": lambda c, odd: c.start(returns, retry=odd),
    "start: delay": lambda c, odd: c.start(returns, delay=odd),
    "start: at": lambda c, odd: c.start(returns, at=odd),
    "start: cron": lambda c, odd: c.start(returns, cron=odd, id="cron", conflict="terminate"),
    "terminate: recursive": lambda c, odd: c.handle("gone").terminate(recursive=odd),
    "signal: handler": lambda c, odd: c.handle("open").signal(odd),
    "signal": lambda c, odd: c.handle("open").signal(Busy.told, odd),
    "signal several": lambda c, odd: c.handle("open").signal("told", odd, odd),
    "query: handler": lambda c, odd: c.handle("open").query(odd),
    "query": lambda c, odd: c.handle("open").query("shown", odd),
    "query: reject": lambda c, odd: c.handle("open").query("shown", reject=odd),
    "query: timeout": lambda c, odd: c.handle("open").query("shown", timeout=odd),
    "query: result_type": lambda c, odd: c.handle("open").query("shown", 1, result_type=odd),
    "update: handler": lambda c, odd: c.handle("open").update(odd, **T),
    "update": lambda c, odd: c.handle("open").update("change", odd, **T),
    "update: id": lambda c, odd: c.handle("open").update("change", id=odd, **T),
    "update: timeout": lambda c, odd: c.handle("open").update("change", timeout=odd),
    "update: parked": lambda c, odd: c.handle("open").update("change", parked=odd),
    "update: result_type": lambda c, odd: c.handle("open").update("change", result_type=odd),
    "start_update: handler": lambda c, odd: c.handle("open").start_update(odd),
    "start_update": lambda c, odd: c.handle("open").start_update("change", odd),
    "start_update: id": lambda c, odd: c.handle("open").start_update("change", id=odd),
    "update_handle: id": lambda c, odd: c.handle("open").update_handle(odd).result(0.05),
    "update_handle: timeout": lambda c, odd: c.handle("open").update_handle("u").result(odd),
    "value: name": lambda c, odd: c.handle("open").value(odd, timeout=0.02),
    "value: result_type": lambda c, odd: c.handle("open").value("v", result_type=odd),
    "value: timeout": lambda c, odd: c.handle("open").value("v", timeout=odd),
    "watch: name": lambda c, odd: first(c.handle("open").watch(odd)),
    "watch: result_type": lambda c, odd: first(c.handle("open").watch("v", result_type=odd)),
    "activity: id": lambda c, odd: c.handle("open").activity(odd).heartbeat(),
    "heartbeat": lambda c, odd: c.handle("open").activity(1).heartbeat(odd),
    "pause: reason": lambda c, odd: c.handle("open").activity(1).pause(odd),
    "resume: reason": lambda c, odd: c.handle("open").activity(1).resume(odd),
    "reset: reason": lambda c, odd: c.handle("open").activity(1).reset(odd),
    **{
        f"set_options: {name}": (
            lambda c, odd, name=name: c.handle("open").activity(1).set_options(**{name: odd})
        )
        for name in ("queue", "eager", "retry", "start_to_close", "heartbeat", "nothing")
    },
    "complete: token": lambda c, odd: c.complete(odd),
    "heartbeat: token": lambda c, odd: c.heartbeat((odd, 1), odd),
    "fail: token": lambda c, odd: c.fail(("open", odd), ValueError("v")),
    "cancelled: token": lambda c, odd: c.cancelled(("open", 1, odd)),
    "fail: error": lambda c, odd: c.handle("gone").activity(1).fail(odd),
    "complete": lambda c, odd: c.handle("gone").activity(1).complete(odd),
    "signal_with_start: signal": lambda c, odd: c.signal_with_start(
        Busy.run, id="open", signal=odd
    ),
    "signal_with_start: name": lambda c, odd: c.signal_with_start(
        Busy.run, id="open", signal=(odd, 1)
    ),
    "signal_with_start": lambda c, odd: c.signal_with_start(
        Busy.run, odd, id="open", signal=("told", odd)
    ),
    "update_with_start: update": lambda c, odd: c.update_with_start(
        Busy.run, id="open", update=odd, **T
    ),
    "update_with_start: name": lambda c, odd: c.update_with_start(
        Busy.run, id="open", update=(odd, 1), **T
    ),
    "update_with_start": lambda c, odd: c.update_with_start(
        Busy.run, odd, id="open", update=("change", odd), **T
    ),
    **{
        f"update_with_start: {name}": (
            lambda c, odd, name=name: c.update_with_start(
                Busy.run, update=UPDATE, **{"id": "open", "timeout": 0.05, name: odd}
            )
        )
        for name in ("id", "update_id", "timeout", "reuse", "conflict", "delay")
    },
    "start_now": lambda c, odd: c.handle(odd).start_now(),
    **{
        f"RetryPolicy: {name}": (
            lambda c, odd, name=name: c.start(returns, retry=RetryPolicy(**{name: odd}))
        )
        for name in (
            *("initial_interval", "coefficient", "maximum_interval", "maximum_attempts"),
            "non_retryable",
        )
    },
}


def test_every_argument_of_the_newer_verbs_takes_or_refuses_every_odd_value(tmp_path: Path) -> None:
    async def main() -> None:
        server = f"embedded:{tmp_path}"
        worker = Worker(server, workflows=[returns, Busy], activities=[left_open])
        async with worker, Client(server) as client, asyncio.timeout(150):
            await client.start(Busy.run, id="open")
            await (await client.start(Busy.run, id="gone")).terminate()
            for name, call in CALLS.items():
                for odd in (*ODD, DEEP):
                    try:
                        error = await outcome(call, client, odd)
                    except Exception as other:
                        raise AssertionError(f"{name}, {type(odd)}: {other!r}") from other
                    if isinstance(error, InvalidArgument):
                        assert len(str(error)) < 1_000, f"{name}, {type(odd)}: {error}"
            assert await client.run(returns, 7) == 7, "the shard goes on"

    asyncio.run(main())
