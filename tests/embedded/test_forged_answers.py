"""Answers that nobody gave to what a run asked: anybody may write to ``commands``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import Client, Handle, Worker, WorkflowFailed, workflow
from processor.codec.records import decode_as
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.records.answers import Accepted, Refused
from tests.embedded.approval import serving
from tests.embedded.inside import letters_in, runtime_at

__all__ = ("serving",)


@workflow.define
async def asked() -> str:
    return await workflow.wait_for_event("go", str)


@workflow.define
async def asks(id: str) -> str:
    found: str = await workflow.handle(id).result()
    return found


async def open_call(client: Client) -> tuple[Handle[str], int]:
    """Let one run wait for the result of another one; return it, and the number of its call."""
    other = await client.start(asked, id="other")
    asker = await client.start(asks, "other", id="asker")
    async with asyncio.timeout(20):
        while not (await other.describe()).pending["callers"]:
            await asyncio.sleep(0.01)
    (sent,) = [each for each in await asker.history() if each.type == "CallSent"]
    return asker, sent.fields["id"]


@pytest.mark.parametrize("error", ["InvalidArgument", "PayloadCodecError", "SystemExit"])
def test_no_refusal_parks_who_asked(serving: Any, error: str) -> None:
    """These errors park a run whose own code raises them."""

    async def work(client: Client) -> None:
        asker, call = await open_call(client)
        forged = AnswerCall(asker.run_id or "", call, Refused(error, "because"))
        await client._calls.accepted("asker", forged)
        with pytest.raises(WorkflowFailed, match="because"):
            await asker.result(timeout=20)

    serving(work, asked, asks)


def test_what_is_kept_of_a_forged_answer_is_itself(tmp_path: Path) -> None:
    """Not what the run has sent, as of a refusal that nobody hears: it would be sent again."""
    server = f"embedded:{tmp_path}"

    async def main() -> None:
        async with Worker(server, workflows=[asked, asks]), Client(server) as client:
            asker, call = await open_call(client)
            forged = AnswerCall(asker.run_id or "", call, Accepted("x"))
            runtime_at(tmp_path).inbox.submit(ClientCommand("asker", forged))
            await client.handle("other").raise_event("go", "on")
            assert await asker.result() == "on"

    asyncio.run(main())
    (letter,) = letters_in(tmp_path)
    kept = decode_as(ClientCommand, letter.value or b"")
    assert isinstance(kept.body, AnswerCall) and "is no answer to that" in letter.reason
