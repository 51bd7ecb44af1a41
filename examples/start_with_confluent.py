"""Start a workflow and raise an event with plain confluent-kafka: no client of ours.

A command is a record on ``<namespace>.commands``; its key is the workflow id. JSON is enough.

    python -m examples.start_with_confluent localhost:9092 order-7
"""

import json
import sys
from typing import Any

from confluent_kafka import Producer


def command(producer: Producer, namespace: str, workflow_id: str, body: dict[str, Any]) -> None:
    producer.produce(
        f"{namespace}.commands",
        key=workflow_id.encode(),
        value=json.dumps(body).encode(),
        headers={"content-type": b"application/json"},
    )


def main(servers: str, workflow_id: str, namespace: str = "default") -> None:
    # murmur2 is Kafka's default partitioner; librdkafka's own default is another one.
    producer = Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random"})
    order = {"id": workflow_id, "amount": 5000, "follow_up_s": 1}
    start: dict[str, Any] = {"type": "start", "workflow": "order_processing", "arguments": [order]}
    command(producer, namespace, workflow_id, start)
    event: dict[str, Any] = {"type": "event", "name": "fraudReviewApproved", "payload": True}
    command(producer, namespace, workflow_id, event)
    left = producer.flush(10)
    if left:
        raise SystemExit(f"{left} commands were not acknowledged by {servers} within 10 s")


if __name__ == "__main__":
    main(*sys.argv[1:])
