"""Read the log of a namespace with plain confluent-kafka and fastavro, and our schemas.

    python -m examples.read_log localhost:9092 default

It prints the history of every run. ``docs/log-format.md`` explains it: which schema a record has,
and which records count. It works the same in any language with a Kafka client and Avro.
"""

import io
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from fastavro.schema import fingerprint, parse_schema, to_parsing_canonical_form

from processor.data import data_dir

HEADER_BYTES = 10


def schemas(directory: Path) -> dict[bytes, Any]:
    """Return every published schema by the ten bytes with which its records begin."""
    found = {}
    for path in sorted(directory.glob("published/*/*.avsc")):
        schema = parse_schema(json.loads(path.read_text()))
        crc = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
        found[b"\xc3\x01" + bytes.fromhex(crc)] = schema
    return found


def records(servers: str, topic: str, partition: int) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the value of each record of a partition; tombstones say nothing."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"{topic}.example",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
        }
    )
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING)])
    try:
        while (message := consumer.poll(30.0)) is not None:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                return
            if error is not None:
                raise KafkaException(error)
            value = message.value()
            if value is not None:
                yield message.offset() or 0, value
    finally:
        consumer.close()


def read(known: dict[bytes, Any], value: bytes, where: str) -> tuple[str, Any]:
    """Return the name and the fields of a record; no fields where it is no record of Processor."""
    header, body = value[:HEADER_BYTES], io.BytesIO(value[HEADER_BYTES:])
    if header not in known:
        if header[:2] == b"\xc3\x01" and len(header) == HEADER_BYTES:
            raise SystemExit(f"{where}: a later release wrote it")
        return "", None
    try:
        record = fastavro.schemaless_reader(
            body, known[header], None, return_record_name=True, return_record_name_override=True
        )
    except (ArithmeticError, EOFError, LookupError, ValueError):
        return "", None  # it was cut
    return known[header]["name"], None if body.read(1) else record


def histories(servers: str, namespace: str = "default") -> dict[str, list[str]]:
    """Return the names of the events of each run, by workflow id and run id."""
    known = schemas(data_dir("schemas"))
    topic = f"{namespace}.events"
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"{topic}.example"})
    partitions = consumer.list_topics(topic, 10).topics[topic].partitions
    consumer.close()
    runs: dict[str, list[str]] = defaultdict(list)
    for partition in partitions:
        epoch = -1
        for offset, value in records(servers, topic, partition):
            schema, record = read(known, value, f"{topic}[{partition}] offset {offset}")
            if schema == "processor.v1.Claim":
                epoch = offset
            if record is None or not epoch <= record.get("epoch", -1) < offset:
                continue  # it does not count: a claim, a stranger's, or of a former owner
            epoch = record["epoch"]
            name = f"{record.get('workflow_id')} {record.get('run_id')}"
            if schema in ("processor.v1.Turn", "processor.v1.Snapshot"):
                runs[name] += [kind.rpartition(".")[2] for kind, _ in record["events"]]
            elif schema == "processor.v1.Purged":
                runs.pop(name, None)
    return runs


if __name__ == "__main__":
    for name, events in histories(*sys.argv[1:3]).items():
        print(name, *events)
