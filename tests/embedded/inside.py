"""Ways into an embedded runtime: that of this process, and the disk of one that does not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from processor.codec.records import decode, decode_as
from processor.core.event import Event
from processor.core.records.effects import DeadLetter
from processor.core.records.turn import Turn
from processor.embedded.disk import Disk, DiskLog, open_disk
from processor.embedded.runtime import EmbeddedRuntime, running

__all__ = ("events_in", "letters_in", "published_in", "records_in", "runtime_at")


def runtime_at(path: Path) -> EmbeddedRuntime:
    """Return the runtime of a path, which a worker of this process has started."""
    runtime = running(path.resolve())
    assert runtime is not None, f"no worker runs at {path}"
    return runtime


@contextmanager
def _opened(path: Path) -> Iterator[Disk]:
    disk = open_disk(path / "log", sync=False)
    try:
        yield disk
    finally:
        disk.close()


def records_in(path: Path) -> list[Any]:
    """Return what the log holds, in order, without deletions."""
    with _opened(path) as disk:
        log = DiskLog(disk)
        found = log.read(*log.bounds())
        return [decode(record.value) for record in found if record.value is not None]


def events_in(path: Path, workflow_id: str) -> list[Event]:
    """Return the events of all runs of a workflow id, in order."""
    turns = (each for each in records_in(path) if isinstance(each, Turn))
    return [event for turn in turns if turn.workflow_id == workflow_id for event in turn.events]


def published_in(path: Path, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Return keys and values that were published to a topic."""
    with _opened(path) as disk:
        return [(key, value) for to, key, value in disk.outputs() if to == topic]


def letters_in(path: Path) -> list[DeadLetter]:
    with _opened(path) as disk:
        return [decode_as(DeadLetter, value) for _, value in disk.scan("dead-letters")]
