"""The OpenAPI document of the API, from its routes and the types that they take and answer.

``python -m processor.api.openapi`` writes it to ``docs/openapi.json``.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec

from processor.api.routes import ENDPOINTS
from processor.api.routing import RECORD, Endpoint

__all__ = ("document", "written")

_REFERENCE: Final = "#/components/schemas/{name}"
_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_TEXT: Final = {"type": "string"}
_EVENT: Final = {
    "type": "object",
    "properties": {"id": _TEXT, "event": _TEXT, "data": _TEXT},
    "required": ["event", "data"],
}
"""One of the server-sent events."""


class ApiProblem(msgspec.Struct, frozen=True):
    """An error (RFC 9457): ``type`` is the class that Python's client raises."""

    type: str
    title: str
    status: int
    detail: str
    retryable: bool
    cause: Any = None


@cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields of a type, each with the same type at each call."""
    return msgspec.structs.fields(kind)


def document() -> dict[str, Any]:
    """Return the document as JSON."""
    kinds = [kind for each in ENDPOINTS for kind in _kinds(each)]
    schemas, components = msgspec.json.schema_components(
        [*kinds, ApiProblem], ref_template=_REFERENCE
    )
    known = dict(zip((id(kind) for kind in kinds), schemas, strict=False))
    paths: dict[str, Any] = {}
    for each in ENDPOINTS:
        paths.setdefault(each.address, {})[each.method.lower()] = _operation(each, known)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "processor",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Workflows, entities and schedules of a namespace. Who may not read "
            "payloads gets descriptions, lists and events without them.",
        },
        "paths": paths,
        "components": {
            "schemas": _plain(components),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "capability": {"type": "apiKey", "in": "query", "name": "capability"},
            },
        },
        "security": [{}, {"token": []}, {"key": []}, {"capability": []}],
    }


@cache
def written() -> str:
    """Return the document as it is committed."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=2).decode() + "\n"


def _kinds(endpoint: Endpoint) -> list[Any]:
    """Return the types of a route that have schemas."""
    fields = () if endpoint.query is None else _fields(endpoint.query)
    kinds = [endpoint.body, *endpoint.answers.values(), *(each.type for each in fields)]
    return [kind for kind in kinds if kind not in (None, bytes)]


def _operation(endpoint: Endpoint, known: dict[int, Any]) -> dict[str, Any]:
    def schema(kind: Any) -> Any:
        return _plain(known[id(kind)])

    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {**_TEXT, "minLength": 1}}
        for name in _PARAMETER.findall(endpoint.address)
    ]
    for each in () if endpoint.query is None else _fields(endpoint.query):
        parameters.append({"name": each.encode_name, "in": "query", "schema": schema(each.type)})
    for name in endpoint.headers:
        parameters.append({"name": name, "in": "header", "schema": _TEXT})
    problem = {"$ref": _REFERENCE.format(name="ApiProblem")}
    responses: dict[str, Any] = {
        "default": {
            "description": "It was not done.",
            "content": {"application/problem+json": {"schema": problem}},
        }
    }
    for status, kind in endpoint.answers.items():
        told: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if endpoint.path.endswith("/watch"):
            told["content"] = {"text/event-stream": {"schema": _EVENT}}
        elif status == HTTPStatus.NOT_IMPLEMENTED:
            told["content"] = {"application/problem+json": {"schema": problem}}
        elif kind is bytes:
            told["content"] = {RECORD: {}}
        elif kind is not None:
            told["content"] = {"application/json": {"schema": schema(kind)}}
        responses[str(status)] = told
    operation: dict[str, Any] = {
        "operationId": endpoint.handle.__name__,
        "summary": endpoint.summary,
        "description": f"Needs the permission {endpoint.needs!r}.",
        "parameters": parameters,
        "responses": responses,
    }
    if endpoint.body is not None:
        is_record = bytes in endpoint.answers.values()
        content = {} if endpoint.body is bytes else schema(endpoint.body)
        kind_of_body = RECORD if is_record else "application/json"
        operation["requestBody"] = {"content": {kind_of_body: {"schema": content}}}
    return operation


def _plain(value: Any) -> Any:
    """Return a schema as JSON alone."""
    return msgspec.json.decode(msgspec.json.encode(value))


if __name__ == "__main__":
    place = Path(__file__).parents[2] / "docs" / "openapi.json"
    place.write_text(written(), encoding="utf-8")
    sys.stdout.write(f"{place}\n")
