"""Whoever folds may be killed at any statement: the rows are those of a fresh fold afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from random import Random
from typing import Any

import pytest

from processor import ApplicationError, RetryPolicy, activity, workflow
from processor.shard.ports import LogRecord
from processor.testing import Environment
from processor.views.rows import Rows, open_rows
from processor.views.search import feed

TABLES = ("runs", "attributes", "counts", "turns", "attempts")


@activity.define(retry=RetryPolicy(initial_interval=1, maximum_attempts=3))
async def stumbles(times: int) -> int:
    if activity.info().attempt <= times:
        raise ValueError("it stumbles")
    return times


@workflow.define(retry=RetryPolicy(initial_interval=1, maximum_attempts=2))
async def order(number: int) -> int:
    workflow.upsert_attributes({"tries": workflow.info().attempt, "tags": ["a", "b"]})
    if number % 3 == 0:
        await stumbles(number % 4)
    workflow.upsert_attributes({"tags": None if number % 2 else ["b"], "number": number})
    if number % 5 == 1 and workflow.info().attempt == 1:
        raise ApplicationError("not yet")
    if number > 9:
        workflow.continue_as_new(number - 10)
    if number == 2:
        await workflow.wait_for_event("never")
    return number


@pytest.fixture(scope="module")
def log() -> list[LogRecord]:
    """Return what a few runs have left in a log."""

    async def play() -> list[LogRecord]:
        async with Environment([order], [stumbles], seed=5) as env:
            for number in range(14):
                await env.start(order, number, id=f"{number}", attributes={"customer": "ada"})
            await env.sleep(60)
            return list(env._world.broker.logs[0].written)

    return asyncio.run(play())


def dump(rows: Rows) -> list[Any]:
    """Return all rows by what they are of: numbers of runs are given anew by a fresh fold."""
    ids = dict(rows.connection.execute("SELECT run, run_id FROM runs"))
    found: list[Any] = [rows.position, rows.place.epoch]
    for table in TABLES:
        lines = rows.connection.execute(f"SELECT * FROM {table}").fetchall()
        if table != "counts":
            lines = [(ids[line[0]], *line[1:]) for line in lines]
        found.append(sorted(line for line in map(repr, lines) if not line.endswith(", 0)")))
    return found


def folded(rows: Rows, log: list[LogRecord]) -> Rows:
    feed(rows, lambda first, end: (each for each in log if first <= each.offset < end), len(log))
    return rows


class Killed(Exception):
    """The process ends here."""


class Killing:
    """A connection whose process is killed at a statement."""

    def __init__(self, connection: sqlite3.Connection, at: int) -> None:
        self._connection = connection
        self.left = at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("_connection", "left"):
            super().__setattr__(name, value)
        else:
            setattr(self._connection, name, value)

    def execute(self, *how: Any) -> Any:
        self._step()
        return self._connection.execute(*how)

    def executemany(self, *how: Any) -> Any:
        self._step()
        return self._connection.executemany(*how)

    def _step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def test_rows_are_those_of_a_fresh_fold_wherever_it_is_killed(
    tmp_path: Path, log: list[LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = dump(folded(open_rows(None, 0, "log", histories=True), log))
    assert len(fresh[2]) > 20 and len(fresh[3]) > 30, "the story is long enough"
    assert len(fresh[5]) > len(fresh[2]), "and it has turns"
    monkeypatch.setattr("processor.views.search._GROUP", 7)
    rows = open_rows(tmp_path / "first", 0, "log", histories=True)
    counting = Killing(rows.connection, 1 << 40)
    rows.connection = counting  # type: ignore[assignment]
    folded(rows, log)
    statements = (1 << 40) - counting.left
    rows.close()
    steps = sorted(Random(3).sample(range(statements), 150))
    for step in steps:
        folder = tmp_path / str(step)
        rows = open_rows(folder, 0, "log", histories=True)
        connection = rows.connection
        rows.connection = Killing(connection, step)  # type: ignore[assignment]
        with pytest.raises(Killed):
            folded(rows, log)
        connection.close()  # what is not committed is gone, as it is with a process
        again = folded(open_rows(folder, 0, "log", histories=True), log)
        assert dump(again) == fresh, f"killed at statement {step}"
        again.close()


def test_rows_do_not_depend_on_the_groups(log: list[LogRecord], monkeypatch: Any) -> None:
    fresh = dump(folded(open_rows(None, 0, "log", histories=True), log))
    for group in (1, 2, 10, 1_000):
        monkeypatch.setattr("processor.views.search._GROUP", group)
        assert dump(folded(open_rows(None, 0, "log", histories=True), log)) == fresh
