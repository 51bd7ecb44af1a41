"""Rows of the state tables: at rest, and while a worker has them open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from processor.cli.commands.tables import key_bytes, key_text

from .conftest import Invoke, Processor, embedded

WAITING = '{"id": "A-2", "amount": 5000}'


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_list_counts_the_rows(invoke: Invoke, finished_order: str, tmp_path: Path) -> None:
    counts = lines(invoke("tables", "list", "--state-dir", "state", "--json").stdout)
    assert {row["store"] for row in counts} == {"tables-0"}
    rows = {row["table"]: row["rows"] for row in counts}
    assert rows["runs"] == rows["latest"] == 1
    assert rows["history"] > 1
    assert rows["timers"] == rows["activities"] == rows["parked"] == 0
    plain = invoke("tables", "list", "--state-dir", "state").stdout
    assert plain.splitlines()[0].split() == ["STORE", "TABLE", "ROWS"]


def test_rows_are_readable(invoke: Invoke, finished_order: str) -> None:
    def scan(table: str, *options: str) -> list[dict[str, Any]]:
        return lines(
            invoke("tables", "scan", table, "--state-dir=state", "--json", *options).stdout
        )

    (latest,) = scan("latest")
    assert latest["key"] == "A-1"
    (run,) = scan("runs")
    assert run["key"] == latest["row"]
    assert run["row"]["status"] == "completed"
    assert run["row"]["result"] == "Order processing completed successfully!"
    turns = scan("history")
    assert [turn["row"]["first"] for turn in turns][:2] == [0, 2]
    assert turns[0]["row"]["events"][0]["type"] == "WorkflowStarted"
    assert turns[0]["row"]["events"][0]["arguments"][0]["id"] == "A-1"
    assert "seed" not in turns[0]["row"]["events"][0]
    assert scan("history", "--limit=2") == turns[:2]
    cut = invoke("tables", "scan", "history", "--state-dir=state", "--limit=2")
    assert cut.stdout.splitlines()[-1] == "there are more than these 2: --limit shows more"
    all_of_it = invoke("tables", "scan", "history", "--state-dir=state", f"--limit={len(turns)}")
    assert "more" not in all_of_it.stdout.splitlines()[-1]
    assert scan("history", f"--prefix={run['key']}") == turns
    assert scan("history", f"--prefix={turns[1]['key']}") == turns[1:2]
    assert scan("history", "--prefix=nobody") == []
    assert {row["key"] for row in scan("meta")} == {"checkpoint", "identity"}


def test_get_finds_what_scan_shows(invoke: Invoke, finished_order: str) -> None:
    scanned = lines(invoke("tables", "scan", "history", "--state-dir=state", "--json").stdout)
    for row in scanned:
        got = invoke("tables", "get", "history", row["key"], "--state-dir=state", "--json")
        assert json.loads(got.stdout) == row
    plain = invoke("tables", "get", "history", scanned[0]["key"], "--state-dir=state").stdout
    assert "workflow_id" in plain
    missing = invoke("tables", "get", "runs", "nobody", "--state-dir=state")
    assert missing.exit_code == 3
    assert "`processor tables scan runs` shows keys" in missing.stderr
    assert invoke("tables", "get", "nothing", "x", "--state-dir=state").exit_code == 2
    other = invoke("tables", "scan", "runs", "--state-dir=state", "--store=other")
    assert other.exit_code == 2
    assert "no store 'other'" in other.stderr


def test_every_row_that_is_shown_has_a_key_that_can_be_typed(
    invoke: Invoke, finished_order: str
) -> None:
    where = embedded(finished_order)
    invoke("start", "order_processing", WAITING, "--id=A-2", *where)
    assert invoke("start", "order_processing", WAITING, "--id=A-2", *where).exit_code == 3
    filled: set[str] = set()
    while "timers" not in filled:
        assert invoke("result", "A-2", "--timeout=0.5", *where).exit_code == 5
        counts = lines(invoke("tables", "list", "--state-dir=state", "--json").stdout)
        filled = {row["table"] for row in counts if row["rows"]}
    assert filled >= {"meta", "runs", "latest", "history", "requests", "claims"}
    for table in sorted(filled):
        scanned = invoke("tables", "scan", table, "--state-dir=state", "--json")
        for row in lines(scanned.stdout):
            assert row["key"].isprintable(), f"{table}: {row}"
            got = invoke("tables", "get", table, row["key"], "--state-dir=state", "--json")
            assert got.exit_code == 0, got.stderr
            assert json.loads(got.stdout) == row


def test_timers_and_their_keys(invoke: Invoke, tmp_path: Path) -> None:
    where = embedded(f"embedded:{tmp_path / 'state'}")
    invoke("start", "order_processing", WAITING, "--id=A-2", *where)
    late = invoke("result", "A-2", "--timeout=1.5", *where)
    assert late.exit_code == 5
    assert "error: no result of 'A-2' within 1.5 s: it is running; waits at " in late.stderr
    (timer,) = lines(invoke("tables", "scan", "timers", "--state-dir=state", "--json").stdout)
    assert timer["row"]["workflow_id"] == "A-2"
    assert timer["key"].startswith(f"{timer['row']['due_ms']}/")
    got = invoke("tables", "get", "timers", timer["key"], "--state-dir=state", "--json")
    assert json.loads(got.stdout) == timer


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("history", b"4-0\0" + (7).to_bytes(8, "big")),
        ("activities", b"4-0\0" + (255).to_bytes(8, "big")),
        ("timers", (1_795_484_705_010).to_bytes(8, "big") + b"4-0\0timer\0007\0000"),
        ("latest", "Bestellung/ß".encode()),
        ("runs", b"4-0"),
        ("requests", b"chcrCag5nZHc"),
        ("requests", b"rc7/hcrCag5nZHc"),
        ("claims", (200).to_bytes(8, "big")),
        ("replaced", (200).to_bytes(8, "big") + (130).to_bytes(8, "big") + b"4-0/130/7"),
        ("purged", (1_795_484_705_010).to_bytes(8, "big") + b"4-0"),
    ],
)
def test_keys_go_to_text_and_back(family: str, key: bytes) -> None:
    text = key_text(family, key)
    assert text.isprintable()
    assert key_bytes(family, text) == key


def test_the_tables_of_a_running_worker_can_be_read(
    processor: Processor, invoke: Invoke, finished_order: str
) -> None:
    worker = processor("worker", "examples.orders", "--server", finished_order)
    assert worker.stderr is not None
    assert any("is ours" in line for line in worker.stderr)
    (run,) = lines(invoke("tables", "scan", "runs", "--state-dir=state", "--json").stdout)
    assert run["row"]["workflow_id"] == "A-1"
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(30) == 0
