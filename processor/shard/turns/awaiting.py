"""Waits for what a run comes to while it is open: answered from its state, or from its history."""

from __future__ import annotations

from functools import partial
from typing import Final, Generic, Protocol, TypeVar

from processor.config import Settings
from processor.core.inputs import ClientCommand
from processor.core.nouns.run import Summary
from processor.core.operation import Question
from processor.core.records.answers import Accepted, Refused, ReplyBody
from processor.core.records.effects import Reply
from processor.core.state import RunState
from processor.shard.flight import Flight
from processor.shard.ports import Clock, Outbox, Tables
from processor.shard.reads import Reads
from processor.shard.turns.instances import Instances
from processor.shard.waiters import Waiters

__all__ = ("EVENTS_MAX", "Awaiting")

EVENTS_MAX: Final = 50_000
"""So many of the last events are searched for what no state in memory knows."""


class _Asked(Protocol):
    """What somebody waits for, of a run or of a chain."""

    @property
    def run_id(self) -> str | None: ...

    @property
    def first_run_id(self) -> str | None: ...

    @property
    def timeout_ms(self) -> int: ...


Q = TypeVar("Q", bound=_Asked)
T = TypeVar("T")


class Awaiting(Generic[Q, T]):
    """``_waiters`` wait for something of a run; what that is, a subclass says."""

    def __init__(
        self,
        tables: Tables,
        outbox: Outbox,
        clock: Clock,
        flight: Flight,
        instances: Instances,
        reads: Reads,
        settings: Settings,
    ) -> None:
        self._tables = tables
        self._outbox = outbox
        self._clock = clock
        self._flight = flight
        self._instances = instances
        self._reads = reads
        self._waiters: Waiters[T] = Waiters(settings.waiters_max)

    def known(self, state: RunState, body: Q) -> bool:
        """Return whether the state of an open run tells of it, or will."""
        raise NotImplementedError

    def told(self, state: RunState, body: Q) -> ReplyBody | None:
        """Return what the state tells; None: who asks has to wait."""
        raise NotImplementedError

    def of_history(self, run: Summary, body: Q) -> ReplyBody:
        """Return what the history of a run tells, whose state tells nothing."""
        raise NotImplementedError

    def waits_for(self, body: Q, run_id: str) -> T:
        """Return what a waiter of a run is known by."""
        raise NotImplementedError

    def take(self, command: ClientCommand, body: Q) -> None:
        """Answer once all that is in flight now is acknowledged, or let the sender wait."""
        entry = self._instances.entry(command.workflow_id)
        latest, instance = entry.latest, entry.instance
        meant = latest is not None and latest.is_meant(body.run_id, body.first_run_id)
        if meant and instance is not None and self.known(instance.state, body):
            told = self.told(instance.state, body)
            self.awaits(command, body, instance.state.run_id, told)
        else:
            answer = partial(self._from_tables, command, body)
            self._flight.then(partial(self._reads.guarded, command, answer))

    def awaits(
        self, command: ClientCommand, body: Q, run_id: str, told: ReplyBody | None = None
    ) -> None:
        if told is None:
            self._flight.then(partial(self._wait, command, body, run_id))
        else:
            self._flight.then(partial(self._reply, command, told))

    def _wait(self, command: ClientCommand, body: Q, run_id: str) -> None:
        assert command.reply_to is not None, "only who can be answered waits"
        what = run_id, command.reply_to, body.timeout_ms, self.waits_for(body, run_id)
        if not self._waiters.wait(*what, self._clock.now_ms()):
            most = self._waiters.most
            told = f"{most} clients wait in this way for runs of this shard (waiters_max)"
            asks = isinstance(command.body, Question)  # otherwise it is taken all the same
            refused = Refused("ShardUnavailable", f"{told}; ask again later")
            self._reply(command, refused if asks else Accepted(run_id))

    def _from_tables(self, command: ClientCommand, body: Q) -> None:
        found = self._reads.find(command.workflow_id, body.run_id, body.first_run_id)
        self._reply(command, found if isinstance(found, Refused) else self.of_history(found, body))

    def _reply(self, command: ClientCommand, answer: ReplyBody) -> None:
        assert command.reply_to is not None, "a question is asked by somebody"
        self._outbox.reply(Reply(command.reply_to, answer))
