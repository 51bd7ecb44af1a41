"""Outcomes of updates: told to whoever waits, from the state of a run or from its history."""

from __future__ import annotations

from functools import partial
from typing import Final

from processor.config import Settings
from processor.core.inputs import ClientCommand
from processor.core.nouns.run import Summary, WorkflowStarted
from processor.core.nouns.update import (
    AwaitUpdate,
    UpdateAccepted,
    UpdateCompleted,
    outcome_of,
    unfinished,
)
from processor.core.records.answers import Accepted, Refused, ReplyBody, UpdateEnded
from processor.core.records.effects import Reply, RunResult
from processor.shard.flight import Flight
from processor.shard.ports import Clock, Outbox, Tables
from processor.shard.reads import Reads
from processor.shard.turns.instances import Instances, recorded
from processor.shard.waiters import Waiters

__all__ = ("Updating",)

_EVENTS_MAX: Final = 50_000
"""So many of the last events are searched for an update that no state in memory knows."""


class Updating:
    """``_waiters`` wait for an update of a run, by its id."""

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
        self._waiters: Waiters[str] = Waiters(settings.waiters_max)

    def take(self, command: ClientCommand, body: AwaitUpdate) -> None:
        """Answer once all that is in flight now is acknowledged, or let the sender wait."""
        entry = self._instances.entry(command.workflow_id)
        latest, instance = entry.latest(), entry.instance
        known = instance is not None and body.id in instance.state.updates
        if known and latest is not None and latest.is_meant(body.run_id, body.first_run_id):
            assert instance is not None, "it knows the update"
            self.awaits(command, body, latest.run_id, outcome_of(instance.state, body.id))
        else:
            answer = partial(self._from_tables, command, body)
            self._flight.then(partial(self._reads.guarded, command, answer))

    def awaits(
        self, command: ClientCommand, body: AwaitUpdate, run_id: str, told: ReplyBody | None = None
    ) -> None:
        if told is None:
            self._flight.then(partial(self._wait, command, body, run_id))
        else:
            self._flight.then(partial(self._reply, command, told))

    def over(self, outcome: UpdateEnded) -> None:
        """Tell everybody who waits for this update."""
        for to, _, id in self._waiters.of(outcome.run_id):
            if id == outcome.id:
                self._waiters.drop(outcome.run_id, to)
                self._outbox.reply(Reply(to, outcome))

    def closed(self, result: RunResult) -> None:
        """Tell everybody who still waits for an update of this run."""
        for to, _, id in self._waiters.of(result.run_id):
            self._waiters.drop(result.run_id, to)
            self._outbox.reply(Reply(to, unfinished(result, id)))

    def _wait(self, command: ClientCommand, body: AwaitUpdate, run_id: str) -> None:
        assert command.reply_to is not None, "only who can be answered waits"
        what = run_id, command.reply_to, body.timeout_ms, body.id
        if not self._waiters.wait(*what, self._clock.now_ms()):
            most = self._waiters.most
            told = f"{most} clients wait for updates of this shard (waiters_max); ask again later"
            asks = isinstance(command.body, AwaitUpdate)  # otherwise the update is accepted
            self._reply(command, Refused("ShardUnavailable", told) if asks else Accepted(run_id))

    def _from_tables(self, command: ClientCommand, body: AwaitUpdate) -> None:
        found = self._reads.find(command.workflow_id, body.run_id, body.first_run_id)
        self._reply(command, found if isinstance(found, Refused) else self._of_history(found, body))

    def _of_history(self, run: Summary, body: AwaitUpdate) -> ReplyBody:
        """Return the outcome that a history tells of. The tables have all of an open run."""
        which = f"run {run.run_id} of {run.workflow_id!r}"
        if run.purged_ms is not None:
            return Refused("UpdateNotFound", f"{which} was purged, and its updates with it")
        accepted, first = False, max(run.base, run.events - _EVENTS_MAX)
        for _, record in recorded(self._tables, run.run_id, first):
            for event in record.events:
                match event:
                    case UpdateCompleted(id, result, failure) if id == body.id:
                        return UpdateEnded(run.run_id, id, result, failure)
                    case UpdateAccepted(id) if id == body.id:
                        accepted = True
                    case WorkflowStarted(lineage=lineage) if lineage and lineage.carried:
                        for update in lineage.carried.updates:
                            if update.id == body.id and update.over:
                                told = update.result, update.failure
                                return UpdateEnded(run.run_id, update.id, *told)
                            accepted |= update.id == body.id
        if accepted and not run.status.is_open:
            return unfinished(run, body.id)
        where = f" in its last {_EVENTS_MAX:,} events" if first > run.base else ""
        why = f"{which} has accepted no update with the id {body.id!r}{where}"
        return Refused("UpdateNotFound", why)

    def _reply(self, command: ClientCommand, answer: ReplyBody) -> None:
        assert command.reply_to is not None, "a question is asked by somebody"
        self._outbox.reply(Reply(command.reply_to, answer))
