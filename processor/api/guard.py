"""What stands in front of all routes: which host is asked, from which page, by which path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from processor.api.options import HttpOptions
from processor.api.problems import HttpProblem
from processor.api.routing import AZURE

__all__ = ("ASGIApp", "Guard")

ASGIApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_PROBES: Final = "/health/"
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_MAY_READ: Final = b"location, retry-after, etag, x-ms-continuation-token"
_MAY_SEND: Final = (
    b"authorization, content-type, idempotency-key, if-none-match, prefer, x-functions-key"
)
_MAY_DO: Final = b"GET, POST, PUT, DELETE"
_PREFLIGHT_S: Final = b"600"


class Guard:
    """Lets a request through to ``app``, or has ``refuse`` answer it.

    A page of another host may neither send (the origin is checked as Go's CrossOriginProtection
    does), nor reach this machine by a name of its own (the host is checked). Paths stay as they
    were sent, so that a ``%2F`` is part of an id and no border.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: HttpOptions,
        refuse: Callable[[Any, Any, Any, HttpProblem], Awaitable[None]],
    ) -> None:
        self._app = app
        self._names = options.names
        self._any_host = "*" in options.names and options.auth is not None
        self._origins = frozenset(options.origins)
        self._refuse = refuse

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path = scope.get("raw_path") or scope["path"].encode()
        scope = {**scope, "path": _canonical(path.decode("latin-1")), "root_path": ""}
        headers: dict[bytes, bytes] = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        allowed = origin if origin in self._origins else ""

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS, *_cors(allowed)]}
            await send(message)

        try:
            self._check(scope, headers, origin, allowed)
        except HttpProblem as problem:
            await self._refuse(scope, receive, told, problem)
            return
        if allowed and scope["method"] == "OPTIONS":
            await told({"type": "http.response.start", "status": 204, "headers": []})
            await told({"type": "http.response.body", "body": b""})
            return
        await self._app(scope, receive, told)

    def _check(self, scope: Any, headers: dict[bytes, bytes], origin: str, allowed: str) -> None:
        if scope["path"].startswith(_PROBES):
            return
        if sum(name == b"host" for name, _ in scope["headers"]) != 1:
            raise HttpProblem(400, "a request has one header Host, which names who is asked")
        host = headers[b"host"].decode("latin-1").lower()
        if not self._any_host and _without_port(host) not in self._names:
            raise HttpProblem(
                421,
                f"this server is not {host[:200]!a}. Whoever runs it can let it answer to that "
                "name: --allow-host, HttpOptions(hosts=[...])",
            )
        if scope["method"] in _SAFE or allowed:
            return
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1").lower()
        if site in ("same-origin", "none"):
            return
        if site or (origin and origin.partition("://")[2] != host):
            raise HttpProblem(
                403,
                f"a page of {origin[:200] or site!a} may not do this here. Whoever runs this "
                "server can allow it: --allow-origin, HttpOptions(origins=[...])",
            )


def _canonical(path: str) -> str:
    """Return a path; the words of Azure's routes are read in any case."""
    if not path.lower().startswith(f"{AZURE}/"):
        return path
    parts = path.split("/")
    words = [*range(5), *([6] if parts[4].lower() == "instances" else [])]
    return "/".join(each.lower() if at in words else each for at, each in enumerate(parts))


def _cors(allowed: str) -> list[tuple[bytes, bytes]]:
    if not allowed:
        return []
    return [
        (b"access-control-allow-origin", allowed.encode("latin-1")),
        (b"access-control-expose-headers", _MAY_READ),
        (b"access-control-allow-headers", _MAY_SEND),
        (b"access-control-allow-methods", _MAY_DO),
        (b"access-control-max-age", _PREFLIGHT_S),
        (b"vary", b"origin"),
    ]


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) and not host.endswith("]") else host
