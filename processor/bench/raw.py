"""What the log alone can do: appends by the same client with the same settings, and nothing else.

The yardstick of a run: turns per second as a share of these do not drift with the machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from processor.bench.hosts import delete_namespace, make_namespace, new_namespace
from processor.bench.loops import WorkloadFailed, percentile
from processor.store.rocks import Rocks

__all__ = ("commits", "raw_appends")

RECORD_BYTES = 300
"""About one turn of the chain."""

AT_ONE = 200
SETTLED_S = 60.0


def raw_appends(
    server: str,
    one: int = AT_ONE,
    many: int = 50_000,
    kafka: Mapping[str, str] | None = None,
) -> dict[str, float]:
    """Append to a fresh ``events``: ``one`` at a time, then ``many`` in a flood. Blocks."""
    namespace = new_namespace()
    make_namespace(server, namespace, 1, kafka)
    try:
        return _appends(server, namespace, one, many, kafka)
    finally:
        delete_namespace(server, namespace, kafka)


def _appends(
    server: str, namespace: str, one: int, many: int, kafka: Mapping[str, str] | None
) -> dict[str, float]:
    from confluent_kafka import KafkaError

    from processor.kafka.clients.connection import KafkaSettings
    from processor.kafka.clients.producers import open_producer
    from processor.kafka.clients.record_producer import Outgoing, Produced

    connection = KafkaSettings(server, namespace, kafka or {})
    producer = open_producer(connection.log_producer(), connection.extra)
    topic, value = connection.events, b"x" * RECORD_BYTES

    def delivered(error: KafkaError | None, _written: Produced | None) -> None:
        if error is not None:
            raise WorkloadFailed(f"an append failed: {error.str()}")

    def append(number: int) -> None:
        producer.produce(Outgoing(topic, 0, b"key-%d" % number, value, delivered))

    def settle() -> None:
        deadline = time.monotonic() + SETTLED_S
        while len(producer):
            producer.poll(0.1)
            if time.monotonic() > deadline:
                raise WorkloadFailed(f"{len(producer)} appends were not acknowledged")

    try:
        append(-1)
        settle()
        took = []
        for number in range(one):
            begun = time.perf_counter()
            append(number)
            settle()
            took.append((time.perf_counter() - begun) * 1000)
        begun = time.perf_counter()
        for number in range(many):
            append(number)
            if number % 200 == 0:
                producer.poll(0)
        settle()
        elapsed = time.perf_counter() - begun
    finally:
        producer.close()
    fields: dict[str, float] = {"per_s": round(many / elapsed)}
    if took:
        fields["p50_ms"] = round(percentile(sorted(took), 0.5), 3)
    return fields


def commits(folder: Path, seconds: float = 1.0) -> dict[str, float]:
    """Write batches of one record to a RocksDB log, with an fsync for each. Blocks."""
    store = Rocks(folder / "raw", ("log",))
    value, took_ms, begun = b"x" * RECORD_BYTES, [0.0], time.perf_counter()
    try:
        while (now := time.perf_counter()) - begun < seconds:
            store.write([("log", len(took_ms).to_bytes(8, "big"), value)])
            store.sync()
            took_ms.append((time.perf_counter() - now) * 1000)
    finally:
        store.close()
    ordered = sorted(took_ms[1:])
    return {
        "per_s": round(len(ordered) / (time.perf_counter() - begun)),
        "p50_ms": round(percentile(ordered, 0.5), 3),
    }
