"""Routes as data: an address, who may ask, what it takes and answers, and the function behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from processor.api.problems import HttpProblem
from processor.api.requests import AZURE
from processor.errors import InvalidArgument, SchemaMismatch

__all__ = (
    "BASE",
    "ENCODER",
    "JSON",
    "KEYS",
    "RECORD",
    "Addresses",
    "Endpoint",
    "HttpAnswer",
    "Permission",
    "body_of",
    "encoded_answer",
    "query_of",
    "route",
    "segment",
)

Permission: TypeAlias = Literal["view", "read", "start", "send", "control", "admin"]
"""What a caller may do: see runs without their payloads; read payloads; start; send to runs and
entities; change how runs go on; and the rest."""

BASE: Final = "/api/v1/namespaces"
JSON: Final = "application/json"
RECORD: Final = "application/octet-stream"
"""Of bodies and answers that are the records of our own client."""

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

    @property
    def address(self) -> str:
        """The whole path, with its parameters in braces."""
        return self.path if self.path.startswith(AZURE) else f"{BASE}/{{namespace}}{self.path}"


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


@dataclass(slots=True)
class _Place:
    """Where addresses part: what follows by its text, or as a parameter, and what ends here."""

    words: dict[str, _Place] = field(default_factory=dict)
    parameter: _Place | None = None
    targets: dict[str, tuple[Any, tuple[tuple[str, int], ...]]] = field(default_factory=dict)


class Addresses(Generic[T]):
    """What each method and address is for. What is written out goes before a parameter."""

    def __init__(self) -> None:
        self._root = _Place()

    def add(self, method: str, address: str, target: T) -> None:
        """Make ``target`` what is found at an address, which has its parameters in braces."""
        place = self._root
        names: list[tuple[str, int]] = []
        for at, part in enumerate(address.split("/")):
            if part.startswith("{"):
                names.append((part[1:-1], at))
                if place.parameter is None:
                    place.parameter = _Place()
                place = place.parameter
            else:
                place = place.words.setdefault(part, _Place())
        assert method not in place.targets, f"{method} {address} is there twice"
        place.targets[method] = target, tuple(names)

    def find(self, method: str, path: str) -> tuple[T, dict[str, str]]:
        """Return what a path is for, and its parameters, decoded. Raises ``HttpProblem``."""
        parts = path.split("/")
        places = [self._root]
        for part in parts:
            further = []
            for place in places:
                if (named := place.words.get(part)) is not None:
                    further.append(named)
                if place.parameter is not None and part:
                    further.append(place.parameter)
            places = further
        wanted = "GET" if method == "HEAD" else method
        for place in places:
            if (found := place.targets.get(wanted)) is not None:
                target, names = found
                return target, {name: segment(parts[at]) for name, at in names}
        if methods := {each for place in places for each in place.targets}:
            allowed = sorted(methods | ({"HEAD"} if "GET" in methods else set()))
            told = {"allow": ", ".join(allowed)}
            raise HttpProblem(405, f"this address is not for {method[:50]}", told)
        raise HttpProblem(
            404, "there is nothing at this address: docs/http-api.md lists what there is"
        )


def segment(text: str) -> str:
    """Return one part of a path, decoded: what is encoded is part of it, a slash as well."""
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise HttpProblem(400, f"the path has {text[:200]!a}, which is not UTF-8") from None


def query_of(kind: type[msgspec.Struct] | None, text: str) -> Any:
    """Return what stands behind the question mark, as the route takes it."""
    if not text:
        return None if kind is None else msgspec.convert({}, kind)
    try:
        pairs = parse_qsl(text, True, max_num_fields=_FIELDS_MAX)
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
