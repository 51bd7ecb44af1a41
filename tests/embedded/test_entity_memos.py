"""The memo of an entity, which its operations change one after another."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from processor import Client, UpdateFailed, entity, workflow
from processor.core.records.snapshot import EntityDelta, Snapshot
from processor.testing import Environment
from tests.embedded.inside import records_in
from tests.embedded.test_entity_queues import HELD, hold, worker


@entity.define
class Noted:
    """An entity whose operations write a memo."""

    def note(self, name: str, value: Any = 1) -> Any:
        workflow.upsert_memo({name: value})
        return workflow.info().memo

    def fail(self, name: str) -> None:
        workflow.upsert_memo({name: "failed"})
        raise ValueError(name)

    async def slow(self, name: str) -> Any:
        workflow.upsert_memo({name: "begun"})
        await hold(name)
        workflow.upsert_memo({f"{name}-done": 1})
        return workflow.info().memo

    async def late(self, name: str) -> None:
        workflow.upsert_memo({name: "late"})
        await asyncio.sleep(60)
        raise ValueError(name)

    @entity.read
    def memo(self) -> Any:
        return workflow.info().memo


def test_operations_go_on_from_the_memo_that_those_before_have_left() -> None:
    async def main() -> None:
        async with Environment(entities=[Noted]) as env:
            ada = env.entity(Noted, "ada")
            assert await ada.call(Noted.memo) is None
            assert await ada.call(Noted.note, "a") == {"a": 1}
            assert await ada.call(Noted.note, "b", 2) == {"a": 1, "b": 2}
            assert await ada.call(Noted.note, "a", None) == {"b": 2}
            with pytest.raises(UpdateFailed):
                await ada.call(Noted.fail, "c")
            assert await ada.call(Noted.memo) == {"b": 2}, "a plain one that fails leaves nothing"
            with pytest.raises(UpdateFailed):
                await ada.call(Noted.late, "d")
            assert await ada.call(Noted.memo) == {"b": 2, "d": "late"}
            (run,) = [run async for run in env.list()]
            assert run.memo == {"b": 2, "d": "late"}

    asyncio.run(main())


@pytest.mark.parametrize("cached", [0, 100])
def test_the_memo_is_the_same_after_the_process_has_ended(tmp_path: Path, cached: int) -> None:
    """Also where the snapshot is older than what has changed the memo."""
    server, settings = f"embedded:{tmp_path}", {"cached_runs_max": cached, "shutdown_s": 0}
    text = "x" * 5_000  # so the snapshot is longer than a few turns after it
    whole = {"first": text, "a": "begun", "a-done": 1, "n0": 1, "n1": 1, "n2": 1, "b": "begun"}

    async def begin() -> None:
        HELD.update("ab")
        async with worker(tmp_path, Noted, **settings), Client(server) as client:
            ada = client.entity(Noted, "ada")
            assert await ada.call(Noted.note, "first", text) == {"first": text}
            await ada.signal(Noted.slow, "a")
            for number in range(3):
                await ada.signal(Noted.note, f"n{number}")
            await ada.signal(Noted.slow, "b")
            HELD.remove("a")
            for _ in range(3_000):
                if await ada.call(Noted.memo) == whole:
                    break
                await asyncio.sleep(0.01)
            assert await ada.call(Noted.memo) == whole

    async def go_on() -> None:
        HELD.clear()
        async with worker(tmp_path, Noted, **settings), Client(server) as client:
            ada = client.entity(Noted, "ada")
            ends = {**whole, "b-done": 1, "last": 1}
            assert await ada.call(Noted.note, "last") == ends
            assert await ada.call(Noted.memo) == ends
            assert [run.memo async for run in client.list()] == [ends]

    asyncio.run(begin())
    settled = [each for each in records_in(tmp_path) if isinstance(each, EntityDelta | Snapshot)]
    assert isinstance(settled[-1], EntityDelta), "operations have ended since the last snapshot"
    asyncio.run(go_on())
