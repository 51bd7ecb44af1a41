"""The ``Outbox`` of a simulated shard, and its publisher, which acts as the one on Kafka does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol, assert_never

from processor.core.effects import ActivityTask, DeadLetter, Message, Reply
from processor.core.inputs import Origin, TimerDue
from processor.shard.outbox import message_command
from processor.shard.ports import OutputRecord, Sendable
from processor.simulation.broker import Broker
from processor.simulation.faults import Faults
from processor.simulation.perils import Peril, port_call
from processor.simulation.ports import SimulatedLog
from processor.simulation.scheduler import Channel, Scheduler, Ways

__all__ = ("Departures", "Left", "SimulatedOutbox")

_RETRY_MS: Final = 100
_STILL_OURS_MS: Final = 1_000
_STILL_OURS_MAX_MS: Final = 3_600_000
_BATCH_TURNS: Final = 3


class Left(NamedTuple):
    """An effect that left an owner, when all below ``confirmed_end`` was acknowledged to it.

    ``offset`` is the turn's that caused it (None: a timer that came due, or an answer).
    """

    partition: int
    offset: int | None
    confirmed_end: int
    effect: Sendable | OutputRecord | Reply


Departures = list[Left]


class Ownership(Protocol):
    """What the publisher has to know of the process that it is a part of."""

    def may_own(self) -> bool:
        """Return whether the group gives the shard to this process."""

    def when_running(self, run: Callable[[], None]) -> None:
        """Call back now, or where the process stands still, when it goes on."""


class SimulatedOutbox:
    """Sends keep their order on the way to one partition, and no other."""

    def __init__(
        self,
        broker: Broker,
        log: SimulatedLog,
        partition: int,
        scheduler: Scheduler,
        faults: Faults,
        wake: Callable[[], None],
        owner: str = "owner",
        peril: Peril | None = None,
        ownership: Ownership | None = None,
        departures: Departures | None = None,
    ) -> None:
        self._broker = broker
        self._log = log
        self._partition = partition
        self._scheduler = scheduler
        self._faults = faults
        self._wake = wake
        self._peril = peril
        self._departures = departures
        self._name = f"{owner} outbox-{partition}"
        self._closed = False
        self._ways = Ways(scheduler, self._name, faults)
        self._delivered: deque[int] = deque()
        self._publisher = _Publisher(broker, partition, scheduler, faults, self._name, ownership)

    @property
    def idle(self) -> bool:
        """Whether everything is published, and nothing is on its way."""
        return not self._publisher.pending and self._ways.idle

    @port_call
    def send(self, effect: Sendable, token: int | None, origin: Origin | None = None) -> None:
        self._leaves(token if token is not None and token >= 0 else None, effect)
        to = self._topic(effect)
        self._ways.send(to, lambda: self._arrive(effect, token, origin))
        if self._scheduler.strikes(self._faults, "duplicated"):
            self._ways.send(to, lambda: self._arrive(effect, None, origin))

    @property
    def waiting(self) -> bool:
        return bool(self._delivered)

    @port_call
    def delivered(self) -> Sequence[int]:
        drained = list(self._delivered)
        self._delivered.clear()
        return drained

    @port_call
    def reply(self, reply: Reply) -> None:
        self._leaves(None, reply)
        if not self._scheduler.strikes(self._faults, "reply_lost"):
            self._scheduler.soon(f"{self._name} reply", lambda: self._broker.reply(reply))

    @port_call
    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        for record in records:
            self._leaves(offset, record)
        self._publisher.publish(offset, records)

    @port_call
    def published(self) -> int:
        return self._publisher.begin()

    def close(self) -> None:
        self._closed = True
        self._ways.cut()
        self._publisher.close()

    def _leaves(self, offset: int | None, effect: Sendable | OutputRecord | Reply) -> None:
        if self._departures is not None:
            end = self._log.confirmed_end
            self._departures.append(Left(self._partition, offset, end, effect))

    def _topic(self, effect: Sendable) -> str:
        match effect:
            case ActivityTask():
                return f"activities.{effect.queue}"
            case Message():
                return f"commands-{self._broker.partition_of(effect.workflow_id)}"
            case TimerDue():
                return f"timers-{self._broker.partition_of(effect.workflow_id)}"
            case DeadLetter():
                return "dead-letters"
            case _:
                assert_never(effect)

    def _arrive(self, effect: Sendable, token: int | None, origin: Origin | None) -> None:
        match effect:
            case TimerDue():
                self._broker.due(effect)
            case Message():
                self._broker.command(message_command(effect, origin))
            case ActivityTask():
                self._broker.task(effect)
            case DeadLetter():
                self._broker.bury(effect)
        if token is not None and not self._closed:
            self._scheduler.soon(f"{self._name} delivered", lambda: self._deliver(token))

    def _deliver(self, token: int) -> None:
        self._delivered.append(token)
        self._wake()


class _Publisher:
    """Publishes turns in order, one transaction at a time, as ``kafka.publisher`` does.

    After any error, and after an outcome that it did not learn, it begins anew: a session that
    fences the one before, and the committed position, below which everything pending is dropped.
    """

    def __init__(
        self,
        broker: Broker,
        partition: int,
        scheduler: Scheduler,
        faults: Faults,
        name: str,
        ownership: Ownership | None,
    ) -> None:
        self.pending: deque[tuple[int, Sequence[OutputRecord]]] = deque()
        self._outputs = broker.outputs[partition]
        self._scheduler = scheduler
        self._faults = faults
        self._name = name
        self._ownership = ownership
        self._transactions = Channel(scheduler, f"{name} commit", faults)
        self._session = -1
        self._busy = False
        self._closed = False
        self._ask_again_ms = _STILL_OURS_MS

    def begin(self) -> int:
        """Fence whoever publishes for this shard; return the position below which all is there."""
        self._session = self._outputs.fence()
        return self._outputs.position

    def publish(self, offset: int, records: Sequence[OutputRecord]) -> None:
        self.pending.append((offset, records))
        self._serve()

    def close(self) -> None:
        self._closed = True
        self._transactions.cut()

    def _serve(self) -> None:
        if self._busy or self._closed or not self.pending:
            return
        self._busy = True
        count = self._scheduler.random.randint(1, min(_BATCH_TURNS, len(self.pending)))
        batch = [self.pending[index] for index in range(count)]
        session = self._session
        self._transactions.send(lambda: self._commit(session, batch))

    def _commit(self, session: int, batch: list[tuple[int, Sequence[OutputRecord]]]) -> None:
        """The broker's part, and what the publisher learns of it."""
        scheduler = self._scheduler
        unknown = scheduler.strikes(self._faults, "commit_unknown")
        lost = unknown and scheduler.random.random() < 0.5
        committed = not lost and self._outputs.commit(session, batch)
        scheduler.trace(f"{self._name} {batch[-1][0]} {'committed' if committed else 'not'}")
        if unknown or not committed:
            learn = self._begin_anew
            scheduler.after(_RETRY_MS, f"{self._name} begins anew", lambda: self._later(learn))
        else:
            position = batch[-1][0] + 1
            scheduler.soon(
                f"{self._name} committed", lambda: self._later(lambda: self._advance(position))
            )

    def _later(self, run: Callable[[], None]) -> None:
        """Go on once the process runs."""
        if self._ownership is None:
            run()
        else:
            self._ownership.when_running(run)

    def _begin_anew(self) -> None:
        if self._closed:
            return
        if self._ownership is not None and not self._ownership.may_own():
            again = self._begin_anew
            self._scheduler.after(
                self._ask_again_ms, f"{self._name} asks again", lambda: self._later(again)
            )
            self._ask_again_ms = min(self._ask_again_ms * 2, _STILL_OURS_MAX_MS)
            return
        self._ask_again_ms = _STILL_OURS_MS
        self._advance(self.begin())

    def _advance(self, position: int) -> None:
        while self.pending and self.pending[0][0] < position:
            self.pending.popleft()
        self._busy = False
        self._serve()
