"""The command that raises the level of a namespace: its refusals, and the embedded runtime.

Two releases on Kafka: ``tests/kafka/test_two_releases.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from processor.cli.commands import upgrade
from processor.codec.records import LEVEL
from processor.kafka.group.upgrade import Process

from .conftest import Invoke, Processor, embedded

SHARDS = "default.shards"
NEW = Process(SHARDS, "worker-1", "10.0.0.1", 2)
OLD = Process(SHARDS, "worker-2", "10.0.0.2", 1)
SILENT = Process("default.activities.far", "worker-3", "10.0.0.3", None)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command be one of a release that knows level 2."""
    monkeypatch.setattr("processor.codec.records.LEVEL", LEVEL + 1)


def report(invoke: Invoke, server: str, *options: str) -> dict[str, Any]:
    done = invoke("upgrade", "--server", server, "--json", *options)
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# --- embedded ---------------------------------------------------------------------------------


def test_a_release_that_knows_nothing_newer_has_nothing_to_do(
    invoke: Invoke, finished_order: str
) -> None:
    found = report(invoke, finished_order)
    assert (found["levels"], found["known"], found["raised"]) == ([LEVEL], LEVEL, [])
    plain = invoke("upgrade", "--server", finished_order)
    assert plain.exit_code == 0
    assert plain.stdout.startswith("nothing to do: ")
    assert f"/state is at level {LEVEL}, and this release knows level {LEVEL}" in plain.stdout


@pytest.mark.usefixtures("later")
def test_a_folder_is_raised_once_and_for_all(invoke: Invoke, finished_order: str) -> None:
    dry = invoke("upgrade", "--server", finished_order, "--dry-run")
    assert f"/state: 1 shard would be raised to level {LEVEL + 1}" in dry.stdout
    assert report(invoke, finished_order, "--dry-run")["raised"] == []
    raised = invoke("upgrade", "--server", finished_order)
    assert raised.exit_code == 0 and f"/state: 1 shard raised to level {LEVEL + 1}" in raised.stdout
    assert report(invoke, finished_order)["levels"] == [LEVEL + 1]


@pytest.mark.usefixtures("later")
def test_an_earlier_release_leaves_the_folder_alone_from_then_on(
    invoke: Invoke, processor: Processor, finished_order: str
) -> None:
    assert report(invoke, finished_order)["raised"] == [0]
    worker = processor("worker", "examples.orders", "--server", finished_order)
    assert worker.stderr is not None
    level = f"is at level {LEVEL + 1} of the log's format"
    said = next(line for line in worker.stderr if level in line)
    assert "Start a later release" in said


def test_a_folder_that_is_not_there_or_in_use_is_said_so(
    invoke: Invoke, processor: Processor, finished_order: str, tmp_path: Path
) -> None:
    missing = invoke("upgrade", "--server", f"embedded:{tmp_path / 'nothing'}")
    assert missing.exit_code == 2 and "there is no embedded state in" in missing.stderr
    worker = processor("worker", "examples.orders", "--server", finished_order)
    assert worker.stderr is not None
    assert any("is ours" in line for line in worker.stderr)
    used = invoke("upgrade", *embedded(finished_order)[:2])
    assert used.exit_code == 3
    assert "is held by another process" in used.stderr


# --- who speaks against it --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processes", "hidden", "says"),
    [
        ([], [], []),
        ([NEW, NEW], [], []),
        (
            [NEW, OLD],
            [],
            [
                "namespace 'default' stays at level 1: 1 of 2 members",
                "  worker-2 on 10.0.0.2, in group default.shards: level 1",
                "run `processor upgrade` again",
            ],
        ),
        ([NEW, SILENT], [], ["worker-3 on 10.0.0.3", "its client.id does not say", "--force"]),
        ([NEW], ["default.activities.far.share"], ["default.activities.far.share", "--force"]),
    ],
    ids=["nobody", "all know it", "one is old", "one does not say", "a share group"],
)
def test_who_does_not_know_the_level_is_named(
    processes: list[Process], hidden: list[str], says: list[str]
) -> None:
    said = upgrade.objection("default", 1, 2, processes, hidden)
    assert bool(said) == bool(says)
    for each in says:
        assert each in said
    assert "worker-1" not in said
