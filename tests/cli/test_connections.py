"""``processor connect``: what it refuses, and how far it says that a connection is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from .conftest import Invoke, Processor

MODULE = """
from processor import connect

@connect.define("{topic}", group="mine")
def noted(record: connect.Record[int]) -> connect.SignalEntity:
    return connect.SignalEntity("Ledger.note", "all", record.value)

other = 7
"""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("orders",), "by one of --start WORKFLOW, --signal NAME and --entity"),
        (("orders", "--start", "w", "--signal", "n", "--key", "key"), "not --start and --signal"),
        (("orders", "--start", "w"), "--start takes --key FIELD"),
        (("orders", "--signal", "n", "--key", "key"), "--signal takes --to FIELD"),
        (("orders", "--signal", "n", "--to", "key", "--key", "key"), "and no --key"),
        (("orders", "--start", "w", "--key", "id"), "'id' is no field of a record"),
        (("orders", "--start", "w", "--key", "key", "--filter", "key = 1"), "filter: "),
        (("orders", "--start", "w", "--key", "key", "--arg", "x"), "argument: "),
        (("a b", "--start", "w", "--key", "key"), "no Kafka topic"),
        (("orders", "--start", "w", "--key", "key", "--from", "now"), "begin"),
        (("orders", "--start", "w", "--key", "key", "--avro", "none.avsc"), "no Avro schema"),
        (("orders", "--signal", "n", "--to", "key", "--reuse", "reject"), "--reuse and --conflict"),
        (("orders", "--start", "w", "--key", "key", "--reuse", "allowed"), "Start: reuse"),
        (("orders", "--start", "w", "--key", "key", "--conflict", "no"), "Start: conflict"),
        (("orders", "--entity", "Ledger", "--key", "key"), "'Ledger': write Name.operation"),
        (("orders", "--signal", "n" * 1_001, "--to", "key"), "SignalWorkflow: name"),
        (("orders", "--start", "w", "--key", "key", "--avro-header", "5"), "add --avro FILE"),
        (("orders", "--signal", "n", "--correlated", "value.id"), "write the name of the key, ="),
        (("orders", "--signal", "n", "--correlated", "a=id"), "'id' is no field of a record"),
        (("orders", "--correlated", "a=key"), "--correlated NAME=FIELD goes with --signal NAME"),
        (("orders", "--signal", "n", "--correlated", "a=key", "--to", "key"), "--to, --reuse"),
        (("orders", "--signal", "n", "--to", "key", "--keep", "5"), "--keep is for --correlated"),
        (("noting:noted", "--correlated", "a=key"), "leave --correlated out"),
        (("noting:noted", "--from", "latest", "--reuse", "reject"), "leave --reuse, --from out"),
        (("noting:noted", "--conflict", "fail"), "leave --conflict out"),
        (("noting:noted", "--avro-header", "0"), "leave --avro-header out"),
        (("noting:noted", "--start", "w"), "says all of it in code: leave --start out"),
        (("noting:other",), "is no connection"),
        (("noting:nothing",), "has no object"),
        (("run",), "Missing argument"),
        (("status",), "Missing argument"),
    ],
)
def test_what_is_wrong_is_said(
    invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    (tmp_path / "noting.py").write_text(MODULE.format(topic="orders"))
    done = invoke("connect", *arguments)
    assert done.exit_code == 2, done.output
    assert told in " ".join(done.output.split())


def test_the_help_says_how_a_topic_is_given(invoke: Invoke) -> None:
    told = " ".join(invoke("connect", "--help").output.split())
    assert "connect TOPIC [OPTIONS] | COMMAND [ARGS]..." in told
    assert "--correlated" in invoke("connect", "run", "--help").output


def test_an_embedded_folder_has_no_topics(invoke: Invoke) -> None:
    where = "--server", "embedded:./state"
    done = invoke("connect", "orders", "--start", "w", "--key", "key", *where)
    assert done.exit_code == 2
    assert "has no topics that could be read" in done.output
    assert "without topics" in invoke("connect", "status", "orders", *where).output


def test_a_connection_alone_says_how_far_it_is(
    invoke: Invoke,
    processor: Processor,
    kafka_servers: str,
    namespace: str,
    tmp_path: Path,
) -> None:
    topic, admin = f"{namespace}-numbers", AdminClient({"bootstrap.servers": kafka_servers})
    for future in admin.create_topics([NewTopic(topic, 2, 1)]).values():
        future.result()
    (tmp_path / "noting.py").write_text(MODULE.format(topic=topic))
    where = "--server", kafka_servers, "--namespace", namespace
    assert invoke("topics", "apply", "--partitions=1", *where).exit_code == 0
    unknown = invoke("connect", "status", "mine", *where)
    assert unknown.exit_code == 3 and "no connection 'mine' has read anything" in unknown.output
    producer = Producer({"bootstrap.servers": kafka_servers})
    for number in range(5):
        producer.produce(topic, str(number), partition=number % 2)
    assert producer.flush(20) == 0
    running = processor("connect", "noting:noted", *where)
    deadline, found = time.monotonic() + 60, {}
    while len(found.get("partitions", ())) < 3 or any(each["lag"] for each in found["partitions"]):
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
        status = invoke("connect", "status", "mine", "--json", *where)
        found = json.loads(status.stdout) if status.exit_code == 0 else {}
    positions = {
        (each["topic"], each["partition"]): each["position"] for each in found["partitions"]
    }
    assert positions == {(topic, 0): 3, (topic, 1): 2, (f"{namespace}.connect-retries", 0): 0}
    assert (found["group"], found["processes"]) == ("mine", 1)
    shown = invoke("connect", "status", "mine", *where).stdout.splitlines()
    assert shown[0] == "mine: 1 processes, 0 records left"
    assert shown[1].split() == ["TOPIC", "PARTITION", "POSITION", "END", "LAG"]
    running.terminate()
    assert running.wait(30) == 0
