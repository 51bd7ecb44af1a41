"""``processor activity``: look at the open activities of a run, end one by hand, act on one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from .conftest import Invoke

MODULE = """
from datetime import timedelta
from processor import ApplicationError, RetryPolicy, activity, workflow

@activity.define
async def ship(what: str) -> str:
    activity.heartbeat(activity.info().task_token)
    raise activity.CompleteAsync

@activity.define(retry=RetryPolicy(initial_interval=timedelta(days=2)))
async def charge(what: str) -> str:
    raise ApplicationError("it is down")

@activity.define
def double(number: int) -> int:
    return 2 * number

@workflow.define
async def order(what: str) -> str:
    return await ship(what)

@workflow.define
async def pays(what: str) -> str:
    return await charge(what)
"""
Run = Callable[..., Result]


@pytest.fixture
def run(invoke: Invoke, tmp_path: Path) -> Run:
    (tmp_path / "shipping.py").write_text(MODULE)
    where = ("--server", f"embedded:{tmp_path / 'state'}", "--module", "shipping")
    return lambda *arguments: invoke(*arguments, *where)


def test_an_activity_ends_by_its_token_or_its_ids(run: Run) -> None:
    run("start", "order", '"lamp"', "--id", "o-1")
    listed = json.loads(run("activity", "ls", "o-1", "--json").stdout)
    assert listed["left_open"] and listed["id"] == 1
    token = listed["details"]
    assert "left open by its function" in run("activity", "ls", "o-1").stdout
    assert run("activity", "heartbeat", token, "--details", '"page 3"').stdout == "it goes on\n"
    done = run("activity", "complete", token, "--result", '"shipped"')
    assert done.stdout == "activity 1 of o-1 has completed\n"
    assert run("result", "o-1").stdout == "shipped\n"
    late = run("activity", "complete", token)
    assert late.exit_code == 3
    assert "the run is completed" in late.stderr
    told = run("activity", "heartbeat", token, "--json")
    assert json.loads(told.stdout) == {"stop": True}
    run("start", "order", '"lamp"', "--id", "o-2")
    run("activity", "ls", "o-2")
    failed = run("activity", "fail", "--id", "o-2", "1", "--message", "lost", "--no-retry")
    assert failed.exit_code == 0, failed.output
    assert run("result", "o-2").exit_code == 1


def test_an_operator_acts_on_one(run: Run) -> None:
    run("start", "pays", '"lamp"', "--id", "p-1")
    assert "is tried again" in run("activity", "ls", "p-1").stdout
    paused = run("activity", "pause", "p-1", "1")
    assert paused.stdout == "activity 1 of p-1 is paused\n"
    assert run("activity", "pause", "p-1", "1").stdout == "nothing had to change\n"
    assert "(paused): waits until it is resumed" in run("activity", "ls", "p-1").stdout
    assert "(paused)" in run("describe", "p-1").stdout
    applied = json.loads(run("activity", "set", "p-1", "1", "--attempts", "2", "--json").stdout)
    assert applied["applied"]
    assert run("activity", "retry-now", "p-1", "1").exit_code == 0
    assert run("activity", "resume", "p-1", "1").exit_code in (0, 3), "it may have failed by now"
    assert run("result", "p-1").exit_code == 1
    over = run("activity", "reset", "p-1", "1")
    assert over.exit_code == 3
    assert "the run is failed" in over.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("complete",), "name the attempt by TOKEN, or by --id WORKFLOW ACTIVITY"),
        (("complete", "x"), "token: give activity.info().task_token"),
        (("complete", "x", "--id", "w", "1"), "name the attempt by TOKEN, or"),
        (("complete", "--id", "w", "-1"), "activity id"),
        (("complete", "--id", "w", "1", "--result", "{"), "is no JSON"),
        (("set", "w", "1"), "name what is to change"),
        (("set", "w", "1", "--queue", "a b"), "'--queue'"),
        (("pause", "w", "x"), "'ACTIVITY'"),
    ],
)
def test_wrong_usage(run: Run, arguments: tuple[str, ...], said: str) -> None:
    done = run("activity", *arguments)
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_an_activity_runs_without_a_workflow(run: Run) -> None:
    done = run("activity", "run", "double", "21", "--id", "d-1")
    assert (done.exit_code, done.stdout) == (0, "42\n")
    told = json.loads(run("describe", "d-1", "--json").stdout)
    assert told["workflow"] == "processor.activity:double"
    taken = run("activity", "run", "double", "1", "--id", "d-1", "--reuse", "reject")
    assert taken.exit_code != 0 and "is taken" in taken.stderr
    kept = run("activity", "run", "double", "1", "--id", "d-1", "--reuse", "use-existing", "--json")
    assert json.loads(kept.stdout)["result"] == 42
    failed = run("activity", "run", "charge", '"x"', "--attempts", "1")
    assert failed.exit_code == 1 and "it is down" in failed.stderr
    started = run(
        "activity", "run", "ship", '"x"', "--no-wait", "--id", "s", "--start-to-close", "9"
    )
    assert started.stdout.startswith("started s (run ")
    assert "'ACTIVITY': give a name" in run("activity", "run", "").stderr
