"""What a command says is what has happened: to which run, and how that stands."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from processor.cli.commands.inspection import description_lines
from processor.client.descriptions import RunDescription
from processor.policy import Status

from .conftest import Invoke

MODULE = """
import asyncio
from processor import ApplicationError, RetryPolicy, activity, workflow

@workflow.define
async def adds(one: int, two: int) -> int:
    return one + two

@workflow.define
async def fails(why: str) -> None:
    try:
        raise ApplicationError("the bank is closed", type="Closed")
    except ApplicationError as error:
        raise ApplicationError(why) from error

@activity.define(retry=RetryPolicy(maximum_attempts=1))
async def breaks() -> None:
    raise OSError("disk 3")

@workflow.define
async def fails_outside() -> None:
    await breaks()

@workflow.define
async def bug() -> float:
    return 1 / 0

@workflow.define
async def waits() -> list[str]:
    late = asyncio.create_task(asyncio.sleep(3600))
    first = workflow.wait_for_event("approval", str)
    return await asyncio.gather(first, workflow.wait_for_event("payment", str))

@workflow.define(retry=RetryPolicy(0.5, maximum_attempts=3))
async def third_time() -> int:
    if workflow.info().attempt < 3:
        raise ApplicationError("not yet")
    return 3

@workflow.define(retry=RetryPolicy(3600, maximum_attempts=4))
async def later() -> None:
    raise ApplicationError("the bank is closed", type="Closed")
"""


@pytest.fixture
def where(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "true_code.py").write_text(MODULE)
    sys.modules.pop("true_code", None)
    return ("--server", f"embedded:{tmp_path / 'state'}", "--module", "true_code")


def told(invoke: Invoke, *arguments: str) -> dict[str, Any]:
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("request_", ["cancel", "terminate"])
def test_a_run_that_had_ended_is_not_said_to_be_stopped(
    invoke: Invoke, where: tuple[str, ...], request_: str
) -> None:
    assert invoke("run", "adds", "1", "2", "--id=c1", *where).stdout == "3\n"
    done = invoke(request_, "c1", *where)
    assert done.exit_code == 0
    assert re.fullmatch(r"c1 had ended before: completed at 2\d{3}-.*\n", done.stdout)
    assert told(invoke, request_, "c1", *where) == {
        "workflow_id": "c1",
        "requested": request_,
        "applied": False,
        "status": "completed",
    }
    invoke("run", "fails", '"no"', "--id=c2", *where)
    assert "c2 had ended before: failed at" in invoke(request_, "c2", *where).stdout
    invoke("start", "waits", "--id=c3", *where)
    assert invoke("terminate", "c3", *where).stdout == "terminated c3\n"
    assert "c3 has ended: terminated at" in invoke(request_, "c3", *where).stdout


def test_a_parked_run_hears_of_a_request_later(invoke: Invoke, where: tuple[str, ...]) -> None:
    invoke("start", "bug", "--id=b", *where)
    sent = invoke("event", "b", "approval", "1", *where).stdout
    assert sent.startswith("sent approval to b; it is parked, so its code hears of it when")
    done = invoke("cancel", "b", *where).stdout
    assert done.startswith("asked b to stop; it is parked") and "processor terminate" in done
    asked = told(invoke, "cancel", "b", *where)
    assert (asked["applied"], asked["status"]) == (True, "parked")


def test_a_start_that_found_a_run_says_so(invoke: Invoke, where: tuple[str, ...]) -> None:
    for how in ("--conflict=use-existing", "--reuse=use-existing"):
        id = f"s{how[2]}"
        assert invoke("start", "waits", "--id", id, *where).stdout.startswith(f"started {id} (run")
        found = invoke("start", "waits", "--id", id, how, *where).stdout
        assert found.startswith(f"found {id} (run ")
        assert told(invoke, "start", "waits", "--id", id, how, *where)["created"] is False
    assert told(invoke, "start", "waits", "--id=new", *where)["created"] is True


def test_what_has_the_id_says_what_to_pass(invoke: Invoke, where: tuple[str, ...]) -> None:
    invoke("start", "waits", "--id=A", *where)
    taken = invoke("start", "waits", "--id=A", *where)
    assert taken.exit_code == 3
    for hint in ('conflict="use-existing"', "--conflict use-existing", "--conflict terminate"):
        assert hint in taken.stderr
    invoke("terminate", "A", *where)
    taken = invoke("start", "waits", "--id=A", "--reuse=reject", *where)
    for hint in ('reuse="use-existing"', "--reuse use-existing", "--reuse allow"):
        assert hint in taken.stderr


def test_describe_names_the_events_that_a_run_waits_for(
    invoke: Invoke, where: tuple[str, ...]
) -> None:
    invoke("start", "waits", "--id=w", *where)
    shown = invoke("describe", "w", *where).stdout
    waiting = told(invoke, "describe", "w", *where)["pending"]["waiting"]
    for name in ("approval", "payment"):
        assert re.search(rf"^waiting: .*true_code.py:\d+.*, event '{name}'$", shown, re.M), shown
        assert any(each.endswith(f", event '{name}'") for each in waiting), waiting
    assert "Inbox" not in shown


def test_describe_shows_how_a_run_has_ended(invoke: Invoke, where: tuple[str, ...]) -> None:
    invoke("run", "adds", "1", "2", "--id=done", *where)
    assert re.search(r"^result: +3$", invoke("describe", "done", *where).stdout, re.M)
    assert told(invoke, "describe", "done", *where)["result"] == 3
    invoke("run", "fails_outside", "--id=outside", *where)
    assert re.search(
        r"^error: +OSError: disk 3$",
        invoke("describe", "outside", *where).stdout,
        re.M,
    )
    long = "x" * 5_000
    invoke("run", "fails", f'"{long}"', "--id=failed", *where)
    shown = invoke("describe", "failed", *where).stdout
    assert re.search(r"^error: +ApplicationError: x{900,985}…\n +because of Closed: ", shown, re.M)
    failure = told(invoke, "describe", "failed", *where)["failure"]
    assert failure["message"] == long
    assert failure["cause"]["type"] == "Closed"
    invoke("start", "bug", "--id=parked", *where)
    shown = invoke("describe", "parked", *where).stdout
    assert re.search(r"^parked traceback: +Traceback", shown, re.M), shown


def test_a_wait_says_what_the_run_does_and_a_time_out_that_it_lives(
    invoke: Invoke, where: tuple[str, ...]
) -> None:
    invoke("start", "waits", "--id=w", *where)
    done = invoke("result", "w", "--timeout=4", *where)
    assert done.exit_code == 5
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("waiting for the result of 'w': it is running; waits at ")
    assert second.startswith("error: no result of 'w' within 4 s: it is running; waits at ")
    for line in (first, second):
        assert "event 'approval'" in line and "; next timer at 2" in line
    short = invoke("result", "w", "--timeout=0.1", "--json", *where)
    assert short.exit_code == 5
    status = json.loads(short.stdout)
    assert (status["status"], len(status["pending"]["timers"])) == ("running", 1)
    invoke("start", "bug", "--id=b", *where)
    done = invoke("result", "b", "--timeout=0.1", *where)
    assert done.exit_code == 5
    assert "it is parked (bug): ZeroDivisionError: division by zero at " in done.stderr
    assert "5 the time is up" in " ".join(invoke("--help").stdout.split())


def test_a_result_is_that_of_the_chain_and_names_the_run_that_had_it(
    invoke: Invoke, where: tuple[str, ...]
) -> None:
    begun = told(invoke, "start", "third_time", "--id=c", *where)
    found = told(invoke, "result", "c", "--timeout=20", *where)
    assert (found["status"], found["result"]) == ("completed", 3)
    assert found["run_id"] == told(invoke, "describe", "c", *where)["run_id"] != begun["run_id"]
    first = invoke("result", "c", "--run-id", begun["run_id"], "--json", *where)
    assert json.loads(first.stdout)["run_id"] == begun["run_id"]
    assert first.exit_code == 1


def test_a_run_that_is_tried_again_says_so_everywhere(
    invoke: Invoke, where: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    begun = told(invoke, "start", "later", "--id=r", *where)["run_id"]
    next = told(invoke, "describe", "r", *where)
    assert f"run {begun} of 'r' (workflow 'later') failed; run {next['run_id']} " in caplog.text
    assert "is attempt 2 and begins in 3600.0 s: Closed: the bank is closed" in caplog.text
    attempt = next["attempt"]
    assert (attempt["number"], attempt["maximum"]) == (2, 4)
    assert attempt["begins_ms"] == next["pending"]["timers"][0]["due_ms"]
    assert attempt["last_failure"]["message"] == "the bank is closed"
    begins = r"2 of 4, begins 2[-0-9]+ [0-9:.]+\n +the one before failed with Closed: the bank is"
    shown = invoke("describe", "r", *where).stdout
    assert re.search(rf"^attempt: +{begins} closed$", shown, re.M), shown
    assert "timer" not in shown
    history = invoke("history", "r", *where).stdout
    assert re.search(r"later attempt=2 start 2\S+ \S+ the bank is closed$", history, re.M), history
    history = invoke("history", "r", "--run-id", begun, *where).stdout
    assert history.endswith(f"the bank is closed followed by {next['run_id']}\n")
    late = invoke("result", "r", "--timeout=1.5", *where)
    text = (
        r"it is running; attempt 2 of 4, which begins at 2\S+ \S+, after Closed: the bank is closed"
    )
    assert re.search(rf"^error: no result of 'r' within 1.5 s: {text}$", late.stderr, re.M)
    late = invoke("result", "r", "--timeout=0.1", "--json", *where)
    assert json.loads(late.stdout)["attempt"] == attempt


def test_a_list_says_none_and_that_there_are_more(invoke: Invoke, where: tuple[str, ...]) -> None:
    assert invoke("list", *where).stdout == "none\n"
    assert invoke("list", "--json", *where).stdout == ""
    for number in range(3):
        invoke("start", "waits", f"--id=w{number}", *where)
    shown = invoke("list", "--limit=2", *where).stdout.splitlines()
    assert len(shown) == 4
    assert shown[-1] == "there are more than these 2: --limit shows more"
    documents = invoke("list", "--limit=2", "--json", *where)
    assert len(documents.stdout.splitlines()) == 2
    assert documents.stderr == "there are more than these 2: --limit shows more\n"
    assert len(invoke("list", "--limit=3", *where).stdout.splitlines()) == 4
    assert invoke("list", "--limit=3", "--json", *where).stderr == ""


def test_all_that_a_description_has_stands_under_a_name() -> None:
    now = datetime.now(UTC)
    undelivered = {"count": 2, "reasons": ["no such topic", "too large"]}
    run = RunDescription("w", "r", "adds", Status.RUNNING, now, None, 3, undelivered=undelivered)
    lines = list(description_lines(run))
    assert ("undelivered", "2 in dead-letters\nno such topic\ntoo large") in lines
    pending = {
        "calls": [{"id": 3, "to": "other", "operation": "CancelRun"}],
        "unread": {"go": 2},
    }
    run = RunDescription("w", "r", "adds", Status.RUNNING, now, None, 3, pending=pending)
    lines += description_lines(run)
    assert ("call", "#3 CancelRun, other has not answered") in lines
    assert ("unread event", "go, 2 that the code has not taken") in lines
    assert all(name for name, _ in lines), "a line without a name would begin with a colon"
