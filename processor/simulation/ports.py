"""The ports of a simulated shard: one owner's connections to the shared broker.

Each connection keeps its order and has its own delay. An owner that dies or steps down leaves
what is under way behind: some of it still arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from zlib import crc32

from processor.core.effects import ActivityTask, DeadLetter, Message, Reply
from processor.core.inputs import (
    Origin,
    TimerDue,
)
from processor.core.turn import Positions, Source
from processor.errors import LogTruncated, PayloadTooLarge
from processor.shard.loop import ShardLost
from processor.shard.outbox import message_command
from processor.shard.ports import InboxRecord, LogRecord, OutputRecord, Sendable
from processor.simulation.broker import INPUTS, Broker, InputPartition
from processor.simulation.faults import Faults
from processor.simulation.scheduler import Channel, Scheduler

__all__ = ("SimulatedClock", "SimulatedInbox", "SimulatedLog", "SimulatedOutbox")

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
        broker: Broker,
        partition: int,
        scheduler: Scheduler,
        faults: Faults,
        wake: Callable[[], None],
        owner: str = "owner",
    ) -> None:
        self.confirmed_end = 0
        self._log = broker.logs[partition]
        self._scheduler = scheduler
        self._faults = faults
        self._wake = wake
        self._name = f"{owner} events-{partition}"
        self._up = Channel(scheduler, f"{self._name} append")
        self._down = Channel(scheduler, f"{self._name} ack")
        self._acknowledged: deque[tuple[int, int]] = deque()

    def append(self, key: bytes, value: bytes | None) -> None:
        if value is not None and len(value) > _RECORD_BYTES_MAX:
            raise PayloadTooLarge(
                f"a record of {len(value):,} bytes; the limit is {_RECORD_BYTES_MAX:,}"
            )
        self._up.send(lambda: self._arrive(key, value))

    def acknowledged(self) -> Sequence[int]:
        drained = list(self._acknowledged)
        self._acknowledged.clear()
        if drained:
            self.confirmed_end = drained[-1][0] + 1
        return [seen for _, seen in drained]

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        return self._log.read(first, end)

    def bounds(self) -> tuple[int, int]:
        return self._log.first, self._log.end

    def cut(self) -> None:
        """The owner is gone."""
        self._up.cut()

    def _arrive(self, key: bytes, value: bytes | None) -> None:
        offset = self._log.append(key, value)
        self._scheduler.trace(f"{self._name} {offset} {key!r} {crc32(value or b'')}")
        known = not self._scheduler.chance(self._faults.unknown_offset)
        self._down.send(lambda: self._acknowledge(offset, offset if known else -1))

    def _acknowledge(self, offset: int, seen: int) -> None:
        self._acknowledged.append((offset, seen))
        self._wake()


class SimulatedInbox:
    def __init__(
        self,
        broker: Broker,
        partition: int,
        scheduler: Scheduler,
        faults: Faults,
        wake: Callable[[], None],
    ) -> None:
        self._partition = partition
        self._inputs = broker.inputs[partition]
        self._scheduler = scheduler
        self._faults = faults
        self._wake = wake
        self._next: dict[Source, int] = {}

    def open(self, positions: Positions) -> None:
        wanted: dict[Source, int] = {
            "commands": positions.commands,
            "activity-results": positions.results,
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

    def take(self, count: int) -> Sequence[InboxRecord]:
        """Return what has arrived; under faults sometimes less, in any mixture of the inputs."""
        random = self._scheduler.random
        if self._scheduler.chance(self._faults.partial_take):
            count = min(count, random.randint(1, 3))
            self._wake()
        taken: list[InboxRecord] = []
        waiting = [source for source in INPUTS if self._waits(source)]
        while waiting and len(taken) < count:
            source = waiting[int(random.random() * len(waiting))]
            offset = self._next[source]
            self._next[source] = offset + 1
            taken.append(InboxRecord(source, offset, self._inputs[source].get(offset)))
            if not self._waits(source):
                waiting.remove(source)
        return taken

    def close(self) -> None:
        for held in self._inputs.values():
            held.unsubscribe(self._wake)

    def _waits(self, source: Source) -> bool:
        held: InputPartition = self._inputs[source]
        return self._next[source] < held.end


class SimulatedOutbox:
    """Sends are acknowledged in any order, publishes are committed in theirs."""

    def __init__(
        self,
        broker: Broker,
        log: SimulatedLog,
        partition: int,
        scheduler: Scheduler,
        faults: Faults,
        wake: Callable[[], None],
        owner: str = "owner",
    ) -> None:
        self._broker = broker
        self._log = log
        self._scheduler = scheduler
        self._faults = faults
        self._wake = wake
        self._name = f"{owner} outbox-{partition}"
        self._outputs = broker.outputs[partition]
        self._session = -1
        self._closed = False
        self._fenced = False
        self._sends = Channel(scheduler, f"{self._name} send")
        self._transactions = Channel(scheduler, f"{self._name} commit")
        self._delivered: deque[int] = deque()

    def send(self, effect: Sendable, token: int | None, origin: Origin | None = None) -> None:
        if token is not None and token >= 0:
            self._check(token)
        self._sends.send(lambda: self._arrive(effect, token, origin))
        if self._scheduler.chance(self._faults.duplicated):
            self._sends.send(lambda: self._arrive(effect, None, origin))

    def delivered(self) -> Sequence[int]:
        if self._fenced:
            raise ShardLost(f"{self._name}: another owner has fenced what it publishes")
        drained = list(self._delivered)
        self._delivered.clear()
        return drained

    def reply(self, reply: Reply) -> None:
        if not self._scheduler.chance(self._faults.reply_lost):
            self._scheduler.soon(f"{self._name} reply", lambda: self._broker.reply(reply))

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        self._check(offset)
        self._transactions.send(lambda: self._commit(offset, records))

    def published(self) -> int:
        self._session = self._outputs.fence()
        return self._outputs.position

    def close(self) -> None:
        self._closed = True
        self._sends.cut()
        self._transactions.cut()

    def _check(self, offset: int) -> None:
        end = self._log.confirmed_end
        assert offset < end, f"{self._name}: an effect of turn {offset} left at {end}"

    def _arrive(self, effect: Sendable, token: int | None, origin: Origin | None) -> None:
        match effect:
            case TimerDue():
                self._broker.due(effect)
            case Message():
                self._broker.command(message_command(effect, origin))
            case ActivityTask():
                self._broker.task(effect)
            case DeadLetter():
                self._broker.dead_letters.append(effect)
        if token is not None and not self._closed:
            self._scheduler.soon(f"{self._name} delivered", lambda: self._deliver(token))

    def _deliver(self, token: int) -> None:
        self._delivered.append(token)
        self._wake()

    def _commit(self, offset: int, records: Sequence[OutputRecord]) -> None:
        committed = self._outputs.commit(self._session, offset, records)
        self._scheduler.trace(f"{self._name} {offset} {'committed' if committed else 'fenced'}")
        if not committed:
            self._fenced = True
            self._wake()
