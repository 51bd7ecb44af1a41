"""The command line on a real broker: topics, supervised workers that are killed, and the demo."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterable
from dataclasses import replace

import pytest

from processor.config import Settings

from .conftest import Invoke, Processor

ORDER = '{"id": "A-1", "amount": 5000, "follow_up_s": 0.01}'
DONE = "Order processing completed successfully!"


@pytest.fixture
def where(kafka_servers: str, namespace: str) -> tuple[str, ...]:
    return ("--server", kafka_servers, "--namespace", namespace)


def line_with(text: str, lines: Iterable[str]) -> str:
    """Read on until a line has this text, and return that line."""
    return next(line for line in lines if text in line)


def test_topics_are_planned_made_and_checked(invoke: Invoke, where: tuple[str, ...]) -> None:
    missing = invoke("topics", "check", *where)
    assert missing.exit_code == 1
    assert "the topic is missing. Run: processor topics apply" in missing.stdout
    refused = invoke("worker", "examples.orders", *where)
    assert refused.exit_code == 3
    assert "processor topics apply" in refused.stderr
    first, *more = refused.stderr.partition("error: ")[2].splitlines()
    assert first.endswith("are not ready, or this user may not describe them:")
    assert len(more) == 9 and all("the topic is missing. Run: " in line for line in more)
    many = invoke("topics", "apply", "--replication=9", *where)
    assert many.exit_code == 2
    assert " ".join(many.stderr.split()).count("use --replication 1") == 1
    planned = [json.loads(line) for line in made(invoke, "plan", where, "--partitions=2")]
    assert {change["action"] for change in planned} == {"create"}
    applied = [json.loads(line) for line in made(invoke, "apply", where, "--partitions=2")]
    assert applied == planned
    assert invoke("topics", "plan", *where).stdout == "nothing to change\n"
    assert invoke("topics", "check", *where).exit_code == 0
    other = invoke("topics", "plan", "--partitions=3", *where)
    assert other.exit_code == 1
    assert "use --partitions 2" in other.stdout
    assert invoke("topics", "apply", "--partitions=3", *where).exit_code == 3


def made(invoke: Invoke, verb: str, where: tuple[str, ...], *options: str) -> list[str]:
    done = invoke("topics", verb, "--json", *options, *where)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_an_order_outlives_a_killed_worker(
    invoke: Invoke, processor: Processor, where: tuple[str, ...]
) -> None:
    made(invoke, "apply", where, "--partitions=2")
    worker = processor("worker", "examples.orders", "--processes=2", *where)
    assert worker.stderr is not None
    for _ in range(2):
        line_with("is ours", worker.stderr)
    started = invoke("start", "order_processing", ORDER, "--id=A-1", *where)
    assert started.exit_code == 0, started.output
    for pid in children_of(worker.pid):
        os.kill(pid, signal.SIGKILL)
    again = {line_with("runs as pid", worker.stderr).split("process ")[1][0] for _ in range(2)}
    assert again == {"0", "1"}
    sent = invoke("event", "A-1", "fraudReviewApproved", "true", *where)
    assert sent.exit_code == 0, sent.output
    result = invoke("result", "A-1", "--timeout=60", *where)
    assert result.stdout == DONE + "\n", result.output
    described = invoke("describe", "A-1", *where).stdout
    assert re.search(r"^producer: +records are sent by the native producer: ", described, re.M)
    worker.terminate()
    worker.communicate(timeout=60)
    assert worker.returncode == 0


def children_of(pid: int) -> list[int]:
    psutil = pytest.importorskip("psutil")
    return [child.pid for child in psutil.Process(pid).children()]


def test_the_demo_on_kafka_brings_its_own_worker(
    processor: Processor, where: tuple[str, ...]
) -> None:
    first = processor("demo", *where)
    assert first.stdout is not None
    line_with("TimerStarted", first.stdout)
    first.kill()
    first.wait()
    second = processor("demo", *where)
    output, errors = second.communicate(timeout=90)
    assert second.returncode == 0, errors
    assert output.startswith("resuming order")
    assert output.splitlines()[-1] == DONE


def test_the_demo_as_a_client_only(
    invoke: Invoke, processor: Processor, where: tuple[str, ...]
) -> None:
    made(invoke, "apply", where, "--partitions=2")
    worker = processor("worker", "examples.orders", *where)
    demo = processor("demo", "--client-only", *where)
    output, errors = demo.communicate(timeout=90)
    assert demo.returncode == 0, errors
    assert output.splitlines()[-1] == DONE
    worker.terminate()
    worker.communicate(timeout=60)
    assert worker.returncode == 0


def test_a_question_without_a_worker_says_that_nobody_answered(
    invoke: Invoke, where: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(invoke, "apply", where, "--partitions=1")
    soon = replace(Settings(), request_timeout_s=8.0)
    monkeypatch.setattr("processor.arguments.Settings", lambda: soon)
    asked = invoke("list", *where)
    assert asked.exit_code == 4
    assert "no worker answered" in asked.stderr
    assert f"processor worker MODULE --namespace {where[3]}" in asked.stderr
    assert "carry it out" not in asked.stderr
    started = invoke("start", "order_processing", ORDER, *where)
    assert started.exit_code == 4
    assert "the broker has the command for workflow id" in started.stderr
    assert "and a worker will carry it out" in started.stderr
