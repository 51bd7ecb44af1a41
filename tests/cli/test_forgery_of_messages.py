"""What others call their updates, values, activities and children obeys no terminal either."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .conftest import Invoke
from .test_forgery import EVIL, harmless

MODULE = """
import asyncio
from datetime import timedelta
from processor import ApplicationError, RetryPolicy, activity, workflow

EVIL = {evil!r}

@activity.define(name="fails" + EVIL, retry=RetryPolicy(initial_interval=timedelta(days=1)))
async def fails(text: str) -> str:
    raise ApplicationError(text, type="T" + text)

@activity.define(name="open" + EVIL)
async def left_open(text: str) -> str:
    activity.heartbeat(text)
    raise activity.CompleteAsync

@workflow.define(name="kid" + EVIL)
async def kid(text: str) -> None:
    await workflow.wait_for_event(text)

@workflow.define
async def parent(text: str) -> str:
    def change(given: str) -> str:
        if given.startswith("fail"):
            raise ApplicationError(given, type="T" + given)
        return given
    def check(given: str) -> None:
        if given.startswith("refuse"):
            raise ValueError(given)
    workflow.on_update("change" + text, change, validator=check)
    def ask(given: str) -> str:
        if given.startswith("fail"):
            raise ValueError(given)
        return given
    workflow.on_query("ask" + text, ask)
    workflow.set_value("value" + text, text)
    calls = [workflow.call_activity(each, text) for each in (fails, left_open)]
    tasks = [asyncio.create_task(each) for each in calls]
    await workflow.start_child(kid, text, id="kid" + text, memo=text)
    await workflow.wait_for_event("go")
    return text + str(tasks)
"""


def test_no_output_for_people_obeys_what_is_said_to_a_run(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_messages.py").write_text(MODULE.format(evil=EVIL))
    monkeypatch.delitem(sys.modules, "evil_messages", raising=False)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "evil_messages")
    id, text = f"p{EVIL}", json.dumps(EVIL)
    shown = [invoke("start", "parent", text, "--id", id, *where)]
    assert shown[0].exit_code == 0, shown[0].output
    shown.append(invoke("describe", f"kid{EVIL}", *where))
    for given in ("fine", "fail", "refuse"):
        told = json.dumps(given + EVIL)
        for name in ("change", "none"):
            update = ("update", id, f"{name}{EVIL}", told, "--id", f"{given}{EVIL}")
            shown.append(invoke(*update, *where))
        for name in ("ask", "none"):
            shown.append(invoke("query", id, f"{name}{EVIL}", told, *where))
    shown.append(invoke("value", id, f"value{EVIL}", *where))
    shown.append(invoke("value", id, f"none{EVIL}", "--timeout", "0.1", *where))
    shown.append(invoke("signal", id, f"told{EVIL}", text, *where))
    shown.append(invoke("start-now", id, *where))
    shown.append(invoke("start-now", f"none{EVIL}", *where))
    shown.append(invoke("activity", "ls", id, *where))
    for number in ("1", "7"):
        shown.append(invoke("activity", "pause", id, number, *where))
        shown.append(invoke("activity", "heartbeat", "--id", id, number, *where))
        shown.append(invoke("activity", "ls", id, *where))
        shown.append(invoke("activity", "set", id, number, "--queue", EVIL, *where))
        why = ("--message", EVIL, "--type", EVIL)
        shown.append(invoke("activity", "fail", "--id", id, number, *why, *where))
    shown.append(invoke("activity", "complete", EVIL, *where))
    for verb in ("describe", "history", "list", "terminate", "result", "history"):
        about = () if verb == "list" else (id,)
        shown.append(invoke(verb, *about, *where))
    wrong = [each for each in shown if "No such option" in each.stderr]
    assert not wrong, wrong[0].stderr
    for each in shown:
        assert harmless(each.stdout), (each.args, each.stdout)
        assert harmless(each.stderr), (each.args, each.stderr)
