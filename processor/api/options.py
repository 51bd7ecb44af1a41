"""Where the HTTP API listens, whom it lets in, and how much it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from processor import checks
from processor.errors import InvalidArgument

__all__ = ("MODULES", "PORT", "HttpOptions", "is_installed", "whole_seconds")

MODULES: Final = ("httptools", "httpx", "jwt", "uvicorn")
"""What the API needs beside what clients and workers have: the extra ``http``."""

PORT: Final = 8233
_PORT_MAX: Final = 65_535
_IPV6: Final = 6
_SECONDS_MAX: Final = 86_400
_LOCAL: Final = ("localhost", "127.0.0.1", "[::1]")
_WHOLE: Final = {"connections_max": 1, "body_bytes_max": 1_000, "watches_max": 0}
_SECONDS: Final = ("head_s", "body_s", "send_s", "idle_s", "wait_max_s", "watch_s")


def is_installed() -> bool:
    """Return whether all that the API needs is installed."""
    return all(find_spec(each) is not None for each in MODULES)


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """The address and the bounds of the HTTP API. Sizes are in bytes, times in seconds.

    ``port=0`` takes a free one. ``public_url`` is how clients reach it (behind a gateway): URLs in
    answers begin with it. ``hosts`` are further names by which it may be asked ("api.example.com"),
    ``origins`` are those of web pages that may use it ("https://app.example.com"). ``auth`` is a
    file that says who may do what (docs/http-api.md): without it, the API listens on this
    machine's loopback address alone. Raises ``InvalidArgument``.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    public_url: str | None = None
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    auth: Path | str | None = None

    connections_max: int = 1_000
    """Connections that are open at once; more are closed at once."""

    body_bytes_max: int = 2_000_000
    """What one request may bring."""

    head_s: float = 10.0
    """How long the first line and the headers of a request may take."""

    body_s: float = 30.0
    """How long the body of a request may take."""

    send_s: float = 30.0
    """How long a client may let an answer lie before its connection is cut."""

    idle_s: float = 15.0
    """How long a connection without a request stays open."""

    wait_max_s: float = 60.0
    """How long a request may wait, whatever it asks for (``Prefer: wait=``, ``?wait=``)."""

    watch_s: float = 600.0
    """How long one stream of events lasts; its reader connects again, from where it was."""

    watches_max: int = 500
    """Streams of events at once, and as many requests that wait for a change."""

    def __post_init__(self) -> None:
        checks.name(self.host, "http: host")
        if checks.whole(self.port, "http: port", 0) > _PORT_MAX:
            raise InvalidArgument(f"http: port: give 0 to {_PORT_MAX}, not {self.port}")
        for name, least in _WHOLE.items():
            checks.whole(getattr(self, name), f"http: {name}", least)
        for name in _SECONDS:
            found = checks.seconds(getattr(self, name), f"http: {name}")
            if not 0 < found <= _SECONDS_MAX:
                raise InvalidArgument(f"http: {name}: give more than 0 s, {_SECONDS_MAX} at most")
        hosts = _texts(self.hosts, "hosts", "api.example.com")
        object.__setattr__(self, "hosts", tuple(_host(each) for each in hosts))
        origins = _texts(self.origins, "origins", "https://app.example.com")
        object.__setattr__(self, "origins", tuple(_origin(each) for each in origins))
        if self.public_url is not None:
            object.__setattr__(self, "public_url", _url(self.public_url))
        if self.auth is None and not self.is_local:
            raise InvalidArgument(
                f"http: host: {self.host!r} is reached from other machines, and anybody there could"
                " start and stop everything: name a file that says who may (auth=, --auth; "
                "docs/http-api.md shows one), or listen on 127.0.0.1"
            )

        if self.auth is None and "*" in self.hosts:
            raise InvalidArgument(
                "http: hosts: '*' lets any name reach the API, and so any web page that somebody "
                "on this machine visits: name a file that says who may (auth=, --auth; "
                "docs/http-api.md shows one), or the hosts"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the address."""
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def names(self) -> frozenset[str]:
        """The hosts by which it may be asked, in lower case and without ports."""
        own = self.host if ":" not in self.host else f"[{self.host.strip('[]')}]"
        public = () if self.public_url is None else (urlsplit(self.public_url).hostname or "",)
        return frozenset(each.lower() for each in (*_LOCAL, own, *public, *self.hosts))


def _texts(given: Any, name: str, example: str) -> list[str]:
    found = checks.listed(given, f"http: {name}", f"[{example!r}]")
    return [checks.name(each, f"http: {name}") for each in found]


def _url(given: Any) -> str:
    text = checks.name(given, "http: public_url")
    parts = _parts(text)
    if parts is None or parts.query or parts.fragment:
        raise InvalidArgument(
            "http: public_url: give a URL such as 'https://api.example.com/durable', in ASCII and "
            f"without a password, not {checks.shown(_unsigned(text))}"
        )
    return text.rstrip("/")


def _origin(given: str) -> str:
    text = given.lower()
    parts = _parts(text)
    if parts is None or text != f"{parts.scheme}://{parts.netloc}":
        raise InvalidArgument(
            "http: origins: an origin is 'https://app.example.com', in ASCII and without a path, "
            f"not {checks.shown(_unsigned(given))}"
        )
    return text


def _host(text: str) -> str:
    """Return a host as the header has it, which is compared without its port."""
    try:
        return f"[{text}]" if ip_address(text).version == _IPV6 else text
    except ValueError:
        pass
    parts = _parts(f"http://{text}")
    if parts is None or text != parts.netloc or text.rpartition("]")[2].count(":"):
        raise InvalidArgument(
            "http: hosts: give a name such as 'api.example.com', in ASCII and without a port, not "
            f"{checks.shown(_unsigned(text))}"
        )
    return text


def _parts(text: str) -> SplitResult | None:
    """Return the parts of a URL as headers can say it, None where it is none."""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return parts if is_url and is_plain and parts.username is None else None


def _unsigned(text: str) -> str:
    """Return a URL without the name and the password in it."""
    scheme, slashes, rest = text.rpartition("://")
    return f"{scheme}{slashes}{rest.rpartition('@')[2]}"


def whole_seconds(seconds: float) -> int:
    """Return a time for ``Retry-After``: 1 or more."""
    return max(math.ceil(seconds), 1)
