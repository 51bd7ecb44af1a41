"""The ``Outbox`` of a simulated shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, assert_never

from processor.core.data.cause import Origin
from processor.core.data.undelivered import Undelivered
from processor.core.inputs import TimerDue
from processor.core.records.effects import ActivityTask, DeadLetter, Message, Reply
from processor.shard.messages.carrying import message_command
from processor.shard.ports import OutputRecord, Sendable
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import Faults
from processor.simulation.hosts.perils import Peril, port_call
from processor.simulation.hosts.ports import SimulatedLog
from processor.simulation.hosts.publisher import Publisher
from processor.simulation.scheduler import Scheduler, Ways

__all__ = ("Departures", "Left", "SimulatedOutbox")


class Left(NamedTuple):
    """An effect that left an owner, when all below ``confirmed_end`` was acknowledged to it.

    ``offset`` is the turn's that caused it (None: a timer that came due, or an answer).
    """

    partition: int
    offset: int | None
    confirmed_end: int
    effect: Sendable | OutputRecord | Reply


Departures = list[Left]


class SimulatedOutbox:
    """Sends keep their order on the way to one partition, and no other."""

    def __init__(
        self,
        broker: SimulatedBroker,
        log: SimulatedLog,
        partition: int,
        scheduler: Scheduler,
        faults: Faults,
        wake: Callable[[], None],
        owner: str = "owner",
        peril: Peril | None = None,
        publisher: Publisher | None = None,
        departures: Departures | None = None,
    ) -> None:
        self._broker = broker
        self._log = log
        self._scheduler = scheduler
        self._faults = faults
        self._wake = wake
        self._peril = peril
        self._departures = departures
        self._name = f"{owner} outbox-{partition}"
        self._closed = False
        self._ways = Ways(scheduler, self._name, faults)
        self._delivered: deque[int] = deque()
        self._publisher = publisher or Publisher(owner, broker, scheduler, faults)
        self._outputs = self._publisher.shard(partition)
        self._asked = False
        self._told: tuple[int, Exception | None] | None = None

    @property
    def idle(self) -> bool:
        """Whether everything is published, and nothing is on its way."""
        return not self._outputs.backlog and self._ways.idle

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
        if self._told is not None and offset < self._told[0]:
            self._broker.outputs[self._outputs.partition].again.append(offset)
        self._outputs.publish(offset, records)
        self._publisher.serve()

    def asked_published(self) -> bool:
        """Ask what is published, if that was not done yet; return whether it is known."""
        if not self._asked:
            self._asked = True
            self._publisher.take_over(self._outputs, self._tell)
        return self._told is not None

    @port_call
    def published(self) -> int:
        while not self.asked_published():
            self._scheduler.step()
        assert self._told is not None, "it is known"
        position, error = self._told
        if error is not None:
            raise error
        return position

    @property
    def stuck(self) -> int:
        return 0

    @property
    def unsent_bytes(self) -> int:
        return 0

    def published_floor(self, released: int) -> int:
        return self._outputs.floor(released)

    def undelivered(self, run_id: str) -> Undelivered | None:
        return self._outputs.undelivered(run_id)

    def close(self) -> None:
        self._closed = True
        self._ways.cut()
        self._publisher.remove(self._outputs)

    def _tell(self, position: int, error: Exception | None) -> None:
        self._told = position, error
        self._wake()

    def _leaves(self, offset: int | None, effect: Sendable | OutputRecord | Reply) -> None:
        if self._departures is not None:
            end = self._log.confirmed_end
            self._departures.append(Left(self._outputs.partition, offset, end, effect))

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
