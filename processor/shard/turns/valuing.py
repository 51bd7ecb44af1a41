"""Values that runs set: told to whoever waits."""

from __future__ import annotations

from typing import NamedTuple

from processor.core.nouns.awaited import goes_on
from processor.core.nouns.run import Summary
from processor.core.nouns.value import AwaitValue, ValueSet, not_set
from processor.core.records.answers import Refused, ReplyBody, ValueIs
from processor.core.records.effects import Reply, RunResult
from processor.core.state import RunState
from processor.shard.turns.awaiting import EVENTS_MAX, Awaiting
from processor.shard.turns.instances import recorded

__all__ = ("Valuing",)


class _Wanted(NamedTuple):
    """``is_chain``: also of the runs that follow."""

    name: str
    after: int
    is_chain: bool


class Valuing(Awaiting[AwaitValue, _Wanted]):
    def shown(self, name: str, told: ValueIs) -> None:
        """Tell everybody who waits for this value."""
        for to, _, wanted in self._waiters.of(told.run_id):
            if wanted.name == name and told.number > wanted.after:
                self._waiters.drop(told.run_id, to)
                self._outbox.reply(Reply(to, told))

    def closed(self, result: RunResult) -> None:
        """Let who waits for a value of this run wait for the next one of its chain, if any."""
        for to, expires_ms, wanted in self._waiters.of(result.run_id):
            self._waiters.drop(result.run_id, to)
            if wanted.is_chain and goes_on(result.status) and result.successor_run_id is not None:
                wanted = wanted._replace(after=-1)
                self._waiters.waits(result.successor_run_id, to, expires_ms, wanted)
            else:
                self._outbox.reply(Reply(to, not_set(result, wanted.name, wanted.after)))

    def known(self, state: RunState, body: AwaitValue) -> bool:
        return True

    def told(self, state: RunState, body: AwaitValue) -> ReplyBody | None:
        return body.known(state)

    def waits_for(self, body: AwaitValue, run_id: str) -> _Wanted:
        return _Wanted(body.name, body.after_in(run_id), body.run_id is None)

    def of_history(self, run: Summary, body: AwaitValue) -> ReplyBody:
        which = f"run {run.run_id} of {run.workflow_id!r}"
        if run.purged_ms is not None:
            return Refused("ValueNotSet", f"{which} was purged, and its values with it")
        found: ValueIs | None = None
        for _, record in recorded(self._tables, run.run_id, max(run.base, run.events - EVENTS_MAX)):
            for number, event in enumerate(record.events, record.first):
                if isinstance(event, ValueSet) and event.name == body.name:
                    found = ValueIs(run.run_id, number, event.value)
        after = body.after_in(run.run_id)
        if found is not None and found.number > after:
            return found
        return not_set(run, body.name, after, EVENTS_MAX if run.events > EVENTS_MAX else None)
