"""The live runs of a shard: code in memory, bounded by count and bytes, oldest evicted first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from processor.core.nouns.run import Summary
from processor.core.replay import Instance
from processor.core.runner import CodeError

__all__ = ("Cache", "Entry")

_RUN_BYTES = 6_000
"""What a coroutine with its tasks, loop and state takes, beside its history (measured)."""


@dataclass(slots=True)
class Entry:
    """One workflow id: ``instance`` is its open run, and ``latest`` sums up its latest run.

    ``in_flight`` counts its turns that are not acknowledged: until then the tables are behind
    and the entry must stay. ``begun`` are the runs that began meanwhile. ``cached``: whether the
    cache holds it. ``snapshot`` are the bytes of the snapshot that its history begins with.
    """

    workflow_id: str
    instance: Instance | None = None
    latest: Summary | None = None
    in_flight: int = 0
    begun: set[str] = field(default_factory=set)
    bytes: int = _RUN_BYTES
    cached: bool = False
    snapshot: int = 0

    @property
    def is_due(self) -> bool:
        """Whether the turns since the snapshot are as long as it: so the log grows with them."""
        return self.bytes - _RUN_BYTES >= 2 * self.snapshot


class Cache:
    def __init__(self, runs_max: int, bytes_max: int) -> None:
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._runs_max = runs_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        return self._bytes

    def get(self, workflow_id: str) -> Entry | None:
        entry = self._entries.get(workflow_id)
        if entry is not None:
            self._entries.move_to_end(workflow_id)
        return entry

    def add(self, entry: Entry) -> None:
        entry.cached = True
        self._entries[entry.workflow_id] = entry
        self._bytes += entry.bytes

    def grew(self, entry: Entry, bytes: int) -> None:
        entry.bytes += bytes
        self._bytes += bytes

    def emptied(self, entry: Entry) -> None:
        """Note that a run has ended: the next one of its chain begins without its history."""
        self.shrank(entry, 0)

    def shrank(self, entry: Entry, bytes: int) -> None:
        """Note that nothing counts any more of what was before a snapshot of so many bytes."""
        self.grew(entry, _RUN_BYTES + bytes - entry.bytes)
        entry.snapshot = bytes

    def settled(self, entry: Entry) -> None:
        """Note that a turn is acknowledged; drop what is closed, with nothing in flight."""
        entry.in_flight -= 1
        if entry.in_flight == 0:
            if entry.begun:
                entry.begun.clear()
            if entry.instance is None:
                self._drop(entry)

    def evict(self) -> None:
        """Drop the least recently used entries while the bounds are exceeded."""
        over = len(self._entries) - self._runs_max
        if over <= 0 and self._bytes <= self._bytes_max:
            return
        for entry in list(self._entries.values()):
            if len(self._entries) <= self._runs_max and self._bytes <= self._bytes_max:
                return
            if entry.in_flight == 0:
                self._drop(entry)

    def drop(self, workflow_id: str) -> None:
        """Drop an entry with nothing in flight, whatever state it is in."""
        entry = self._entries.get(workflow_id)
        if entry is not None:
            self._drop(entry)

    def close(self) -> None:
        for entry in list(self._entries.values()):
            self._drop(entry)

    def _drop(self, entry: Entry) -> None:
        if not entry.cached:
            return
        entry.cached = False
        del self._entries[entry.workflow_id]
        self._bytes -= entry.bytes
        if entry.instance is not None and not isinstance(entry.instance.runner, CodeError):
            entry.instance.runner.close()
