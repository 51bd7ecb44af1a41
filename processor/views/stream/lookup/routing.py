"""Which process has a workflow id: Faust knows who has which partition of the table.

Faust's own router asks its producer for the partition of a key, which knows no topic before it has
sent something there; it waits for an answer without a bound, and passes on all headers.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp
from faust.app.router import Router
from faust.exceptions import SameNode
from faust.types.web import Request, Response, Web
from yarl import URL

from processor.kafka.clients.connection import partition_of

__all__ = ("ROUTED", "OwnersRouter")

ROUTED: Final = "x-processor-routed"
"""Set on what another process passed on: it is answered here, or nowhere."""

_ANSWER_S: Final = 5.0


class OwnersRouter(Router):
    """Passes a request on to the process that has its workflow id."""

    app: Any

    async def route_req(self, table_name: str, key: Any, web: Web, request: Request) -> Response:
        if ROUTED in request.headers:
            raise SameNode
        partition = partition_of(key, self.app.partitions)
        owner = self._owner(partition)
        if owner is None:
            return _unavailable(web, f"nobody has partition {partition} at this moment")
        if owner == self.app.conf.canonical_url:
            raise SameNode
        headers = {ROUTED: str(self.app.conf.canonical_url)}
        if token := request.headers.get("authorization"):
            headers["authorization"] = token
        url = owner.with_path(request.rel_url.raw_path, encoded=True)  # an id may be two dots
        try:
            async with asyncio.timeout(_ANSWER_S):
                async with self.app.http_client.get(
                    url, headers=headers, allow_redirects=False
                ) as answer:
                    text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            why = f"{owner}, which has partition {partition}, does not answer ({error!r})"
            return _unavailable(web, why)
        return web.text(text, content_type="application/json", status=answer.status)

    def _owner(self, partition: int) -> URL | None:
        topic = self._get_table_topic(self._get_table("instances"))
        for host, topics in self._assignor.table_metadata(topic).items():
            if partition in topics.get(topic, ()):
                return URL(host)
        return None


def _unavailable(web: Web, why: str) -> Response:
    detail = f"{why}: partitions change hands within 12 s after a process is gone. Try again then"
    return web.json({"status": 503, "detail": detail}, status=503)
