"""Parents and children on the command line."""

from __future__ import annotations

import json
from pathlib import Path

from processor.cli.commands.inspection import children_lines

from .conftest import Invoke

CODE = """
from processor import workflow

@workflow.define
async def kid(number: int) -> int:
    return await workflow.wait_for_event("go", int)

@workflow.define
async def parent() -> int:
    first = await workflow.start_child(kid, 1, id="kid-1", parent_close="cancel")
    second = await workflow.start_child(kid, 2, id="kid-2")
    second.cancel("enough")
    return await first
"""


def test_parents_and_children_are_shown_and_ended(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "family.py").write_text(CODE)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "family")
    invoke("start", "parent", "--id", "p", *where)
    shown = invoke("describe", "p", *where).stdout
    while "child:            #1 kid kid-1: cancel when this run ends" not in shown:
        shown = invoke("describe", "p", *where).stdout
    while "kid-2" in shown:
        shown = invoke("describe", "p", *where).stdout
    told = json.loads(invoke("describe", "p", "--json", *where).stdout)
    assert told["pending"]["children"][0]["workflow_id"] == "kid-1"
    run = json.loads(invoke("describe", "kid-1", "--json", *where).stdout)
    assert run["parent"] == run["root"] == {"workflow_id": "p", "run_id": told["run_id"]}
    assert (
        f"parent:           p, run {told['run_id']}" in invoke("describe", "kid-1", *where).stdout
    )
    history = invoke("history", "p", *where).stdout
    assert "#1 kid workflow_id=kid-1 [1]" in history
    assert "#2 cancelled enough" in history
    invoke("terminate", "p", "--no-recursive", *where)
    assert json.loads(invoke("describe", "kid-1", "--json", *where).stdout)["status"] == "running"
    assert "ChildrenSpared" in invoke("history", "p", *where).stdout


def test_a_child_of_another_namespace_is_shown_with_it() -> None:
    child = {
        "id": 3,
        "workflow_id": "charge-1",
        "namespace": "billing",
        "run_id": None,
        "workflow": "charge",
        "parent_close": "terminate",
        "cancelled": False,
    }
    shown = children_lines({"children_open": 1, "children": [child]})
    told = "#3 charge charge-1 in namespace billing: terminate when this run ends"
    assert [*shown] == [("child", told)]
