"""Routes as data: an address, who may ask, what it takes and answers, and the function behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec
from starlette.requests import ClientDisconnect, Request

from processor.api.options import HttpOptions
from processor.api.problems import HttpProblem
from processor.errors import InvalidArgument, SchemaMismatch

__all__ = (
    "AZURE",
    "ENCODER",
    "KEYS",
    "RECORD",
    "Endpoint",
    "HttpAnswer",
    "Permission",
    "body_of",
    "body_read",
    "encoded_answer",
    "query_of",
    "route",
    "segment",
)

_log = logging.getLogger("processor.api")

Permission: TypeAlias = Literal["view", "read", "start", "send", "control", "admin"]
"""What a caller may do: see runs without their payloads; read payloads; start; send to runs and
entities; change how runs go on; and the rest."""

JSON: Final = "application/json"
RECORD: Final = "application/octet-stream"
"""Of bodies and answers that are the records of our own client."""

AZURE: Final = "/runtime/webhooks/durabletask"
"""Below it are the routes that are not in a namespace's."""

KEYS: Final = ("capability", "code")
"""Where a URL has its key; Azure's have it as ``code``."""

_FIELDS_MAX: Final = 100
_DEPTH_TEXT: Final = "it is nested too deeply"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a route answers: JSON, bytes of a record, or a ``stream`` of events."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route. ``path`` is below the namespace's, and has its parameters in braces.

    ``body`` and ``query`` are the types that a request has, None: none. ``answers`` are the types
    of its answers by status; ``summary`` is for people. ``headers`` are those that it reads.
    """

    method: str
    path: str
    needs: Permission
    handle: Callable[[Any], Awaitable[HttpAnswer]]
    body: Any
    query: type[msgspec.Struct] | None
    answers: Mapping[int, Any]
    summary: str
    headers: tuple[str, ...]


def route(
    method: str,
    path: str,
    needs: Permission,
    *,
    body: Any = None,
    query: type[msgspec.Struct] | None = None,
    answers: Mapping[int, Any],
    headers: tuple[str, ...] = (),
) -> Callable[[Callable[[Any], Awaitable[HttpAnswer]]], Endpoint]:
    """Make a function the one behind a route; its first line says what it does."""

    def made(handle: Callable[[Any], Awaitable[HttpAnswer]]) -> Endpoint:
        summary = (handle.__doc__ or "").partition("\n")[0]
        return Endpoint(method, path, needs, handle, body, query, answers, summary, headers)

    return made


def segment(text: str) -> str:
    """Return one part of a path, decoded: what is encoded is part of it, a slash as well."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise HttpProblem(400, f"the path has {text[:200]!a}, which is not UTF-8") from None


def query_of(kind: type[msgspec.Struct] | None, text: bytes) -> Any:
    """Return what stands behind the question mark, as the route takes it."""
    try:
        pairs = parse_qsl(text.decode("latin-1"), True, max_num_fields=_FIELDS_MAX)
    except ValueError:
        raise InvalidArgument(
            f"the query of the address has {_FIELDS_MAX} fields at the most: leave some out"
        ) from None
    given = dict(pairs)
    if len(given) < len(pairs):
        raise InvalidArgument("the query of the address gives one name twice: give each once")
    for key in KEYS:
        given.pop(key, None)
    if kind is None:
        if given:
            raise InvalidArgument(f"this address takes no query: leave {', '.join(given)!a} out")
        return None
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"the query of the address: {error}") from error


async def body_read(request: Request, options: HttpOptions) -> bytes:
    """Return the bytes of a request, within their bounds of size and time."""
    most = options.body_bytes_max
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > most:
        raise _too_large(f"{int(length):,} bytes", most)
    found = bytearray()
    try:
        async with asyncio.timeout(options.body_s):
            async for chunk in request.stream():
                found += chunk
                if len(found) > most:
                    raise _too_large("more", most)
    except TimeoutError:
        raise HttpProblem(
            408,
            f"the body of the request did not arrive within {options.body_s:g} s",
            {"connection": "close"},
        ) from None
    except ClientDisconnect:
        raise HttpProblem(400, "the client left before its request was whole") from None
    return bytes(found)


def _too_large(size: str, most: int) -> HttpProblem:
    return HttpProblem(
        413,
        f"the body of a request has {most:,} bytes at the most, and this one has {size}: keep large"
        " values elsewhere, and pass where they are",
    )


def body_of(kind: Any, content_type: str, body: bytes) -> Any:
    """Return a body as the route takes it; one that is empty is that without any field."""
    if kind in (None, bytes):
        return body
    if body and content_type.partition(";")[0].strip().lower() != JSON:
        raise HttpProblem(
            415, f"the body of a request is JSON: send it with the header Content-Type: {JSON}"
        )
    try:
        return msgspec.json.decode(body or (b"null" if kind is Any else b"{}"), type=kind)
    except RecursionError:
        raise InvalidArgument(f"the body of the request: {_DEPTH_TEXT}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"the body of the request: {error}") from error


def _unknown(value: Any) -> Any:
    raise TypeError(f"JSON has no {type(value).__name__}")


ENCODER: Final = msgspec.json.Encoder(enc_hook=_unknown)


def encoded_answer(body: Any) -> bytes:
    """Return an answer as JSON. Raises ``SchemaMismatch`` for a value that JSON does not have."""
    try:
        return ENCODER.encode(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SchemaMismatch(
            f"the answer has a value that JSON cannot say ({error}): read it with Python's client"
        ) from error
