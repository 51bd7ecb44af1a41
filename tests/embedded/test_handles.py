"""Which runs a handle means, and who a run is: its id, its seed, and what is drawn from that."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    Handle,
    Status,
    Worker,
    WorkflowNotFound,
    WorkflowTerminated,
    activity,
    workflow,
)
from processor.core.nouns.lineage import Lineage
from processor.core.nouns.run import WorkflowStarted

from .inside import events_in

OTHER_CHAIN = "'w' is not of the chain that began with run"


@activity.define
async def key() -> str:
    return activity.info().idempotency_key


@workflow.define
async def waits() -> str:
    return await workflow.wait_for_event("go", str)


@workflow.define
async def draws() -> list[str]:
    return [str(workflow.uuid4()), str(workflow.random().random()), await key()]


Talk = Callable[[Client], Awaitable[Any]]


def run(path: Path, talk: Talk) -> Any:
    async def main() -> Any:
        server = f"embedded:{path}"
        worker = Worker(server, workflows=[waits, draws], activities=[key])
        async with worker, Client(server) as client, asyncio.timeout(30):
            return await talk(client)

    return asyncio.run(main())


async def raised(handle: Handle[Any]) -> int:
    """Return how many events the run of a handle has received."""
    return [event.type for event in await handle.history()].count("EventReceived")


# --- handles -------------------------------------------------------------------------------------


def test_a_handle_from_a_start_does_not_reach_the_run_of_another_chain(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        first = await client.start(waits, id="w")
        other = await client.start(waits, id="w", conflict="terminate")
        for request in (first.raise_event("go", "x"), first.cancel(), first.terminate()):
            with pytest.raises(WorkflowNotFound, match=f"{OTHER_CHAIN} {first.run_id!r}"):
                await request
        with pytest.raises(WorkflowTerminated) as ended:
            await first.result()
        assert ended.value.run_id == first.run_id
        described = await first.describe()
        assert (described.run_id, described.status) == (first.run_id, Status.TERMINATED)
        assert "WorkflowTerminated" in [event.type for event in await first.history()]
        assert (await other.describe()).status is Status.RUNNING
        assert await raised(other) == 0
        await other.raise_event("go", "on")
        assert await other.result() == "on"

    run(tmp_path, talk)


def test_a_handle_on_an_id_means_the_latest_run(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        handle = client.handle("w", workflow=waits)
        await client.start(waits, id="w")
        await client.start(waits, id="w", conflict="terminate")
        last = await client.start(waits, id="w", conflict="terminate")
        assert (await handle.describe()).run_id == last.run_id
        await handle.raise_event("go", "on")
        assert await handle.result() == await last.result() == "on"

    run(tmp_path, talk)


def test_a_handle_with_a_run_id_means_that_run_only(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        first = await client.start(waits, id="w")
        pinned = client.handle("w", first.run_id)
        other = await client.start(waits, id="w", conflict="terminate")
        for request in (pinned.raise_event("go", "x"), pinned.cancel(), pinned.terminate()):
            with pytest.raises(WorkflowNotFound, match=f"{first.run_id!r} is not the latest"):
                await request
        assert (await pinned.describe()).status is Status.TERMINATED
        current = client.handle("w", other.run_id)
        await current.raise_event("go", "on")
        assert await current.result() == "on"
        elsewhere = client.handle("another", other.run_id)
        for asked in (elsewhere.describe(), elsewhere.result(5), elsewhere.raise_event("go")):
            with pytest.raises(WorkflowNotFound, match="'another'"):
                await asked

    run(tmp_path, talk)


def test_a_handle_of_a_run_that_was_there_means_its_chain(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        first = await client.start(waits, id="w")
        same = await client.start(waits, id="w", conflict="use-existing")
        assert same.run_id == first.run_id
        await client.start(waits, id="w", conflict="terminate")
        with pytest.raises(WorkflowNotFound, match=OTHER_CHAIN):
            await same.raise_event("go", "x")

    run(tmp_path, talk)


def test_a_handle_follows_its_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test puts the next run into the chain of the first one, whose end it sees."""

    async def talk(client: Client) -> None:
        first = await client.start(waits, id="w")

        def continued(*fields: Any) -> WorkflowStarted:
            *fields_before, _lineage, _plan = fields
            return WorkflowStarted(*fields_before, Lineage(first.run_id, first.run_id, 2))

        with monkeypatch.context() as patch:
            patch.setattr("processor.core.decide.WorkflowStarted", continued)
            second = await client.start(waits, id="w", conflict="terminate")
        found = await client.start(waits, id="w", conflict="use-existing")
        assert found.run_id == second.run_id != first.run_id
        assert (await first.describe()).run_id == second.run_id
        with pytest.raises(WorkflowNotFound, match="is not the latest run of workflow id"):
            await client.handle("w", first.run_id).raise_event("go", "x")
        await first.raise_event("unread", 1)
        await found.raise_event("go", "on")
        assert await raised(first) == await raised(found) == await raised(second) == 2
        await client.start(waits, id="w")
        assert await first.result() == await found.result() == "on"
        with pytest.raises(WorkflowTerminated):
            await client.handle("w", first.run_id).result()

    run(tmp_path, talk)


# --- identity ------------------------------------------------------------------------------------


async def drawn(client: Client) -> list[str]:
    """Return a run's id and what it has drawn."""
    handle = await client.start(draws, id="same")
    assert handle.run_id is not None
    found = await handle.result()
    assert found[-1] == f"{handle.run_id}/1"
    return [handle.run_id, *found]


def test_two_folders_share_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where client and request have the same names: then the log makes the difference."""
    monkeypatch.setattr("processor.embedded.runtime.new_client_id", lambda: "the same")
    found = [run(tmp_path / name, drawn) for name in ("one", "two")]
    shutil.rmtree(tmp_path / "one")
    found.append(run(tmp_path / "one", drawn))
    assert len({each for values in found for each in values}) == 12


def test_two_runs_of_a_workflow_id_share_nothing(tmp_path: Path) -> None:
    async def talk(client: Client) -> list[str]:
        return [*await drawn(client), *await drawn(client)]

    assert len({*run(tmp_path, talk), *run(tmp_path, talk)}) == 16


def test_nobody_is_shown_the_seed_of_a_run(tmp_path: Path) -> None:
    """Whoever has it can tell what the run will draw."""

    async def talk(client: Client) -> str:
        first = await client.start(waits, id="w")
        second = await client.start(waits, id="w", conflict="terminate")
        views = [await handle.history() for handle in (first, second)]
        views += [[await handle.describe()] for handle in (first, second)]
        views.append([each async for each in client.list()])
        assert views[0][-1].fields["successor"]["run_id"] == second.run_id
        return str(views)

    told = run(tmp_path, talk)
    started = [e for e in events_in(tmp_path, "w") if isinstance(e, WorkflowStarted)]
    assert len({event.seed for event in started}) == 2
    for event in started:
        assert "seed" not in told
        assert str(event.seed)[2:-1] not in told and event.seed.hex() not in told
        assert replace(event, seed=b"") != event
