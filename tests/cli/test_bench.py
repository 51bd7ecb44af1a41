"""``processor bench``: figures of a server of the user's, of which nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from processor.kafka.topics.upkeep import connect

from .conftest import Invoke

SHORT = ("--seconds=0.3", "--in-flight=5")


def check(figures: dict[str, dict[str, float]]) -> None:
    one, many, log = figures["one_at_a_time"], figures["in_flight"], figures["log"]
    assert 0 < one["p50_ms"] <= one["p99_ms"]
    assert one["c"] == 1
    assert many["c"] == 5
    assert many["turns_per_s"] == pytest.approx(6 * many["wf_per_s"], rel=0.01)
    assert figures["turns_per_append"] == pytest.approx(
        many["turns_per_s"] / log["per_s"], rel=0.01
    )


def test_an_embedded_server_is_measured_on_its_own_disk(invoke: Invoke, tmp_path: Path) -> None:
    place = tmp_path / "there"
    place.mkdir()
    done = invoke("bench", f"--server=embedded:{place / 'not-yet'}", "--json", *SHORT)
    assert done.exit_code == 0, done.output
    check(json.loads(done.stdout))
    assert not list(place.iterdir())


def test_people_get_a_table(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("bench", f"--server=embedded:{tmp_path}", *SHORT)
    assert done.exit_code == 0, done.output
    rows = done.stdout.splitlines()
    assert (
        next(row for row in rows if row.startswith("chain of 5, one at a time")).count(" ms") == 2
    )
    assert any(row.startswith("chain of 5, 5 in flight") and "workflows/s" in row for row in rows)
    assert any(row.startswith("raw commits (fsync each)") for row in rows)


def test_a_broker_that_does_not_answer_is_named(invoke: Invoke) -> None:
    done = invoke("bench", "--server=127.0.0.1:1")
    assert done.exit_code == 4
    assert "No Kafka broker answered at 127.0.0.1:1" in done.stderr


def test_a_broker_is_measured_and_left_as_it_was(
    invoke: Invoke, kafka_servers: str, namespace: str
) -> None:
    admin = connect(kafka_servers)  # one that went away would never answer
    before = set(admin.list_topics().topics)
    where = (f"--server={kafka_servers}", f"--namespace={namespace}", "--partitions=2")
    done = invoke("bench", "--json", *where, *SHORT)
    assert done.exit_code == 0, done.output
    check(json.loads(done.stdout))
    left = set(admin.list_topics().topics) - before
    assert not [topic for topic in left if not topic.startswith("__")]
    groups = admin.list_consumer_groups().result(30).valid
    assert not [group.group_id for group in groups if group.group_id.startswith(namespace)]


def test_a_namespace_that_exists_is_not_touched(
    invoke: Invoke, kafka_servers: str, namespace: str
) -> None:
    where = (f"--server={kafka_servers}", f"--namespace={namespace}")
    assert invoke("topics", "apply", "--partitions=1", *where).exit_code == 0
    done = invoke("bench", *where, *SHORT)
    assert done.exit_code == 3
    assert "Name a namespace that does not exist" in done.stderr
    assert invoke("topics", "check", *where).exit_code == 0
