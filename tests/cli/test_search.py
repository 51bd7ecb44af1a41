"""list --query and count, and the attributes of a start on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

WAITS = (
    "from processor import workflow\n"
    "@workflow.define\n"
    "async def waits(say: str) -> str:\n"
    "    if say == 'done':\n"
    "        return say\n"
    "    return await workflow.wait_for_event('go', str)\n"
)


@pytest.fixture
def where(invoke: Invoke, tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "waits.py").write_text(WAITS)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "waits")
    for id, say, attributes in (
        ("a", "wait", '{"customer": "ada", "due": {"datetime": "2027-01-31T09:00:00Z"}}'),
        ("b", "wait", '{"customer": "bob", "sum": 12.5}'),
        ("c", "done", '{"customer": "ada"}'),
    ):
        started = invoke(
            "start", "waits", json.dumps(say), "--id", id, "--attributes", attributes, *where
        )
        assert started.exit_code == 0, started.output
    return where


def test_runs_are_listed_and_counted_by_a_query(invoke: Invoke, where: tuple[str, ...]) -> None:
    query = "customer = 'ada' AND status = 'running'"
    (line,) = invoke("list", "--query", query, "--json", *where).stdout.splitlines()
    found = json.loads(line)
    assert (found["workflow_id"], found["status"]) == ("a", "running")
    assert found["attributes"] == {"customer": "ada", "due": "2027-01-31T09:00:00Z"}
    shown = invoke("list", "--query", "ORDER BY workflow_id", *where).stdout.splitlines()
    assert [line.split()[0] for line in shown[1:]] == ["a", "b", "c"]
    counted = invoke("count", "GROUP BY customer", *where).stdout
    assert counted == "3\n  ada: 2\n  bob: 1\n"
    figures = invoke("count", "SELECT max(events) WHERE closed IS NULL", "--json", *where).stdout
    assert json.loads(figures)["count"] == 2
    assert json.loads(figures)["figures"]["max(events)"] >= 1
    described = invoke("describe", "a", *where).stdout
    assert "attribute customer" in described and "2027-01-31T09:00:00+00:00" in described


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("list", "--query", "status == 1"), "a value has to stand here (column 9)"),
        (("count", "ORDER BY started"), "a count has no ORDER BY"),
        (("list", "--query", "", "--workflow", "w"), "say status and workflow in the query"),
        (("start", "waits", "1", "--attributes", "{"), "they are no JSON that can be read"),
        (("start", "waits", "1", "--attributes", '{"status": 1}'), "every run has by itself"),
    ],
)
def test_what_is_wrong_is_said(
    invoke: Invoke, where: tuple[str, ...], command: tuple[str, ...], says: str
) -> None:
    done = invoke(*command, *where)
    assert done.exit_code == 2
    told = " ".join(done.output.replace("│", " ").split())
    assert says in told
