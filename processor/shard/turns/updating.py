"""Outcomes of updates: told to whoever waits."""

from __future__ import annotations

from processor.core.nouns.run import Summary, WorkflowStarted
from processor.core.nouns.update import (
    AwaitUpdate,
    UpdateAccepted,
    UpdateCompleted,
    outcome_of,
    unfinished,
    used_before,
)
from processor.core.records.answers import Refused, ReplyBody, UpdateEnded
from processor.core.records.effects import Reply, RunResult
from processor.core.state import RunState
from processor.shard.turns.awaiting import EVENTS_MAX, Awaiting
from processor.shard.turns.instances import recorded

__all__ = ("Updating",)


class Updating(Awaiting[AwaitUpdate, str]):
    """Who waits is known by the id of the update."""

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

    def known(self, state: RunState, body: AwaitUpdate) -> bool:
        return body.id in state.updates

    def told(self, state: RunState, body: AwaitUpdate) -> ReplyBody | None:
        refused = used_before(state, body.id, state.updates[body.id].name, body.name)
        return refused or outcome_of(state, body.id)

    def waits_for(self, body: AwaitUpdate, run_id: str) -> str:
        return body.id

    def of_history(self, run: Summary, body: AwaitUpdate) -> ReplyBody:
        which = f"run {run.run_id} of {run.workflow_id!r}"
        if run.purged_ms is not None:
            return Refused("UpdateNotFound", f"{which} was purged, and its updates with it")
        accepted, first = False, max(0, run.events - EVENTS_MAX)
        for _, record in recorded(self._tables, run.run_id, first):
            for event in record.events:
                match event:
                    case UpdateCompleted(id, result, failure) if id == body.id:
                        return UpdateEnded(run.run_id, id, result, failure)
                    case UpdateAccepted(id, name) if id == body.id:
                        accepted = True
                        if refused := used_before(run, id, name, body.name):
                            return refused
                    case WorkflowStarted(lineage=lineage) if lineage and lineage.carried:
                        for update in lineage.carried.updates:
                            if update.id != body.id:
                                continue
                            accepted = True
                            if refused := used_before(run, update.id, update.name, body.name):
                                return refused
                            if update.over:
                                told = update.result, update.failure
                                return UpdateEnded(run.run_id, update.id, *told)
        if accepted and not run.status.is_open:
            return unfinished(run, body.id)
        where = f" in its last {EVENTS_MAX:,} events" if first else ""
        why = f"{which} has accepted no update with the id {body.id!r}{where}"
        return Refused("UpdateNotFound", why)
