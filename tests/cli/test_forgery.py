"""Ids, reasons, names and values of others: what people read is escaped, ``--json`` is exact."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path

import pytest

from processor.cli.commands.worker import log_to

from .conftest import Invoke

EVIL = "A-1\x1b]52;c;cm0gLXJm\x07\x1b[2J\u202e\nA-2  order_processing  completed\x9b31m"
MODULE = """
from processor import ApplicationError, workflow

@workflow.define
async def tells(text: str) -> str:
    workflow.set_status({"says": text})
    if text.startswith("fail"):
        raise ApplicationError(text)
    if text.startswith("wait"):
        await workflow.wait_for_event(text)
    if text.startswith("bug"):
        raise RuntimeError(text)
    return text
"""


@pytest.fixture
def where(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "evil_code.py").write_text(MODULE)
    return ("--server", f"embedded:{tmp_path / 'state'}", "--module", "evil_code")


def harmless(shown: str) -> bool:
    """Tell whether nothing is in an output but text and its own line ends."""
    return all(line.isprintable() for line in shown.split("\n"))


def test_no_output_for_people_obeys_an_id_a_reason_or_a_value(
    invoke: Invoke, where: tuple[str, ...], tmp_path: Path
) -> None:
    sys.modules.pop("evil_code", None)
    for how in ("wait", "fail", "done", "bug"):
        id = f"{how}-{EVIL}"
        told = json.dumps(how + EVIL)
        shown = [invoke("start", "tells", told, "--id", id, *where)]
        shown += [invoke("describe", id, *where), invoke("history", id, *where)]
        if how == "wait":
            shown.append(invoke("event", id, EVIL, told, *where))
            shown.append(invoke("terminate", id, "--reason", EVIL, *where))
        if how == "bug":
            shown.append(invoke("cancel", id, "--reason", EVIL, *where))
        else:
            shown.append(invoke("result", id, *where))
        shown += [invoke("describe", id, *where), invoke("list", *where)]
        shown.append(invoke("start", "tells", told, "--id", id, "--reuse=reject", *where))
        for each in shown:
            assert harmless(each.stdout), each.args
            assert harmless(each.stderr), each.args
    listed = invoke("list", *where).stdout.splitlines()
    assert len(listed) == 5, "one row for each run, and the heading"
    for table in ("runs", "history", "parked"):
        scanned = invoke("tables", "scan", table, "--state-dir", str(tmp_path / "state"))
        assert harmless(scanned.stdout)
    missing = invoke("describe", EVIL, *where)
    assert missing.exit_code == 3
    assert harmless(missing.stderr)
    assert len(missing.stderr.splitlines()) == 1


def test_json_is_exact(invoke: Invoke, where: tuple[str, ...]) -> None:
    sys.modules.pop("evil_code", None)
    id = f"wait-{EVIL}"
    started = invoke("start", "tells", json.dumps("wait" + EVIL), "--id", id, "--json", *where)
    assert json.loads(started.stdout)["workflow_id"] == id
    described = json.loads(invoke("describe", id, "--json", *where).stdout)
    assert described["workflow_id"] == id
    assert described["custom_status"] == {"says": "wait" + EVIL}
    invoke("terminate", id, "--reason", EVIL, *where)
    told = json.loads(invoke("result", id, "--json", *where).stdout)
    assert (
        EVIL
        in json.loads(invoke("history", id, "--json", *where).stdout.splitlines()[-1])["fields"][
            "reason"
        ]
    )
    assert told["status"] == "terminated"


def test_a_log_record_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    log_to(as_json=False)
    try:
        raise RuntimeError(f"{EVIL}\n2026-01-01 00:00:00,000 INFO    processor: all is well")
    except RuntimeError as error:
        logging.getLogger("test").warning("about %s", EVIL, exc_info=error)
    first, *more = stderr.getvalue().splitlines()
    assert "WARNING test: about A-1\\x1b]52" in first
    assert all(line.startswith("    ") for line in more), "what follows is no record"
    assert harmless(stderr.getvalue())
