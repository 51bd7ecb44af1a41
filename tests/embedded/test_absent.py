"""None, JSON's null and empty bytes: three things, from end to end, live and replayed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import Client, Status, Worker, activity, workflow
from processor.core.inputs import ClientCommand
from processor.core.nouns.activity import ActivityCompleted
from processor.core.nouns.call import MessageSent
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.record import RecordPublished
from processor.core.nouns.run import WorkflowCompleted, WorkflowStarted
from processor.core.nouns.value import SideEffectRecorded, StatusSet

from .inside import events_in, letters_in, published_in, runtime_at

CACHED = pytest.mark.parametrize("cached", [None, 0], ids=["live", "replayed"])


@activity.define
async def passes(value: str | None = "a default") -> str | None:
    activity.heartbeat()
    return value


@workflow.define
async def passes_nothing(argument: str | None = "a default") -> str | None:
    found: list[Any] = [argument, await passes(None)]
    found += [await workflow.wait_for_event("go", str | None) for _ in range(2)]
    found += [workflow.side_effect(lambda: None), await workflow.wait_for_event("go")]
    workflow.set_status(None)
    workflow.signal("other", "hello")
    return None if found == [None] * 6 else f"{found}"


@workflow.define
async def publishes() -> None:
    for name, value in (("absent", None), ("null", b"null"), ("empty", b""), ("text", "")):
        workflow.publish("topic", name, value)
    await workflow.wait_for_event("go")


@workflow.define
async def waits() -> str:
    return await workflow.wait_for_event("go", str)


def run(path: Path, talk: Any, cached: int | None) -> None:
    async def main() -> None:
        worker = Worker(
            f"embedded:{path}",
            workflows=[passes_nothing, publishes, waits],
            activities=[passes],
            max_cached_runs=cached,
            strict_replay=True,
        )
        async with worker, Client(f"embedded:{path}") as client, asyncio.timeout(30):
            await talk(client)

    asyncio.run(main())


def from_a_stranger(path: Path, workflow_id: str, payload: bytes | None) -> None:
    """Send an event that no client of ours has encoded."""
    runtime_at(path).inbox.submit(ClientCommand(workflow_id, RaiseEvent("go", payload)))


@CACHED
def test_none_is_no_payload_and_null_stays_null(tmp_path: Path, cached: int | None) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(passes_nothing, None, id="w")
        await handle.raise_event("go")
        from_a_stranger(tmp_path, "w", b"null")
        from_a_stranger(tmp_path, "w", None)
        assert await handle.result() is None
        found = await handle.describe()
        assert (found.status, found.custom_status, found.memo) == (Status.COMPLETED, None, None)
        for event in await handle.history():
            values = {event.fields.get(name) for name in ("payload", "result", "value")}
            assert values == {None}, event

    run(tmp_path, talk, cached)
    held = events_in(tmp_path, "w")
    started, *_, completed = held
    assert isinstance(started, WorkflowStarted)
    assert (started.arguments, started.memo) == (b"[null]", None)
    assert completed == WorkflowCompleted(None)
    assert [e.payload for e in held if isinstance(e, EventReceived)] == [None, b"null", None]
    assert [e.result for e in held if isinstance(e, ActivityCompleted)] == [None]
    assert [e.value for e in held if isinstance(e, SideEffectRecorded)] == [None]
    assert [e.value for e in held if isinstance(e, StatusSet)] == [None]
    assert [e.payload for e in held if isinstance(e, MessageSent)] == [None]


def test_arguments_that_are_left_out_are_the_functions_own(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(passes_nothing)
        for _ in range(3):
            await handle.raise_event("go")
        assert str(await handle.result()).startswith("['a default', None, None")

    run(tmp_path, talk, None)


@CACHED
def test_what_is_published_is_what_was_given(tmp_path: Path, cached: int | None) -> None:
    """A record without a value deletes; one with an empty value does not."""

    async def talk(client: Client) -> None:
        handle = await client.start(publishes, id="w")
        await handle.raise_event("go")
        await handle.result()

    run(tmp_path, talk, cached)
    given = [(b"absent", None), (b"null", b"null"), (b"empty", b""), (b"text", b'""')]
    assert published_in(tmp_path, "topic") == given
    held = [e for e in events_in(tmp_path, "w") if isinstance(e, RecordPublished)]
    assert [(event.key, event.value) for event in held] == given


@CACHED
def test_an_empty_event_is_no_json_and_goes_to_dead_letters_as_it_is(
    tmp_path: Path, cached: int | None
) -> None:
    async def talk(client: Client) -> None:
        handle = await client.start(waits, id="w")
        from_a_stranger(tmp_path, "w", b"")
        from_a_stranger(tmp_path, "w", None)
        await handle.raise_event("go", "on")
        assert await handle.result() == "on"

    run(tmp_path, talk, cached)
    empty, absent = letters_in(tmp_path)
    assert (empty.value, absent.value) == (b"", None)
    assert "not valid JSON" in empty.reason and "Expected `str`, got `null`" in absent.reason
