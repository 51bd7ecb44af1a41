"""Routes that read runs: descriptions, lists, histories, results, and what happens meanwhile."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Final, get_type_hints

import msgspec

from processor import arguments as given
from processor.api.calls import HttpCall
from processor.api.problems import HttpProblem
from processor.api.routing import ENCODER, HttpAnswer, route
from processor.client import Handle, HistoryEvent, RunDescription, RunHistory, ViewPosition
from processor.client.descriptions import description, descriptions, history, read
from processor.core.questions import ListRuns, ReadHistory
from processor.errors import InvalidArgument, ShardUnavailable, WorkflowNotFound
from processor.policy import Status
from processor.views.answers import Found
from processor.views.asking import view_of

__all__ = (
    *("ENDPOINTS", "OfRun", "RunView", "check_chain", "page_of_history", "run_page", "run_view"),
)

_SEEN: Final = (
    *("workflow_id", "run_id", "workflow", "status", "started", "closed", "events", "shard"),
    *("successor", "begins", "cron", "next_begins", "parent", "root", "parent_namespace", "view"),
)
"""What whoever may not read payloads sees of a run."""

_LOOK_S: Final = 0.1
_LOOK_MAX_S: Final = 1.0
"""How often it is looked whether a run has changed: at first, and after a while."""

_PART_BYTES: Final = 65_536
"""So much of a page is kept for a watcher who reads slowly."""

_PAGE_MAX: Final = 1_000
_TURN: Final = 64
"""A turn of so many events is large."""

Limit = Annotated[int, msgspec.Meta(ge=1, le=_PAGE_MAX)]


class OfRun(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Which run of the id: ``run_id`` one, ``first_run_id`` a chain; else the latest one."""

    run_id: str | None = None
    first_run_id: str | None = None


EventNumber = Annotated[int, msgspec.Meta(le=10**18 - 1)]
"""As many digits as the id of a server-sent event may have."""


class DescribeQuery(OfRun, frozen=True):
    """``wait``: seconds until there are more than ``after`` events, or another status."""

    wait: float | None = None
    after: EventNumber | None = None


class HistoryQuery(OfRun, frozen=True):
    """A page begins behind the event ``after``."""

    after: EventNumber | None = None
    limit: Limit = 100


class ResultQuery(OfRun, frozen=True):
    """``wait``: how many seconds to wait for it."""

    wait: float | None = None


class ListQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """``cursor`` is that of the page before; ``query`` stands in place of the other conditions."""

    query: str | None = None
    status: str | None = None
    workflow: str | None = None
    limit: Limit = 100
    cursor: str | None = None


def _field_of_run(name: str, hint: Any) -> tuple[Any, ...]:
    """Return a field of a run in JSON: one that not everybody sees may be missing."""
    hint = dict[str, Any] if name in ("attributes", "pending") else hint
    return (name, hint) if name in _SEEN else (name, hint | msgspec.UnsetType, msgspec.UNSET)


RunView: Final[Any] = msgspec.defstruct(
    "RunView",
    sorted((_field_of_run(*each) for each in get_type_hints(RunDescription).items()), key=len),
    frozen=True,
)
"""A run as JSON: ``RunDescription``, or what of it a caller may see."""


class RunPage(msgspec.Struct, frozen=True):
    """``behind`` is there where a view answers a query: how many records it is behind the log."""

    items: list[RunView]
    cursor: str | None
    behind: int | None = None


class CountQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An empty query counts all runs."""

    query: str = ""


class CountView(msgspec.Struct, frozen=True):
    """``figures`` are those that the query selects, of all runs; ``behind`` is as for lists."""

    count: int
    groups: list[Any]
    figures: dict[str, Any]
    behind: int


class HistoryPage(msgspec.Struct, frozen=True):
    """Events of one run, payloads as plain JSON. ``after`` is for the next page; None: no more.

    ``view`` is there where no worker has answered, and a view did: how far that was.
    """

    run_id: str
    items: list[HistoryEvent]
    after: int | None
    view: ViewPosition | None


class ResultView(msgspec.Struct, frozen=True):
    result: Any


class NotEnded(msgspec.Struct, frozen=True):
    status: Status


def run_view(call: HttpCall, run: RunDescription) -> Any:
    """Return what a caller may see of a run."""
    if call.may("read"):
        return run
    view: dict[str, Any] = {name: getattr(run, name) for name in _SEEN}
    if run.parked is not None:
        view["parked"] = {"kind": run.parked.get("kind")}
    view["pending"] = {
        name: len(each) for name, each in run.pending.items() if isinstance(each, list)
    }
    return view


def _event_view(call: HttpCall, event: HistoryEvent) -> Any:
    if call.may("read"):
        return event
    return {"number": event.number, "time": event.time, "type": event.type}


def _etag(run: RunDescription) -> str:
    source = "" if run.view is None else ".view"
    return f'"{run.run_id}.{run.events}.{run.status.value}{source}"'


@route("GET", "/instances", "view", query=ListQuery, answers={200: RunPage})
async def list_runs(call: HttpCall) -> HttpAnswer:
    """List the latest run of each workflow id, shard by shard."""
    query = call.query
    if query.query is not None:
        return await _found(call, query)
    wanted = None if query.status is None else given.status(query.status)
    runs, cursor = await run_page(call, wanted, query.workflow, query.limit, query.cursor)
    return HttpAnswer({"items": [run_view(call, run) for run in runs], "cursor": cursor})


async def _found(call: HttpCall, asked: ListQuery) -> HttpAnswer:
    """Answer with the runs that a query finds.

    It can ask for values of attributes, so that only who may read them may ask.
    """
    call.needs("read")
    if asked.status is not None or asked.workflow is not None:
        raise InvalidArgument("query: say status and workflow in the query, too")
    page = await call.client._search(str(asked.query), "query", asked.limit, asked.cursor)
    assert isinstance(page, Found), f"a view answers a list with {page}"
    shown = zip(page.runs, page.shards, strict=True)
    runs = [description(view_of(run, shard)) for run, shard in shown]
    return HttpAnswer({"items": runs, "cursor": page.cursor, "behind": page.behind})


@route("GET", "/count", "read", query=CountQuery, answers={200: CountView})
async def count(call: HttpCall) -> HttpAnswer:
    """Count the runs that a query finds, in all and in each of its groups."""
    found = await call.client.count(call.query.query)
    return HttpAnswer(CountView(found.count, list(found.groups), dict(found.figures), found.behind))


async def run_page(
    call: HttpCall, status: str | None, workflow: str | None, limit: int, cursor: str | None
) -> tuple[list[RunDescription], str | None]:
    """Return runs, and the cursor of those that follow; None: there are no more."""
    calls = call.client._calls
    runs: list[RunDescription] = []
    shard, after = _place(cursor, calls.gateway.partitions)
    for partition in range(shard, calls.gateway.partitions):
        while len(runs) < limit and after is not None:
            body = ListRuns(status, workflow, after, limit - len(runs))
            page = await calls.page("", body, partition=partition)
            runs += descriptions(page, partition, calls.payloads)
            after = page.after
        if len(runs) >= limit:
            return runs, _cursor(partition, after, calls.gateway.partitions)
        after = ""
    return runs, None


def _cursor(partition: int, after: str | None, partitions: int) -> str | None:
    if after is None:
        partition, after = partition + 1, ""
    if partition >= partitions:
        return None
    return urlsafe_b64encode(f"{partition}:{after}".encode()).decode()


def _place(cursor: str | None, partitions: int) -> tuple[int, str | None]:
    """Return where a page begins. Raises ``InvalidArgument``."""
    if cursor is None:
        return 0, ""
    try:
        shard, colon, after = urlsafe_b64decode(cursor.encode()).decode().partition(":")
        if colon and 0 <= int(shard) < partitions:
            return int(shard), after
    except ValueError:
        pass
    raise InvalidArgument("cursor: give the one that the page before has")


@route(
    "GET",
    "/instances/{id}",
    "view",
    query=DescribeQuery,
    answers={200: RunView, 304: None},
    headers=("If-None-Match",),
)
async def describe(call: HttpCall) -> HttpAnswer:
    """Describe a run. ``?wait=30&after=57`` waits for what comes after event 57."""
    query, handle = call.query, call.handle
    run = await handle.describe()
    if query.wait is not None:
        seen = run.events if query.after is None else query.after + 1
        with call.watching():
            run = await _changed(call, handle, run, seen, call.bounded(query.wait))
    etag = {"etag": _etag(run)}
    if _has(call.request.listed("if-none-match"), etag["etag"]):
        return HttpAnswer(None, 304, etag)
    return HttpAnswer(run_view(call, run), 200, etag)


def _has(given: str, etag: str) -> bool:
    """Return whether tags of a client are that of the answer; a proxy may have made it a weak one.

    Ours have no comma in them.
    """
    tags = {each.strip().removeprefix("W/") for each in given.split(",")}
    return etag in tags or "*" in tags


async def check_chain(call: HttpCall, run_id: str | None) -> None:
    """Refuse a run that is not of the chain that the caller's capability is for.

    Raises ``HttpProblem`` (403).
    """
    chain = call.caller.first_run_id
    if chain is None or run_id in (None, chain):
        return
    handle, lineage = call.client.handle(call.path["id"], run_id), None
    with suppress(WorkflowNotFound):
        _, events, _ = await page_of_history(handle, (run_id, None), 0)
        lineage = events[0].fields.get("lineage") if events and events[0].number == 0 else None
    if lineage is None or lineage.get("first_run_id") != chain:
        raise HttpProblem(403, "this capability is for another run")


async def _changed(
    call: HttpCall, handle: Handle[Any], run: RunDescription, seen: int, wait_s: float
) -> RunDescription:
    """Return a run once it has more events than were seen, or is another one, or in time."""
    pause_s, before = _LOOK_S, run
    while wait_s > 0 and not call.api.is_stopping:
        if run.events > seen or not run.status.is_open or run.run_id != before.run_id:
            return run
        pause_s = min(pause_s, wait_s)
        await call.api.pause(pause_s)
        wait_s -= pause_s
        pause_s = min(pause_s * 1.5, _LOOK_MAX_S)
        run = await handle.describe()
        if run.status is not before.status:
            return run
    return run


async def page_of_history(
    handle: Handle[Any], which: tuple[str | None, str | None], first: int
) -> tuple[str, RunHistory, int | None]:
    """Return the run, its events from a number on, and where the next page begins.

    A shard reads whole turns. So it is asked from further back where the number is inside of one.
    """
    calls, back, start = handle._calls, _TURN, first
    while True:
        page = await calls.page(handle.id, ReadHistory(*which, start))
        events = read(page, history, calls.payloads)
        more = None if page.after is None else int(page.after)
        if start > 0 and (not events or events[0].number > first):
            start, back = max(first - back, 0), back * _TURN
            continue
        left = [each for each in events if each.number >= first]
        if left or more is None:
            return events.run_id, RunHistory(events.run_id, left, events.view), more
        start = more


@route("GET", "/instances/{id}/history", "view", query=HistoryQuery, answers={200: HistoryPage})
async def read_history(call: HttpCall) -> HttpAnswer:
    """Read the events of a run, a page at a time."""
    query, handle = call.query, call.handle
    first = 0 if query.after is None else query.after + 1
    run_id, events, more = await page_of_history(handle, handle._which, first)
    left = events[query.limit :]
    shown = events[: query.limit]
    after = shown[-1].number if shown and (left or more is not None) else None
    items = [_event_view(call, each) for each in shown]
    return HttpAnswer({"run_id": run_id, "items": items, "after": after, "view": events.view})


@route(
    "GET",
    "/instances/{id}/result",
    "read",
    query=ResultQuery,
    answers={200: ResultView, 202: NotEnded},
    headers=("Prefer",),
)
async def read_result(call: HttpCall) -> HttpAnswer:
    """Return the result of a run, or wait for it; 202 while it goes on."""
    handle = call.handle
    try:
        wait_s = call.wait_s if call.query.wait is None else call.query.wait
        with call.watching():
            result = await call.api.waited(handle.result(call.bounded(wait_s or 0.0)))
    except TimeoutError:
        run = await handle.describe()
        if run.view is not None and not run.status.is_open:
            raise ShardUnavailable(
                f"{handle.id!r}: it is {run.status.value}, says the view, and no worker answers, "
                f"which results take: ask again, or read the description of the run"
            ) from None
        return HttpAnswer(NotEnded(run.status), 202, call.later(_same(call)))
    return HttpAnswer(ResultView(result))


def _same(call: HttpCall) -> str:
    which = {name: getattr(call.query, name) for name in ("run_id", "first_run_id")}
    first = call.caller.first_run_id
    if first is not None:
        return call.run_url(call.path["id"], first, "result", may="read")
    return call.url("instances", call.path["id"], "result", **which)


@route(
    "GET",
    "/instances/{id}/watch",
    "view",
    query=OfRun,
    answers={200: str},
    headers=("Last-Event-ID",),
)
async def watch(call: HttpCall) -> HttpAnswer:
    """Stream the events of a run as server-sent events; ``Last-Event-ID`` goes on from there."""
    handle = call.handle
    run = await handle.describe()
    run_id, first = run.run_id, 0
    if last := call.headers.get("last-event-id"):
        run_id, _, number = last.rpartition(":")
        if not run_id or not number.isdecimal() or len(number) > 18:
            raise InvalidArgument("Last-Event-ID: give the id of an event of this stream")
        first = int(number) + 1
    if run_id != run.run_id:
        await check_chain(call, run_id)
    followed = call.client.handle(handle.id, run_id)
    if run_id != run.run_id:
        await followed.describe()  # the stream can tell nothing but its end
    with call.watching("streams"):  # nor this: the stream counts itself
        pass
    return HttpAnswer(stream=_stream(call, followed, first))


async def _stream(call: HttpCall, handle: Handle[Any], first: int) -> AsyncIterator[bytes]:
    """Yield what happens in one run, until it has ended."""
    pause_s = _LOOK_S
    with call.watching("streams"):
        while not call.api.is_stopping:
            run = await handle.describe()
            while first < run.events:
                part, after = await _part(call, handle, first)
                first, pause_s = after or run.events, _LOOK_S
                if part:
                    yield part
            if not run.status.is_open:
                yield _sent("", "end", {"status": run.status, "successor": run.successor})
                return
            await call.api.pause(pause_s)
            pause_s = min(pause_s * 1.5, _LOOK_MAX_S)


async def _part(call: HttpCall, handle: Handle[Any], first: int) -> tuple[bytes, int | None]:
    """Return events from a number on, as they are sent, and the number after them, if any is left.

    No more of a page is kept for whoever reads slowly: the rest is read again.
    """
    run_id, events, _ = await page_of_history(handle, (handle.run_id, None), first)
    part, after = bytearray(), None
    for event in events:
        part += _sent(f"{run_id}:{event.number}", event.type, _event_view(call, event))
        after = event.number + 1
        if len(part) >= _PART_BYTES:
            break
    return bytes(part), after


def _sent(id: str, kind: str, data: Any) -> bytes:
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {kind}\ndata: ".encode() + ENCODER.encode(data) + b"\n\n"


ENDPOINTS = (list_runs, count, describe, read_history, read_result, watch)
