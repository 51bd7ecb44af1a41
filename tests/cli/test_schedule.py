"""``processor schedule`` and ``processor schedules apply``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .conftest import Invoke

MODULE = """
from processor import workflow

@workflow.define
async def report(city: str) -> str:
    return f"report of {city}"
"""
DECLARES = """
from processor import workflow

@workflow.schedule("0 9 * * MON-FRI", tz="Europe/Berlin", args=["Berlin"])
@workflow.schedule("@daily", id="paris", args=["Paris"], limit=5)
@workflow.define
async def report(city: str) -> str:
    return f"report of {city}"
"""


def where(tmp_path: Path, module: str, text: str) -> tuple[str, ...]:
    (tmp_path / f"{module}.py").write_text(text)
    sys.modules.pop(module, None)
    return ("--server", f"embedded:{tmp_path / 'state'}", "--module", module)


def test_a_schedule_in_the_hands_of_its_operator(invoke: Invoke, tmp_path: Path) -> None:
    at = where(tmp_path, "reports", MODULE)
    assert invoke("schedule", "list", *at).stdout == "none\n"
    how = ("--cron", "0 9 1 1 *", "--tz", "Europe/Berlin", "--attempts", "3", "--note", "new")
    made = invoke("schedule", "create", "yearly", "report", '"Berlin"', *how, *at)
    assert made.stdout.startswith("created yearly: cron '0 9 1 1 *' in Europe/Berlin; next 20")
    again = invoke("schedule", "create", "yearly", "report", '"Berlin"', *how, *at)
    assert again.exit_code == 3 and "there is a schedule 'yearly' already" in again.stderr
    assert invoke("schedule", "pause", "yearly", "--note", "Ada", *at).stdout == "yearly paused\n"
    late = invoke("schedule", "pause", "yearly", "--note", "Ada", *at)
    assert late.stdout == "yearly was paused already\n"
    assert "paused" in invoke("schedule", "list", *at).stdout
    run = json.loads(invoke("schedule", "trigger", "yearly", "--json", *at).stdout)
    assert invoke("result", run["workflow_id"], *at).stdout == "report of Berlin\n"
    span = ("2024-01-01", "2026-01-01T00:00+01:00")
    filled = invoke("schedule", "backfill", "yearly", *span, *at)
    assert filled.stdout == "2 times of yearly are made up for\n", filled.stderr
    changed = ("--calendar", "month=JAN hour=9", "--overlap", "allow-all", "--argument", '"Rome"')
    assert invoke("schedule", "update", "yearly", *changed, *at).stdout == "yearly changed\n"
    assert invoke("schedule", "resume", "yearly", *at).stdout == "yearly resumed\n"
    told = json.loads(invoke("schedule", "describe", "yearly", "--json", *at).stdout)
    assert (told["args"], told["actions"], len(told["next"])) == (["Rome"], 3, 10)
    assert told["options"]["overlap"] == "allow-all" and told["options"]["when"]["tz"]
    shown = invoke("schedule", "describe", "yearly", *at).stdout
    assert "yearly starts report: calendar hour=9" in shown and "  3 runs, 0 skipped" in shown
    assert "completed yearly-2024-01-01T08:00:00Z (backfill)" in shown
    assert " CET (20" in shown
    assert invoke("schedule", "delete", "yearly", *at).stdout == "yearly deleted\n"
    gone = invoke("schedule", "describe", "yearly", *at)
    assert gone.exit_code == 3 and "there is no schedule 'yearly'" in gone.stderr


def test_the_times_of_options_are_shown_before_anything_is_made(invoke: Invoke) -> None:
    how = ("--tz", "Europe/Berlin", "--after", "2026-03-28T00:00Z", "--count", "2")
    shown = invoke("schedule", "preview", "--calendar", "hour=2 minute=30", *how)
    assert shown.stdout == (
        "Sat 2026-03-28 02:30:00 CET (2026-03-28 01:30:00 UTC)\n"
        "Sun 2026-03-29 03:00:00 CEST (2026-03-29 01:00:00 UTC)\n"
    )
    lines = invoke("schedule", "preview", "--cron", "@daily", *how, "--json").stdout.splitlines()
    assert [json.loads(each)["time"] for each in lines] == [
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ((), "it has no times"),
        (("--cron", "61 * * * *"), "Bad minute"),
        (("--calendar", "hour=9 weekdays=MON"), "is no calendar: write fields as"),
        (("--calendar", "hour=25"), "give 0 to 23"),
        (("--cron", "@daily", "--tz", "Mars"), "there is no time zone 'Mars'"),
        (("--time", "tomorrow"), "does not match the format"),
    ],
)
def test_times_that_are_none_are_refused(invoke: Invoke, how: tuple[str, ...], text: str) -> None:
    wrong = invoke("schedule", "preview", *how)
    assert wrong.exit_code == 2
    assert text in " ".join(wrong.stderr.replace("│", " ").split())


def test_the_schedules_of_a_module_are_applied(invoke: Invoke, tmp_path: Path) -> None:
    at = where(tmp_path, "declares", DECLARES)
    would = invoke("schedules", "apply", "declares", "--dry-run", *at)
    assert would.stdout.startswith("paris would be created\n  + workflow report\n"), would.stderr
    assert invoke("schedule", "list", *at).stdout == "none\n"
    assert "report created" in invoke("schedules", "apply", "declares", *at).stdout
    same = invoke("schedules", "apply", "declares", *at)
    assert same.stdout == "paris is as declared\nreport is as declared\n"
    invoke("schedule", "pause", "paris", "--note", "Ada", *at)
    at = where(tmp_path, "declares", DECLARES.replace(", limit=5", "").replace('"0 9', '"5 9'))
    at = where(tmp_path, "declares", (tmp_path / "declares.py").read_text().replace("MON-FRI", "*"))
    changed = invoke("schedules", "apply", "declares", *at)
    assert changed.stdout == (
        "paris changed (it is paused)\n"
        "  - limit 5\n"
        "report changed\n"
        '  - crons ["0 9 * * MON-FRI"]\n'
        '  + crons ["5 9 * * *"]\n'
    )
    told = json.loads(invoke("schedule", "describe", "paris", "--json", *at).stdout)
    assert (told["paused"], told["note"], told["remaining"]) == (True, "Ada", None)
    at = where(tmp_path, "declares", MODULE)
    lines = invoke("schedules", "apply", "declares", "--json", *at).stdout.splitlines()
    left = [json.loads(each) for each in lines if each.startswith("{")]
    assert {each["id"]: (each["change"], each["applied"]) for each in left} == {
        "paris": ("not declared", False),
        "report": ("not declared", False),
    }
