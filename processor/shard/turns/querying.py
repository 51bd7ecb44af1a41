"""Queries: the live code of a run answers, or code that was replayed for that.

An answer tells of nothing that is not in the log yet: it is sent when all before it is.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Final

from processor.core.data.failure import Failure
from processor.core.entity_id import EntityId, entity_of
from processor.core.inputs import ClientCommand
from processor.core.nouns.run import Summary, WorkflowStarted
from processor.core.questions import REJECTS, QueryRun
from processor.core.records.answers import QueryAnswered, Refused, ReplyBody
from processor.core.records.effects import Reply
from processor.core.replay import begun, replay
from processor.core.runner import CodeError, Runner, Runners, Spoiled
from processor.errors import PayloadTooLarge, QueryFailed, SchemaMismatch
from processor.shard.flight import Flight
from processor.shard.ports import Outbox, Tables
from processor.shard.reads import Reads
from processor.shard.turns.cache import Entry
from processor.shard.turns.deciding import Deciding
from processor.shard.turns.instances import Instances, recorded

__all__ = ("Querying",)

_REPLAYED_MAX: Final = 16
_EVENTS_MAX: Final = 50_000
"""A closed or parked run with more events is not replayed for a query: that takes seconds."""


class Querying:
    """``_replayed`` has the code of closed runs that were asked last, by their ids."""

    def __init__(
        self,
        tables: Tables,
        outbox: Outbox,
        runners: Runners,
        flight: Flight,
        instances: Instances,
        deciding: Deciding,
        reads: Reads,
    ) -> None:
        self._tables = tables
        self._outbox = outbox
        self._runners = runners
        self._flight = flight
        self._instances = instances
        self._deciding = deciding
        self._reads = reads
        self._replayed: OrderedDict[str, Runner] = OrderedDict()

    def take(self, command: ClientCommand, body: QueryRun) -> None:
        entry = self._instances.entry(command.workflow_id)
        found = self.live(entry, body)
        if found is None:
            answer = partial(self._from_tables, command, body)
            self._flight.then(partial(self._reads.guarded, command, answer))
            return
        answer_now, spoiled = found
        self._flight.then(partial(self._reply, command, answer_now))
        if spoiled:
            self._deciding.renew(command.workflow_id)

    def live(self, entry: Entry, body: QueryRun) -> tuple[ReplyBody, bool] | None:
        """Return what the code in memory answers, and whether it is to be renewed.

        None where the code that is meant is not in memory.
        """
        instance, latest = entry.instance, entry.latest
        if instance is None or latest is None or isinstance(instance.runner, CodeError):
            return None
        if not latest.is_meant(body.run_id, body.first_run_id):
            return None
        rejected = _rejected(latest, body)
        return (rejected, False) if rejected else self._asked(latest.run_id, instance.runner, body)

    def close(self) -> None:
        for runner in self._replayed.values():
            runner.forget()
        self._replayed.clear()

    def _from_tables(self, command: ClientCommand, body: QueryRun) -> None:
        self._reply(command, self.of_tables(command.workflow_id, body))

    def of_tables(self, workflow_id: str, body: QueryRun) -> ReplyBody:
        """Answer from the tables, once they hold all that was in flight."""
        found = self._reads.find(workflow_id, body.run_id, body.first_run_id)
        entity = entity_of(workflow_id)
        is_there = not isinstance(found, Refused) and found.status.is_open
        if entity is not None and not is_there and body.run_id is None:
            return self._of_absent(entity, body)
        if isinstance(found, Refused):
            return found
        return _rejected(found, body) or self._of_replayed(found, body)

    def _of_absent(self, entity: EntityId, body: QueryRun) -> ReplyBody:
        """Answer for an entity that has no state, as a fresh object does."""
        started = WorkflowStarted(entity.name, None, bytes(16), flags=self._runners.flags)
        runner = begun(self._runners, entity.workflow_id, "", started, self._deciding.now().now_ms)
        if isinstance(runner, CodeError):
            return Refused("QueryFailed", runner.error)
        try:
            return self._asked("", runner, body)[0]
        finally:
            runner.forget()

    def _of_replayed(self, run: Summary, body: QueryRun) -> ReplyBody:
        which = f"run {run.run_id} of {run.workflow_id!r} is {run.status.value}"
        if run.purged_ms is not None:
            return Refused("QueryFailed", f"{which}, and its history was purged")
        runner = self._replayed.pop(run.run_id, None)
        if runner is None:
            records = []
            for _, record in recorded(self._tables, run.run_id, run.base):
                if record.first - run.base > _EVENTS_MAX:
                    return Refused(
                        "QueryFailed",
                        f"{which} and has more than {_EVENTS_MAX:,} events: it is not replayed for "
                        "a query. Read its result or history",
                    )
                records.append(record)
            instance = replay(self._runners, records, keep=True)
            if isinstance(instance.runner, CodeError):
                why = instance.runner.error
                return Refused("QueryFailed", f"{which}; its code cannot be replayed: {why}")
            runner = instance.runner
        answer, spoiled = self._asked(run.run_id, runner, body)
        if spoiled or run.status.is_open:  # parked: it may go on
            runner.forget()
        else:
            self._keep(run.run_id, runner)
        return answer

    def _keep(self, run_id: str, runner: Runner) -> None:
        self._replayed[run_id] = runner
        while len(self._replayed) > _REPLAYED_MAX:
            self._replayed.popitem(last=False)[1].forget()

    def _asked(self, run_id: str, runner: Runner, body: QueryRun) -> tuple[ReplyBody, bool]:
        """Return the answer, and whether the code is not what replay makes any more."""
        try:
            answer = runner.query(body.name, body.arguments)
        except (QueryFailed, SchemaMismatch, PayloadTooLarge) as error:
            return Refused(type(error).__name__, str(error)), False
        except Spoiled as error:
            return Refused("QueryFailed", str(error)), True
        except CodeError as error:
            return Refused("QueryFailed", f"query {body.name!r}: {error}"), True
        if isinstance(answer, Failure):
            return QueryAnswered(run_id, failure=answer), False
        return QueryAnswered(run_id, answer), False

    def _reply(self, command: ClientCommand, answer: ReplyBody) -> None:
        assert command.reply_to is not None, "a question is asked by somebody"
        self._outbox.reply(Reply(command.reply_to, answer))


def _rejected(run: Summary, body: QueryRun) -> Refused | None:
    """Return why a run is none that is asked for."""
    if run.status not in REJECTS[body.reject]:
        return None
    return Refused(
        "QueryFailed",
        f"run {run.run_id} of {run.workflow_id!r} is {run.status.value}, which reject="
        f"{body.reject!r} excludes",
    )
