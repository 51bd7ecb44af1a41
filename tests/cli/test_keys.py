"""``--key``: what is sent again with an idempotency key counts once."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Invoke

MODULE = """
from processor import workflow

@workflow.define
async def pays(count: int) -> list[int]:
    return [await workflow.wait_for_event("paid", int) for _ in range(count)]
"""


def test_what_is_sent_again_with_a_key_counts_once(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "keyed.py").write_text(MODULE)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "keyed")
    first, again = (
        json.loads(invoke("start", "pays", "2", "--key", "evt-1", "--json", *where).stdout)
        for _ in range(2)
    )
    assert first["workflow_id"] == "pays/evt-1"
    assert again == {**first, "created": False}
    for command in ("event", "event", "signal"):
        invoke(command, "pays/evt-1", "paid", "5", "--key", "evt-2", *where)
    invoke("signal", "pays/evt-1", "paid", "6", "--key", "evt-3", *where)
    assert invoke("run", "pays", "9", "--key", "evt-1", *where).stdout == "[5,6]\n"
