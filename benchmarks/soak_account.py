"""What the soak asked for, and what came of it as a consumer of results sees it."""

from __future__ import annotations

import time
from collections import Counter
from threading import Thread

from confluent_kafka import Consumer

from benchmarks.soak_work import PUBLISHED
from processor.codec.records import decode_as
from processor.core.records.effects import RunResult

__all__ = ("Account",)

_POLL_S = 0.2


class Account:
    """Counts what a ``read_committed`` consumer sees, while it is written.

    ``accepted`` are the ids whose start a shard acknowledged; ``unknown`` those whose client gave
    up before it heard: they may have been started or not. ``wrong`` says what came out otherwise
    than it had to. ``publishes`` are the ids whose runs publish a record.
    """

    def __init__(self, servers: str, namespace: str) -> None:
        self.asked = 0
        self.accepted: set[str] = set()
        self.unknown: set[str] = set()
        self.publishes: set[str] = set()
        self.ended = 0
        self.wrong: list[str] = []
        self.results: Counter[str] = Counter()
        self.records: Counter[str] = Counter()
        self._results_topic = f"{namespace}.results"
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": f"{namespace}.soak",
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        self._consumer.subscribe([self._results_topic, PUBLISHED])
        self._closed = False
        self._thread = Thread(target=self._run, name="results", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many accepted runs have no result yet."""
        return len(self.accepted - self.results.keys())

    def settle(self, timeout_s: float) -> None:
        """Wait until every accepted run has its result and its record, and for seconds more."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not self._is_settled():
            time.sleep(_POLL_S)
        time.sleep(3.0)  # a second copy would be close behind

    def close(self) -> None:
        self._closed = True
        self._thread.join(10.0)

    def lost(self) -> list[str]:
        """Return the accepted runs without a result, or without the record they published."""
        runs = self.accepted - self.results.keys()
        records = (self.accepted & self.publishes) - self.records.keys()
        return sorted(runs | {f"{id} (record)" for id in records})

    def doubled(self) -> list[str]:
        """Return what was seen more than once, or was never asked for."""
        known = self.accepted | self.unknown
        return sorted(
            id
            for seen in (self.results, self.records)
            for id, times in seen.items()
            if times > 1 or id not in known
        )

    def _is_settled(self) -> bool:
        return not self.lost()

    def _run(self) -> None:
        while not self._closed:
            for message in self._consumer.consume(1_000, _POLL_S):
                if message.error() is not None:
                    continue
                if message.topic() == self._results_topic:
                    result = decode_as(RunResult, message.value() or b"")
                    self.results[result.workflow_id] += 1
                else:
                    self.records[(message.key() or b"").decode()] += 1
        self._consumer.close()
