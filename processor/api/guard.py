"""What stands in front of all routes: which host is asked, from which page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from processor.api.options import HttpOptions
from processor.api.problems import HttpProblem
from processor.api.requests import ApiRequest

__all__ = ("Guard",)

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
    """Lets a request through, or refuses it.

    A page of another host may neither send (the origin is checked as Go's CrossOriginProtection
    does), nor reach this machine by a name of its own (the host is checked).
    """

    def __init__(self, options: HttpOptions) -> None:
        self._names = options.names
        self._any_host = "*" in options.names
        self._pages = {each: [*_HEADERS, *_cors(each)] for each in options.origins}

    def headers(self, request: ApiRequest) -> Sequence[tuple[bytes, bytes]]:
        """Return the headers that each answer to this request has."""
        return self._pages.get(_origin(request), _HEADERS)

    def is_preflight(self, request: ApiRequest) -> bool:
        """Whether a page that may asks what it may."""
        return request.method == "OPTIONS" and _origin(request) in self._pages

    def check(self, request: ApiRequest) -> None:
        """Refuse what must not be served. Raises ``HttpProblem``: 400, 403, 421."""
        if request.path.startswith(_PROBES):
            return
        if request.hosts != 1:
            raise HttpProblem(400, "a request has one header Host, which names who is asked")
        host = request.headers["host"].lower()
        if not self._any_host and _without_port(host) not in self._names:
            raise HttpProblem(
                421,
                f"this server is not {host[:200]!a}. Whoever runs it can let it answer to that "
                "name: --allow-host, HttpOptions(hosts=[...])",
            )
        origin = _origin(request)
        if request.method in _SAFE or origin in self._pages:
            return
        site = request.headers.get("sec-fetch-site", "").lower()
        if site in ("same-origin", "none"):
            return
        if site or (origin and origin.partition("://")[2] != host):
            raise HttpProblem(
                403,
                f"a page of {origin[:200] or site!a} may not do this here. Whoever runs this "
                "server can allow it: --allow-origin, HttpOptions(origins=[...])",
            )


def _origin(request: ApiRequest) -> str:
    return request.headers.get("origin", "").lower()


def _cors(allowed: str) -> list[tuple[bytes, bytes]]:
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
