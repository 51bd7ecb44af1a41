"""Read the results of all workflows, each exactly once, with plain confluent-kafka.

    python -m examples.consume_results localhost:9092

``isolation.level=read_committed`` hides what a dead publisher left half written. The records are
Avro (schemas/run_result.avsc) behind the ten bytes of Avro's single-object encoding.
"""

import io
import json
import sys
from collections.abc import Iterator
from typing import Any

import fastavro
from confluent_kafka import Consumer, KafkaException

from processor.data import data_dir

HEADER_BYTES = 10


def results(servers: str, namespace: str = "default", idle_s: float = 5.0) -> Iterator[Any]:
    """Yield results from the beginning until none comes for ``idle_s`` seconds."""
    schema = fastavro.parse_schema(
        json.loads((data_dir("schemas") / "run_result.avsc").read_text())
    )
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"{namespace}.example-results",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([f"{namespace}.results"])
    try:
        while (message := consumer.poll(idle_s)) is not None:
            if message.error():
                raise KafkaException(message.error())
            body = io.BytesIO((message.value() or b"")[HEADER_BYTES:])
            yield fastavro.schemaless_reader(body, schema, None)
    finally:
        consumer.close()


if __name__ == "__main__":
    for result in results(*sys.argv[1:3]):  # type: ignore[arg-type]
        print(result["workflow_id"], result["status"], result["result"])
