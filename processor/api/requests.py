"""A request as it came, and the body that it brings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from processor.api.limits import OverTime, TimeLimit
from processor.api.options import HttpOptions
from processor.api.problems import HttpProblem

__all__ = ("AZURE", "ApiRequest", "Bodies", "Receive")

Receive: TypeAlias = Callable[[], Awaitable[Any]]

AZURE: Final = "/runtime/webhooks/durabletask"
"""Below it are the routes that are not in a namespace's."""


class ApiRequest:
    """``path`` is encoded still, so that a ``%2F`` is part of an id and no border.

    ``headers`` have lower case names, and the first value of what came twice; ``listed`` has all of
    a header that is a list. ``hosts`` is how often the request says who is asked, ``peer`` the
    address that it comes from, where that is known.
    """

    __slots__ = (
        *("_given", "headers", "hosts", "method", "path", "peer", "query", "receive", "scheme"),
    )

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self._given = given = scope["headers"]
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        peer = scope.get("client")
        self.receive = receive
        self.method: str = scope["method"]
        self.path = _canonical(path.decode("latin-1"))
        self.query: str = scope["query_string"].decode("latin-1")
        self.scheme: str = scope["scheme"]
        self.peer: str | None = None if peer is None else peer[0]
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(given)
        }
        self.hosts: int = sum([name == b"host" for name, _ in given])

    def listed(self, name: str) -> str:
        """Return a header that is a list, which may have come in several; "": it did not come."""
        wanted = name.encode()
        return ", ".join(text.decode("latin-1") for each, text in self._given if each == wanted)


class Bodies:
    """Reads the bodies of requests, within their bounds of size and time."""

    def __init__(self, options: HttpOptions) -> None:
        self._most = options.body_bytes_max
        self._limit = TimeLimit(options.body_s)

    async def read(self, request: ApiRequest) -> bytes:
        """Return the bytes of a body. Raises ``HttpProblem``: 400, 408, 413."""
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._most:
            raise self._too_large(f"{int(length):,} bytes")
        try:
            return await self._limit.keep(self._received(request.receive))
        except OverTime as error:
            raise HttpProblem(
                408,
                f"the body of the request did not arrive within {self._limit.seconds:g} s",
                {"connection": "close"},
            ) from error

    async def _received(self, receive: Receive) -> bytes:
        found = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HttpProblem(400, "the client left before its request was whole")
            found += message.get("body", b"")
            if len(found) > self._most:
                raise self._too_large("more")
            if not message.get("more_body", False):
                return bytes(found)

    def _too_large(self, size: str) -> HttpProblem:
        return HttpProblem(
            413,
            f"the body of a request has {self._most:,} bytes at the most, and this one has {size}: "
            "keep large values elsewhere, and pass where they are",
        )


def _canonical(path: str) -> str:
    """Return a path; the words of Azure's routes are read in any case."""
    if path[:2].lower() != AZURE[:2] or not path.lower().startswith(f"{AZURE}/"):
        return path
    parts = path.split("/")
    words = [*range(5), *([6] if parts[4].lower() == "instances" else [])]
    return "/".join(each.lower() if at in words else each for at, each in enumerate(parts))
