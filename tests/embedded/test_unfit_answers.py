"""Answers that no shard has sent: the run that waits goes on waiting, and has the true one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processor import workflow
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.records.answers import Accepted, CallOutcome, QueryAnswered, ValueIs
from processor.testing import Environment


@workflow.define
async def sets() -> str:
    workflow.set_value("first", await workflow.wait_for_event("go", str))
    return "done"


@workflow.define
async def child() -> str:
    return await workflow.wait_for_event("go", str)


@workflow.define
async def asks(what: str) -> Any:
    match what:
        case "value":
            return await workflow.handle("other").value("first")
        case "result":
            return await workflow.handle("other").result()
        case _:
            return await workflow.call_child(child, id="child")


@pytest.mark.parametrize("cached", [0, None])
@pytest.mark.parametrize(
    ("what", "forged", "kind"),
    [
        ("value", Accepted("run-9"), "AwaitValue first, and Accepted"),
        ("result", ValueIs("run-9", 1, b'"forged"'), "AwaitResult, and ValueIs"),
        ("child", QueryAnswered("run-9", b'"forged"'), "for child 'child', and QueryAnswered"),
    ],
)
def test_an_answer_of_another_kind_is_a_dead_letter(
    what: str, forged: CallOutcome, kind: str, cached: int | None
) -> None:
    async def main() -> None:
        async with Environment([sets, child, asks], max_cached_runs=cached) as env:
            other = await env.start(sets, id="other")
            asker = await env.start(asks, what, id="asker")
            await env.sleep(1)
            env._world.broker.command(ClientCommand("asker", AnswerCall(asker.run_id, 1, forged)))
            await env.sleep(1)
            (letter,) = env.dead_letters
            assert f"asked {kind} is no answer to that: the run waits on" in letter.reason
            assert letter.key == b"asker"
            assert "RunParked" not in [each.type for each in await asker.history()]
            for handle in (other, env.handle("child")) if what == "child" else (other,):
                await handle.raise_event("go", "true")
            assert await asker.result() == ("done" if what == "result" else "true")

    asyncio.run(main())
