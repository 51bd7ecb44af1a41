"""The ports of a simulated shard: one owner's connections to the shared broker.

Each connection keeps its order and has its own delay. An owner that dies or steps down leaves
what is under way behind: some of it still arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from zlib import crc32

from processor.codec.records import read_envelope
from processor.core.records.effects import DeadLetter
from processor.core.records.turn import Positions, Source
from processor.errors import LogTruncated, PayloadTooLarge, SchemaMismatch, TooNew
from processor.shard.ports import InboxRecord, LogRecord
from processor.simulation.broker import INPUTS, SimulatedBroker
from processor.simulation.faults import Faults
from processor.simulation.hosts.perils import Peril, port_call
from processor.simulation.partitions import InputPartition
from processor.simulation.scheduler import Channel, Scheduler
from processor.store.keyvalue import Memory, Mutation

__all__ = ("SimulatedClock", "SimulatedInbox", "SimulatedLog", "SimulatedStore")

_RECORD_BYTES_MAX: Final = 16 * 1024 * 1024


class SimulatedClock:
    """A host's clock: virtual time, ``offset_ms`` off."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.offset_ms = 0

    def now_ms(self) -> int:
        return self._scheduler.now_ms + self.offset_ms


class SimulatedLog:
    """``confirmed_end``: everything below has been acknowledged to this owner."""

    def __init__(
        self,
        broker: SimulatedBroker,
        partition: int,
        scheduler: Scheduler,
        faults: Faults,
        wake: Callable[[], None],
        owner: str = "owner",
        peril: Peril | None = None,
    ) -> None:
        self.confirmed_end = 0
        self.id = broker.log_id
        self._log = broker.logs[partition]
        self._scheduler = scheduler
        self._faults = faults
        self._wake = wake
        self._peril = peril
        self._name = f"{owner} events-{partition}"
        self._up = Channel(scheduler, f"{self._name} append", faults)
        self._down = Channel(scheduler, f"{self._name} ack", faults)
        self._acknowledged: deque[tuple[int, int]] = deque()

    @port_call
    def append(self, key: bytes, value: bytes | None) -> None:
        if value is not None and len(value) > _RECORD_BYTES_MAX:
            raise PayloadTooLarge(
                f"a record of {len(value):,} bytes; the limit is {_RECORD_BYTES_MAX:,}"
            )
        self._up.send(lambda: self._arrive(key, value))

    @property
    def waiting(self) -> bool:
        return bool(self._acknowledged)

    @port_call
    def acknowledged(self) -> Sequence[int]:
        drained = list(self._acknowledged)
        self._acknowledged.clear()
        if drained:
            self.confirmed_end = drained[-1][0] + 1
        return [seen for _, seen in drained]

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        for record in self._log.read(first, end):
            if self._peril is not None:
                self._peril.moment("read")
            yield record

    def read_along(self, first: int, end: int) -> Iterator[LogRecord | None]:
        for record in self.read(first, end):
            if record.offset % 3 == 0:  # it takes a while to arrive
                yield None
            yield record

    @port_call
    def bounds(self) -> tuple[int, int]:
        return self._log.first, self._log.end

    def cut(self) -> None:
        """The owner is gone."""
        self._up.cut()

    def _arrive(self, key: bytes, value: bytes | None) -> None:
        offset = self._log.append(key, value)
        self._scheduler.trace(f"{self._name} {offset} {key!r} {crc32(value or b'')}")
        known = not self._scheduler.strikes(self._faults, "unknown_offset")
        self._down.send(lambda: self._acknowledge(offset, offset if known else -1))
        if self._peril is not None and self._up.open and not self._up.idle:
            self._peril.torn()

    def _acknowledge(self, offset: int, seen: int) -> None:
        self._acknowledged.append((offset, seen))
        self._wake()


class SimulatedInbox:
    def __init__(
        self,
        broker: SimulatedBroker,
        partition: int,
        scheduler: Scheduler,
        faults: Faults,
        wake: Callable[[], None],
        peril: Peril | None = None,
    ) -> None:
        self._partition = partition
        self._inputs = broker.inputs[partition]
        self._scheduler = scheduler
        self._faults = faults
        self._wake = wake
        self._peril = peril
        self._next: dict[Source, int] = {}

    @port_call
    def open(self, positions: Positions) -> None:
        wanted: dict[Source, int] = {
            "commands": positions.commands,
            "results": positions.results,
            "timers": positions.timers,
        }
        for source, position in wanted.items():
            held = self._inputs[source]
            if not held.first <= position <= held.end:
                raise LogTruncated(
                    f"input {source} of shard {self._partition} holds [{held.first}, {held.end}), "
                    f"and the shard stands at {position}"
                )
        self._next = wanted
        for held in self._inputs.values():
            held.subscribe(self._wake)
        self._wake()

    @property
    def waiting(self) -> bool:
        return not self.idle

    @port_call
    def take(self, count: int) -> Sequence[InboxRecord]:
        """Return what has arrived; under faults sometimes less, in any mixture of the inputs."""
        random = self._scheduler.random
        if self._scheduler.strikes(self._faults, "partial_take"):
            count = min(count, random.randint(1, 3))
            self._wake()
        taken: list[InboxRecord] = []
        waiting = [source for source in INPUTS if self._waits(source)]
        while waiting and len(taken) < count:
            source = waiting[int(random.random() * len(waiting))]
            offset = self._next[source]
            self._next[source] = offset + 1
            taken.append(self._record(source, offset))
            if not self._waits(source):
                waiting.remove(source)
        return taken

    @property
    def positions(self) -> tuple[int, ...]:
        """The next offset of each input; 0 before they are open."""
        return tuple(self._next.get(source, 0) for source in INPUTS)

    @property
    def idle(self) -> bool:
        """Whether all that there is has been taken."""
        return bool(self._next) and not any(self._waits(source) for source in INPUTS)

    def close(self) -> None:
        for held in self._inputs.values():
            held.unsubscribe(self._wake)

    def _record(self, source: Source, offset: int) -> InboxRecord:
        held = self._inputs[source]
        try:
            return InboxRecord(source, offset, held.get(offset))
        except SchemaMismatch as error:
            value = held.get_bytes(offset)
            letter = DeadLetter(source, self._partition, offset, None, value, str(error))
            envelope = read_envelope(value) if isinstance(error, TooNew) else None
            return InboxRecord(source, offset, letter, envelope, "TooNew")

    def _waits(self, source: Source) -> bool:
        held: InputPartition = self._inputs[source]
        return self._next[source] < held.end


class SimulatedStore:
    """A shard's store as one process sees it. The batch is the unit that is written or not."""

    def __init__(self, disk: Memory, peril: Peril | None) -> None:
        self._disk = disk
        self._peril = peril

    @port_call
    def get(self, family: str, key: bytes) -> bytes | None:
        return self._disk.get(family, key)

    @port_call
    def write(self, mutations: Sequence[Mutation]) -> None:
        self._disk.write(mutations)

    @port_call
    def scan(self, family: str, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._disk.scan(family, first)

    @port_call
    def last(self, family: str) -> bytes | None:
        return self._disk.last(family)

    def close(self) -> None:
        self._disk.close()
