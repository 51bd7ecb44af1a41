"""Codecs and interceptors on disk: what is written, and workers that come without a key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    PayloadCodecError,
    Worker,
    WorkflowParked,
    activity,
    workflow,
)
from processor.policy import Status
from tests.injection.codecs import Sealed, Small
from tests.injection.test_interceptors import TENANT, Tenants

SECRET = "a card number that nobody else reads"
SEALED = [Small(), Sealed()]


@activity.define
async def told(card: str) -> str:
    return f"{card} for {TENANT.get()}"


@workflow.define
async def pay(card: str) -> list[str]:
    return [await told(card), await workflow.wait_for_event("code", str), await told(card)]


def at(folder: Path, **how: Any) -> tuple[Worker, Client]:
    """Return a worker and a client of one path."""
    server = f"embedded:{folder}"
    worker = Worker(server, workflows=[pay], activities=[told], **how)
    return worker, Client(server, **how)


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_worker_without_the_key_loses_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        worker, client = at(tmp_path, payloads=SEALED, interceptors=[Tenants()])
        TENANT.set("Ada")
        async with worker, client:
            handle = await client.start(pay, SECRET, id="run")
            await asyncio.sleep(0.2)
            assert (await handle.describe()).pending["unread"] == {}

        without, _ = at(tmp_path)
        async with without, client:
            handle = client.handle("run", workflow=pay)
            await handle.raise_event("code", SECRET)
            found = await handle.describe()
            assert found.status is Status.PARKED
            assert found.parked is not None
            assert "was encoded by 'sealed', and the codecs here are: none" in found.parked["error"]
            with pytest.raises(WorkflowParked, match="encoded by 'sealed'"):
                await handle.result(10, parked="raise")

        worker, _ = at(tmp_path, payloads=SEALED, interceptors=[Tenants()])
        async with worker, client:
            expected = [f"{SECRET} for Ada", SECRET, f"{SECRET} for Ada"]
            assert await client.handle("run").result(10) == expected

    asyncio.run(main())
    assert SECRET.encode() not in on_disk(tmp_path)
    assert b"tenant" in on_disk(tmp_path), "headers stay readable"


def test_a_start_that_the_worker_cannot_read_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        worker, _ = at(tmp_path)
        _, client = at(tmp_path, payloads=SEALED)
        async with worker, client:
            with pytest.raises(PayloadCodecError, match="the value was encoded by 'sealed'"):
                await client.start(pay, SECRET, id="run")
            assert [run async for run in client.list()] == []

    asyncio.run(main())


@workflow.define
async def reads(kind: str) -> Any:
    """Hear of what was written with another key, and catch whatever is raised."""
    made = workflow.promise(str)
    workflow.set_value("id", made.id)
    try:
        if kind == "promise":
            return await made
        held = workflow.handle("held")
        return await (held.value("card") if kind == "value" else held.result())
    except Exception as error:
        return f"caught {error!r}"


@workflow.define
async def holds() -> str:
    workflow.set_value("card", SECRET)
    return SECRET


@pytest.mark.parametrize("kind", ["value", "result", "promise"])
def test_an_answer_that_cannot_be_read_parks_who_asked_until_the_key_is_there(
    tmp_path: Path, kind: str
) -> None:
    server, both = f"embedded:{tmp_path}", Sealed(b"2", b"1")

    async def main() -> None:
        async with Worker(server, workflows=[holds], payloads=both):
            async with Client(server, payloads=both) as client:
                assert await client.run(holds, id="held") == SECRET
        async with Worker(server, workflows=[reads], payloads=Sealed(b"1")):
            async with Client(server, payloads=Sealed(b"1")) as client:
                handle = await client.start(reads, kind, id="reads")
                id = await handle.value("id", result_type=str)
            async with Client(server, payloads=both) as client:
                if kind == "promise":
                    await client.resolve(id, SECRET)
                with pytest.raises(WorkflowParked, match="there is no key '2'"):
                    await client.handle("reads").result(10, parked="raise")
        async with Worker(server, workflows=[reads], payloads=both):
            async with Client(server, payloads=both) as client:
                assert await client.handle("reads").result(10) == SECRET

    asyncio.run(main())


def test_an_attempt_that_cannot_read_its_arguments_is_tried_again(tmp_path: Path) -> None:
    class Late(Sealed):
        """Has its key from the third call on: the run's own is the first."""

        calls = 0

        def decode(self, data: bytes) -> bytes:
            self.calls += 1
            if self.calls == 2:
                raise LookupError("no key yet")
            return super().decode(data)

    async def main() -> None:
        worker, client = at(tmp_path, payloads=Late())
        async with worker, client:
            handle = await client.start(pay, SECRET, id="run")
            await handle.raise_event("code", SECRET)
            assert (await handle.result(10))[1] == SECRET

    asyncio.run(main())


def test_a_run_that_began_in_clear_goes_on_encoded(tmp_path: Path) -> None:
    async def main() -> None:
        worker, client = at(tmp_path)
        async with worker, client:
            await client.start(pay, "open", id="run")
        worker, client = at(tmp_path, payloads=SEALED)
        async with worker, client:
            handle = client.handle("run")
            await handle.raise_event("code", SECRET)
            assert (await handle.result(10))[1] == SECRET
            assert (await handle.history())[0].fields["arguments"] == ["open"]

    asyncio.run(main())
    assert SECRET.encode() not in on_disk(tmp_path)
