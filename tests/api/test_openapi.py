"""The OpenAPI document: it is the routes', it is valid, and the server keeps to it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from openapi_spec_validator import validate
from schemathesis.checks import CHECKS

from processor import sync
from processor.api import HttpOptions
from processor.api.openapi import document, written
from tests.api.serving import CODE, asked

ROOT = Path(__file__).parents[2]
CHECKED = (
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
OPERATIONS = sorted(
    (method.upper(), path)
    for path, operations in document()["paths"].items()
    for method in operations
)
EXAMPLES = 6
SCHEMA = schemathesis.openapi.from_dict(document())


def test_the_document_that_is_committed_is_that_of_the_routes() -> None:
    """Otherwise: ``python -m processor.api.openapi``."""
    assert (ROOT / "docs" / "openapi.json").read_text() == written()


def test_the_document_is_valid() -> None:
    validate(json.loads(written()))


def test_the_page_has_each_address_of_the_document() -> None:
    page = (ROOT / "docs" / "http-api.md").read_text()
    for _, path in OPERATIONS:
        if path.startswith("/api/"):
            words = re.sub(r"^.*\{namespace\}/", "", path).split("/")
            assert all(word in page for word in words if "{" not in word), path


def test_the_server_has_the_document(tmp_path: Path) -> None:
    async def main() -> None:
        async with asked(tmp_path) as (http, _):
            assert (await http.get("/api/v1/openapi.json")).json() == json.loads(written())

    asyncio.run(main())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an API that waits for nothing, in a loop of its own."""
    options = HttpOptions(port=0, wait_max_s=0.05, watch_s=0.2)
    path = tmp_path_factory.mktemp("served")
    with sync.Worker(f"embedded:{path}", **CODE, http=options) as worker:
        with sync.Client(f"embedded:{path}") as client:
            for id in ("0", "a"):
                client.start("greet", "Ada", id=id)
                client.start("Basket", "Ada", id=f"b{id}")
                client.entity("Account", id).call("deposit", 1)
        yield worker.http_url


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_what_is_asked_at_random_is_answered_as_the_document_says(
    server: str, method: str, path: str
) -> None:
    """Each answer has the status and the shape that stand there, and none is an error of ours."""
    operation = SCHEMA[path][method]
    checks: Any = [CHECKS.get_one(name) for name in CHECKED]
    began = time.monotonic()

    @seed(20_261_130)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        if "namespace" in case.path_parameters:
            case.path_parameters["namespace"] = "default"
        if time.monotonic() - began > 20:
            return
        answer = case.call(base_url=server)
        assert answer.status_code != 500, answer.text
        case.validate_response(answer, checks=checks)

    ask()
    assert httpx.get(f"{server}/health/live").status_code == 200
