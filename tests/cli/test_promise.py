"""``processor promise``: settle a promise by its id."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Invoke

MODULE = """
from processor import ApplicationError, workflow

@workflow.define
async def approval(what: str) -> str:
    approved = workflow.promise(bool)
    workflow.set_value("id", approved.id)
    try:
        return f"{what}: {await approved}"
    except ApplicationError as error:
        return f"{error.type}: {error.message} {error.details}"
"""


def test_a_promise_is_settled_by_hand(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "approvals.py").write_text(MODULE)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "approvals")
    invoke("start", "approval", '"lamp"', "--id", "a-1", *where)
    id = json.loads(invoke("value", "a-1", "id", "--json", *where).stdout)["value"]
    assert f"id {id}" in invoke("describe", "a-1", *where).stdout
    done = invoke("promise", "resolve", id, "true", *where)
    assert done.stdout == "promise 1 of a-1 is resolved\n"
    assert invoke("result", "a-1", *where).stdout == "lamp: True\n"
    late = invoke("promise", "reject", id, "no", *where)
    assert late.exit_code == 3
    assert "the run is completed" in late.stderr
    invoke("start", "approval", '"desk"', "--id", "a-2", *where)
    id = json.loads(invoke("value", "a-2", "id", "--json", *where).stdout)["value"]
    no = ("no stock", "--type", "OutOfStock", "--details", "[7]", "--json")
    told = json.loads(invoke("promise", "reject", id, *no, *where).stdout)
    assert (told["workflow_id"], told["promise"], told["settled"]) == ("a-2", id, "rejected")
    assert invoke("result", "a-2", *where).stdout == "OutOfStock: no stock [7]\n"
    wrong = invoke("promise", "resolve", "nonsense", *where)
    assert wrong.exit_code == 2
    assert "give the id of a workflow.promise() as it is" in " ".join(wrong.stderr.split())
