"""The ``Gateway`` over HTTP: a request is a command, posted as the record that Kafka would have."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import urlencode

import msgspec

from processor import checks, errors
from processor.codec.records import decode_as, encode
from processor.config import Settings
from processor.core.data.cause import NamedRequest
from processor.core.inputs import ClientCommand
from processor.core.operation import Operation
from processor.core.records.answers import ReplyBody
from processor.core.records.effects import Reply
from processor.errors import (
    InvalidArgument,
    ProcessorError,
    RequestError,
    SchemaMismatch,
    ShardUnavailable,
)
from processor.gateway import CLOSED, is_answer
from processor.remote.token import TOKEN, token_headers
from processor.remote.urls import url_part
from processor.views.answers import Found, RunCount
from processor.views.search import RunSearch

if TYPE_CHECKING:
    import httpx

    from processor.views.tables.pages import TablePage, TableSearch

__all__ = ("HttpGateway",)

_RECORD: Final = "application/octet-stream"
_AGAIN_S: Final = 0.2
_GRACE_S: Final = 2.0
"""How much longer than its wait a request may take on its way."""

_CONNECTIONS_MAX: Final = 500
_OK: Final = 200
_LATER: Final = frozenset((429, 502, 503, 504))


class _Namespace(msgspec.Struct, frozen=True):
    partitions: Annotated[int, msgspec.Meta(ge=1, le=checks.NUMBER_MAX)]


class _Problem(msgspec.Struct, frozen=True):
    type: str
    detail: str


_NAMESPACE: Final = msgspec.json.Decoder(_Namespace)
_PROBLEM: Final = msgspec.json.Decoder(_Problem)


class HttpGateway:
    """Lives on the loop that ``start`` is called on. ``server`` is the URL of the API."""

    def __init__(self, server: str, namespace: str, settings: Settings) -> None:
        self._server = server.rstrip("/")
        self._url = f"{self._server}/api/v1/namespaces/{url_part(namespace)}"
        self._settings = settings
        self._partitions = 0
        self._http: httpx.AsyncClient | None = None
        self._closed = False

    @property
    def partitions(self) -> int:
        self._usable()
        return self._partitions

    async def start(self) -> None:
        """Ask the API for the namespace. Raises ``ShardUnavailable``, ``NamespaceNotFound``."""
        try:
            import httpx
        except ModuleNotFoundError as error:
            raise InvalidArgument(
                f"server: {self._server!r} takes processor[http]: pip install '.[http]' in a clone "
                "of processor's repository"
            ) from error
        headers, limits = token_headers(), httpx.Limits(max_connections=_CONNECTIONS_MAX)
        self._closed = False
        self._http = httpx.AsyncClient(headers=headers, limits=limits)
        try:
            limit_s = self._settings.request_timeout_s
            answer = await self._answered("GET", self._url, limit_s, None)
            self._partitions = _NAMESPACE.decode(answer.content).partitions
        except (ValueError, RecursionError) as error:
            await self.close()
            raise SchemaMismatch(f"{self._server} is no HTTP API of processor's") from error
        except BaseException:
            await self.close()
            raise

    async def request(
        self, command: ClientCommand, *, timeout_s: float, partition: int | None = None
    ) -> ReplyBody:
        """Return the shard's answer. What may change something has a name, and counts once."""
        if command.cause is None and isinstance(command.body, Operation):
            command = replace(command, cause=NamedRequest(f"http/{secrets.token_urlsafe(16)}"))
        url = f"{self._url}/commands" + ("" if partition is None else f"?partition={partition}")
        answer = await self._answered("POST", url, timeout_s, encode(command))
        body = decode_as(Reply, answer.content).body
        if not is_answer(command.body, body):
            raise SchemaMismatch(
                f"{self._server} answers {type(command.body).__name__} with {type(body).__name__}: "
                "something else than the HTTP API answers there, or its release is another one"
            )
        return body

    async def search(self, search: RunSearch, *, timeout_s: float) -> Found | RunCount:
        """Return what the view behind the API says."""
        from processor.views.packed import PackedSearch, unpacked_count, unpacked_found

        asked = PackedSearch(search.query.text, search.what, search.limit, search.cursor)
        content = msgspec.msgpack.encode(asked)
        answer = await self._answered("POST", f"{self._url}/searches", timeout_s, content)
        return (unpacked_count if search.limit is None else unpacked_found)(answer.content)

    async def view(self, search: TableSearch, *, timeout_s: float) -> TablePage:
        """Return what a table behind the API says."""
        from processor.views.packed import unpacked_table

        asked = {"prefix": search.prefix, "limit": str(search.limit)}
        if search.after is not None:
            asked["after"] = search.after
        url = f"{self._url}/views/{url_part(search.name)}?{urlencode(asked)}"
        return unpacked_table((await self._answered("GET", url, timeout_s, None)).content)

    async def close(self) -> None:
        self._closed = True
        if self._http is not None:
            await self._http.aclose()

    def _usable(self) -> httpx.AsyncClient:
        if self._closed:
            raise ProcessorError(CLOSED)
        if self._http is None:
            raise ProcessorError("the client is not connected: use it inside `async with Client()`")
        return self._http

    async def _answered(
        self, method: str, url: str, timeout_s: float, content: bytes | None
    ) -> httpx.Response:
        """Return an answer that is none of an error; ask again until ``timeout_s`` is over."""
        import httpx

        deadline = monotonic() + timeout_s
        while True:
            left_s = max(deadline - monotonic(), 0.0)
            headers = {"prefer": f"wait={left_s:.3f}", "content-type": _RECORD}
            try:
                answer = await self._usable().request(
                    method, url, content=content, headers=headers, timeout=left_s + _GRACE_S
                )
            except httpx.TransportError as error:
                if self._closed:
                    raise ProcessorError(CLOSED) from None
                why = f"no HTTP API answers at {self._server} ({error or type(error).__name__})"
                raised: ProcessorError = ShardUnavailable(
                    f"{why} within {timeout_s:g} s. Start one: processor dev, processor serve"
                )
            else:
                if answer.status_code == _OK:
                    return answer
                raised = _raised(answer, self._server)
                if answer.status_code not in _LATER:
                    raise raised
            if monotonic() + _AGAIN_S >= deadline:
                raise raised
            await asyncio.sleep(_AGAIN_S)


def _raised(answer: httpx.Response, server: str) -> ProcessorError:
    """Return the error that an answer tells."""
    try:
        problem = _PROBLEM.decode(answer.content)
        name, detail = problem.type, problem.detail
    except (ValueError, RecursionError):
        name, detail = "", f"{server} answers with status {answer.status_code}"
    if answer.status_code in _LATER:
        return ShardUnavailable(detail)
    known = getattr(errors, name, None) if name in errors.__all__ else None
    if isinstance(known, type) and issubclass(known, ProcessorError):
        return known(detail)
    if answer.status_code == 401:
        detail += f". The environment's {TOKEN} is the token that a client sends"
    return RequestError(detail)
