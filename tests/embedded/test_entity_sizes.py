"""What is stored of an entity does not grow with its operations."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from processor import Client, Worker, entity
from processor.shard import marks
from processor.store import open_tables
from processor.store.projections import FAMILIES
from processor.store.rocks import Rocks
from processor.store.tables import StateTables

OPERATIONS = int(os.environ.get("OPERATIONS", 1_000))
"""``make many`` has a million."""

WITHIN_S = 100 + OPERATIONS / 1_000


@entity.define
class Counts:
    value: int = 0

    def add(self, number: int) -> int:
        self.value += number
        return self.value

    @entity.read
    def value_now(self) -> int:
        return self.value


def _rows(path: Path) -> dict[str, int]:
    """Return the bytes of each table of a worker that has ended."""
    (tables,) = (each for each in path.iterdir() if each.name.startswith("tables"))
    store = Rocks(tables, FAMILIES, read_only=True)
    try:
        return {
            family: sum(len(key) + len(value) for key, value in store.scan(family, b""))
            for family in FAMILIES
        }
    finally:
        store.close()


@pytest.mark.timeout(200 + OPERATIONS / 100)
def test_the_tables_of_an_entity_do_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "_MARK_EVERY_MS", 50)
    opened: list[StateTables] = []

    def opens(path: Path, identity: str) -> StateTables:
        opened.append(open_tables(path, identity))
        return opened[-1]

    monkeypatch.setattr("processor.embedded.runtime.open_tables", opens)

    async def stored_after(count: int) -> int:
        """Return the bytes in the tables, once all that may go has gone."""
        path = tmp_path / str(count)
        async with Worker(f"embedded:{path}", entities=[Counts]), Client(f"embedded:{path}") as c:
            counts = c.entity(Counts, "a")
            for _ in range(count // 10):
                await asyncio.gather(*[counts.call(Counts.add, 1) for _ in range(10)])
            until = time.monotonic() + WITHIN_S
            while opened[-1].replaced(1 << 62, 1) and time.monotonic() < until:
                await asyncio.sleep(0.05)
            assert not opened[-1].replaced(1 << 62, 1), "what nobody needs is still there"
        async with Worker(f"embedded:{path}", entities=[Counts]), Client(f"embedded:{path}") as c:
            assert await c.entity(Counts, "a").call(Counts.value_now) == count
        rows = _rows(path)
        return rows["history"] + rows["runs"] + rows["latest"]

    async def main() -> None:
        few, many = await stored_after(20), await stored_after(OPERATIONS)
        assert many <= 1.2 * few, (few, many)

    asyncio.run(main())
