"""``processor value``: one value, each newer one, and how long to wait for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Invoke

MODULE = """
import asyncio
from processor import workflow

@workflow.define
async def shows(values: list[int], waits: bool) -> None:
    for value in values:
        workflow.set_value("number", value)
        await asyncio.sleep(0.2)
    if waits:
        await workflow.wait_for_event("go")
"""


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    (tmp_path / "shows_values.py").write_text(MODULE)
    monkeypatch.delitem(sys.modules, "shows_values", raising=False)
    return ("--server", f"embedded:{tmp_path / 'state'}", "--module", "shows_values")


def test_each_newer_value_is_printed_until_the_run_ends(
    invoke: Invoke, where: tuple[str, ...]
) -> None:
    assert invoke("start", "shows", "[1, 2]", "false", "--id", "a", *where).exit_code == 0
    shown = invoke("value", "a", "number", "--follow", "--timeout", "30", "--json", *where)
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.output.splitlines()[-1])["value"] == 2


def test_a_time_out_ends_what_follows_a_value(invoke: Invoke, where: tuple[str, ...]) -> None:
    """It was taken, and ignored."""
    assert invoke("start", "shows", "[7]", "true", "--id", "a", *where).exit_code == 0
    shown = invoke("value", "a", "number", "--follow", "--timeout", "1", *where)
    assert shown.exit_code != 0
    assert shown.output.startswith("7\n")
    assert "no newer value 'number' of 'a' within 1 s" in shown.output
    none = invoke("value", "a", "other", "--follow", "--timeout", "0", *where)
    assert none.exit_code != 0 and "no value 'other' of 'a' within 0 s" in none.output
