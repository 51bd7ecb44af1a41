"""The route that reads tables of users."""

from __future__ import annotations

from typing import Annotated

import msgspec

from processor.api.calls import HttpCall
from processor.api.routing import HttpAnswer, route
from processor.checks import name as checked_name
from processor.views.answers import ViewRow
from processor.views.tables.pages import TableSearch

__all__ = ("ENDPOINTS",)


class ViewQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Rows whose keys begin with ``prefix``, behind the key ``after``."""

    prefix: str = ""
    after: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class ViewPage(msgspec.Struct, frozen=True):
    """Rows in the order of their keys. ``after`` is for the next page; None: no more.

    ``behind``: so many records of the log are not in the table.
    """

    items: list[ViewRow]
    after: str | None
    behind: int


@route("GET", "/views/{name}", "read", query=ViewQuery, answers={200: ViewPage})
async def read_view(call: HttpCall) -> HttpAnswer:
    """Read a table that a function under ``@views.table`` makes of what happens to runs."""
    query, name = call.query, checked_name(call.path["name"], "views: name")
    calls = call.client._calls
    search = TableSearch(name, f"view {name!r}", query.limit, query.prefix, query.after)
    page = await calls.gateway.view(search, timeout_s=calls.settings.request_timeout_s)
    return HttpAnswer(ViewPage(list(page.rows), page.after, page.behind))


ENDPOINTS = (read_view,)
