"""The threads of the Kafka clients do not interrupt the loop that feeds them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from processor.kafka.clients.background import background_threads
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.producing import Producing

linux = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="a policy of Linux")


def policies() -> dict[int, int]:
    """Return the scheduling policy of each thread of this process, by its id."""
    found = {}
    for each in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            found[int(each.name)] = os.sched_getscheduler(int(each.name))
    return found


OURS = 2
"""One that waits for answers, and one that looks for the brokers."""
LIBRDKAFKA = 3
"""It has a main thread and one for each broker, and there is ours that polls."""


@linux
@pytest.mark.parametrize(
    ("extra", "threads"), [({}, OURS), ({"producer": "librdkafka"}, LIBRDKAFKA)]
)
def test_threads_of_a_producer_are_background_threads_and_who_makes_it_is_not(
    extra: dict[str, Any], threads: int
) -> None:
    before = policies()
    config = KafkaSettings("127.0.0.1:1", "none", extra).producer()
    producing = Producing(config, extra, "a test")
    try:
        begun = [policy for id, policy in policies().items() if id not in before]
        assert begun.count(os.SCHED_BATCH) >= threads
        assert os.sched_getscheduler(0) == before[threading.get_native_id()] == os.SCHED_OTHER
    finally:
        producing.close(0)


@linux
def test_a_sandbox_that_forbids_it_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    with background_threads():
        pass
