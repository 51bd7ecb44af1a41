"""The pages of the look-up: ``GET /instances/{id}`` and ``GET /lag``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from faust.types.web import Request, Response
from faust.web import View

from processor.errors import StoreCorrupt
from processor.kafka.clients.connection import partition_of
from processor.views.stream.lookup.app import LookupApp
from processor.views.stream.lookup.entries import LatestRun

__all__ = ("Admits", "add_pages")

Admits: TypeAlias = Callable[[str | None], bool]
"""Whether what an Authorization header says may look up; None: there is no such header."""

Handler: TypeAlias = Callable[..., Awaitable[Response]]

_LOCAL: Final = frozenset(("localhost", "127.0.0.1", "::1"))


def add_pages(app: LookupApp, admits: Admits | None) -> None:
    """Add the pages. Without ``admits`` anybody may ask who reaches the address."""

    async def instance(view: View, request: Request, id: str) -> Response:
        return _answer(view, *_looked_up(app, id))

    async def lag(view: View, request: Request) -> Response:
        found = app.numbers()
        total = sum(each["lag"] or 0 for each in found)
        return view.json({"url": app.where.url, "lag": total, "partitions": found})

    routed = app.table_route(app.instances, match_info="id")(instance)
    app.page("/instances/{id}", name="instance")(_guarded(app, admits, routed))
    app.page("/lag", name="lag")(_guarded(app, admits, lag))


def _guarded(app: LookupApp, admits: Admits | None, handler: Handler) -> Handler:
    """Ask who asks, before anything else."""
    names = {*_LOCAL, app.where.host.lower()}

    async def get(view: View, request: Request, **given: Any) -> Response:
        if _host(request) not in names:
            return _answer(view, *_problem(421, f"it is asked as {app.where.url}"))
        if admits is not None and not admits(request.headers.get("authorization")):
            told = _problem(401, "nobody has this token: send Authorization: Bearer TOKEN")
            return _answer(view, *told)
        return await handler(view, request, **given)

    return get


def _host(request: Request) -> str:
    """Return the host that a request is for; "" where that is none."""
    try:
        return (request.url.host or "").lower()
    except ValueError:
        return ""


def _looked_up(app: LookupApp, id: str) -> tuple[dict[str, Any], int]:
    partition = partition_of(id, app.partitions)
    fold = app.folds.get(partition)
    if fold is None:
        why = f"partition {partition} is on its way to another process: try again in some seconds"
        return _problem(503, why)
    if fold.stale:
        return _problem(503, f"partition {partition} is being made anew from the log: try again")
    try:
        entry = app.found(id, partition)
    except StoreCorrupt:
        why = f"the files of partition {partition} are damaged, and made anew: try again"
        return _problem(503, why)
    if entry is None:
        behind = app.lag().get(partition)
        return _problem(404, f"no run of {id!r} is known, {behind} records behind the log")
    return _shown(app, entry, partition), 200


def _answer(view: View, body: Mapping[str, Any], status: int) -> Response:
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return view.json(body, status=status, headers=headers)


def _problem(status: int, detail: str) -> tuple[dict[str, Any], int]:
    return {"status": status, "detail": detail}, status


def _shown(app: LookupApp, entry: LatestRun, partition: int) -> dict[str, Any]:
    """Return what is told of a run; nothing that users gave but its names, and why it failed."""
    row = entry.row
    return {
        "workflow_id": row.workflow_id,
        "run_id": row.run_id,
        "workflow": row.workflow,
        "status": row.status.value,
        "started": _time(row.started_ms),
        "closed": None if row.closed_ms is None else _time(row.closed_ms),
        "problem": row.problem,
        "position": entry.position,
        "partition": partition,
        "lag": app.lag().get(partition),
        "answered_by": app.where.url,
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
