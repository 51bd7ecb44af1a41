"""Which route an address is for."""

from __future__ import annotations

import re

import pytest

from processor.api.problems import HttpProblem
from processor.api.routes import ENDPOINTS
from processor.api.routing import Addresses, Endpoint


def known() -> Addresses[Endpoint]:
    found: Addresses[Endpoint] = Addresses()
    for each in ENDPOINTS:
        found.add(each.method, each.address, each)
    return found


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: f"{each.method} {each.address}")
def test_each_route_is_found_with_its_parameters(endpoint: Endpoint) -> None:
    names = re.findall(r"\{(\w+)\}", endpoint.address)
    path = re.sub(r"\{(\w+)\}", r"x%2F\1", endpoint.address)
    found, parameters = known().find(endpoint.method, path)
    assert found is endpoint
    assert parameters == {name: f"x/{name}" for name in names}


BASE = "/api/v1/namespaces/default"


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", f"{BASE}/instances/", 404, None),
        ("GET", f"{BASE}/instances//history", 404, None),
        ("GET", f"{BASE}/instances/a/history/", 404, None),
        ("GET", f"{BASE}/instances/a/nothing/of/it", 404, None),
        ("GET", f"{BASE}/instances/%ff", 400, None),
        ("PATCH", f"{BASE}/instances/a", 405, "GET, HEAD"),
        ("DELETE", f"{BASE}/instances/a/history", 405, "GET, HEAD, POST"),
    ],
)
def test_what_is_nowhere_is_told(method: str, path: str, status: int, allow: str | None) -> None:
    with pytest.raises(HttpProblem) as raised:
        known().find(method, path)
    assert (raised.value.status, raised.value.headers.get("allow")) == (status, allow)


def test_a_head_is_that_of_what_is_read_and_a_verb_that_is_none_is_found_as_one() -> None:
    assert known().find("HEAD", f"{BASE}/instances/a")[0].handle.__name__ == "describe"
    found, parameters = known().find("POST", f"{BASE}/instances/a/history")
    assert (found.handle.__name__, parameters["verb"]) == ("not_yet", "history")
