"""What a view tells of runs in the place of their shard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from processor.client.descriptions import RunDescription, description, history
from processor.core.nouns.activity import ActivityCompleted, ActivityScheduled
from processor.core.nouns.run import WorkflowCompleted
from processor.core.nouns.value import StatusSet
from processor.core.questions import DescribeRun, ListRuns, ReadHistory
from processor.core.records.answers import Page, Refused
from processor.testing import Environment
from processor.views.reading import OfRun, answered, listed
from processor.views.rows import Rows, open_rows

from .runs import Log, attempt, purged, snapshot, started, turn
from .test_kills import folded, order, stumbles


def kept() -> Rows:
    return open_rows(None, 0, "log", histories=True)


def told(rows: Rows, id: str, body: OfRun, end: int = 0, now_ms: int = 0) -> Any:
    page = answered(rows, id, body, end, now_ms)
    assert isinstance(page, Page), page
    return json.loads(page.content)


def without_code(run: RunDescription) -> dict[str, Any]:
    """Return what a description says that is no worker's own."""
    view = dict(vars(run))
    pending = {name: each for name, each in run.pending.items() if name not in _OF_CODE}
    return view | {"pending": pending, "producer": "", "view": None}


_OF_CODE = ("waiting", "unread")


@asynccontextmanager
async def fourteen() -> AsyncIterator[tuple[Environment, Rows]]:
    """Play fourteen orders for a while, and fold their log."""
    async with Environment([order], [stumbles], seed=5) as env:
        for number in range(14):
            await env.start(order, number, id=f"{number}", attributes={"customer": "ada"})
        await env.sleep(2)
        yield env, folded(kept(), list(env._world.broker.logs[0].written))


def test_a_view_tells_what_the_shard_tells() -> None:
    async def play() -> None:
        async with fourteen() as (env, rows):
            runs = rows.connection.execute("SELECT workflow_id, run_id FROM runs").fetchall()
            assert len(runs) > 20
            statuses = set()
            for workflow_id, run_id in runs:
                handle = env.handle(workflow_id, run_id)
                theirs = await handle.describe()
                ours = description(told(rows, workflow_id, DescribeRun(run_id)))
                assert ours.view is not None and "pending.waiting" in ours.view.unknown
                assert without_code(ours) == without_code(theirs)
                statuses.add(ours.status)
                events = history(told(rows, workflow_id, ReadHistory(run_id)))
                assert events == await handle.history()
                latest = description(told(rows, workflow_id, DescribeRun()))
                assert latest.run_id == (await env.handle(workflow_id).describe()).run_id
                chain = DescribeRun(first_run_id=run_id)
                if isinstance(answered(rows, workflow_id, chain, 0, 0), Page):
                    last = description(told(rows, workflow_id, chain))
                    assert last.run_id == latest.run_id
            assert len(statuses) > 2, statuses

    asyncio.run(play())


def test_where_an_activity_stands_is_kept_until_it_is_over() -> None:
    rows = kept()
    log = Log(rows)
    log.take(turn("a/1", 0, started(), ActivityScheduled(1, "charge", None, False)))
    log.take(attempt("a/1", 1, 1), attempt("a/1", 1, 3))
    (activity,) = told(rows, "a", DescribeRun())["pending"]["activities"]
    assert (activity["failures"], activity["last_failure"]["type"]) == (3, "Down")
    log.take(turn("a/1", 2, ActivityCompleted(1, 4, None)))
    assert told(rows, "a", DescribeRun())["pending"]["activities"] == []
    assert rows.connection.execute("SELECT count(*) FROM attempts").fetchone() == (0,)
    log.take(turn("a/1", 3, ActivityScheduled(2, "charge", None, False)), attempt("a/1", 2, 1))
    log.take(turn("a/1", 4, WorkflowCompleted(None)), attempt("a/1", 2, 2))
    assert rows.connection.execute("SELECT count(*) FROM attempts").fetchone() == (0,)


def test_a_run_that_is_purged_has_no_history() -> None:
    rows = kept()
    log = Log(rows)
    log.take(turn("a/1", 0, started(), WorkflowCompleted(b"5")), turn("b/1", 0, started()))
    assert told(rows, "a", DescribeRun())["result"] == 5
    log.take(purged("a/1"))
    refused = answered(rows, "a", DescribeRun(), rows.position, 0)
    assert isinstance(refused, Refused)
    assert refused.error == "WorkflowNotFound"
    assert "no run of workflow id 'a' (purged ones are not in it)" in refused.message
    assert rows.connection.execute("SELECT count(*) FROM turns").fetchone() == (1,)


def test_who_is_not_in_a_view_that_is_behind_may_be_there() -> None:
    refused = answered(kept(), "a", DescribeRun(), 3, 0)
    assert isinstance(refused, Refused)
    assert refused.error == "ShardUnavailable"
    assert "no run of workflow id 'a'. It is 3 records behind the log" in refused.message


def test_a_view_lists_what_the_shard_lists() -> None:
    async def play() -> None:
        async with fourteen() as (env, rows):
            for status in (None, "completed", "running"):
                theirs = [each async for each in env.list(status=status)]
                ours = list_of(rows, status, 3)
                assert [each | {"view": None} for each in map(vars, ours)] == [*map(vars, theirs)]
                assert all(run.view is not None and not run.view.unknown for run in ours)
            assert list_of(rows, None, 3, workflow="none") == []

    asyncio.run(play())


def list_of(
    rows: Rows, status: str | None, limit: int, workflow: str | None = None
) -> list[RunDescription]:
    found: list[RunDescription] = []
    after: str | None = ""
    while after is not None:
        page = listed(rows, ListRuns(status, workflow, after, limit), rows.position, 0)
        runs = json.loads(page.content)
        assert len(runs) <= limit
        found += [description(each | {"shard": 0}) for each in runs]
        after = page.after
    return found


def test_a_page_of_a_list_has_a_bound() -> None:
    rows = kept()
    log = Log(rows)
    for name in ("a", "b", "c"):
        log.take(turn(f"{name}/1", 0, started()))
        for number in range(1, 6):
            log.take(turn(f"{name}/1", number, StatusSet(b'"' + b"x" * 390_000 + b'"')))
    page = listed(rows, ListRuns(), 0, 0)
    assert (len(json.loads(page.content)), page.after) == (2, "b")


def test_it_says_how_far_it_is() -> None:
    rows = kept()
    log = Log(rows)
    log.take(turn("a/1", 0, started(), at=7))
    there = {"position": 2, "behind": 0, "time_ms": 90}
    assert told(rows, "a", ReadHistory(), 2, 90)["view"] == there
    behind = {"position": 2, "behind": 3, "time_ms": 7}
    assert told(rows, "a", ReadHistory(), 5, 90)["view"] == behind


def test_a_long_history_has_pages() -> None:
    rows = kept()
    log = Log(rows)
    log.take(turn("a/1", 0, started()))
    for number in range(1, 12):
        log.take(turn("a/1", number, StatusSet(b'"' + b"x" * 90_000 + b'"')))
    first, found = 0, list[int]()
    while True:
        page = answered(rows, "a", ReadHistory(first=first), 0, 0)
        assert isinstance(page, Page) and len(page.content) < 600_000
        found += [each["number"] for each in json.loads(page.content)["events"]]
        if page.after is None:
            break
        first = int(page.after)
    assert found == list(range(12))


def test_a_snapshot_behind_what_is_gone_begins_anew() -> None:
    """A view that stood still while turns of an entity were cleaned goes on from the snapshot."""
    rows = kept()
    log = Log(rows)
    log.take(turn("a/1", 0, started(), StatusSet(None)))
    log.take(snapshot("a/1", 7, StatusSet(b"8"), at=3), turn("a/1", 8, StatusSet(b"9"), at=4))
    shown = told(rows, "a", DescribeRun())
    assert (shown["events"], shown["custom_status"], shown["base"]) == (9, 9, 7)
    row = rows.row("a/1")
    assert row is not None and row.events == 9
    events = told(rows, "a", ReadHistory())["events"]
    assert [each["number"] for each in events] == [7, 8]
