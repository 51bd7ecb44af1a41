"""What other runs ask: each question counts once, and its answer is a record of the log.

That record is written behind all that the answer tells of, so nobody has to wait for the log. Only
what is read from the tables waits until they have all that is in flight, and so do the inputs
behind it: a record has the positions past all that was decided.
"""

from __future__ import annotations

from functools import partial
from typing import Final, TypeAlias

from processor.codec.records import Envelope
from processor.core.inputs import ClientCommand
from processor.core.nouns.awaited import goes_on, next_run
from processor.core.nouns.update import AwaitUpdate, UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.questions import AwaitResult, QueryRun
from processor.core.records.answers import Refused, ReplyBody
from processor.core.records.effects import DeadLetter
from processor.core.records.turn import Positions
from processor.shard.flight import Flight
from processor.shard.gate import Gate
from processor.shard.reads import Reads, closed
from processor.shard.turns.cache import Entry
from processor.shard.turns.deciding import Deciding
from processor.shard.turns.querying import Querying
from processor.shard.turns.updating import Updating
from processor.shard.turns.valuing import Valuing
from processor.shard.turns.writer import Writer, source_at

__all__ = ("ASKED", "Asked", "Asking")

Asked: TypeAlias = QueryRun | AwaitValue | AwaitResult | UpdateRun
ASKED: Final = (QueryRun, AwaitValue, AwaitResult, UpdateRun)
"""What a run that asks waits for, and what no single turn may tell."""


class Asking:
    def __init__(
        self,
        gate: Gate,
        flight: Flight,
        deciding: Deciding,
        writer: Writer,
        reads: Reads,
        querying: Querying,
        updating: Updating,
        valuing: Valuing,
    ) -> None:
        self._gate = gate
        self._flight = flight
        self._deciding = deciding
        self._writer = writer
        self._reads = reads
        self._querying = querying
        self._updating = updating
        self._valuing = valuing

    def take(
        self, command: ClientCommand, body: Asked, offset: int, positions: Positions, entry: Entry
    ) -> None:
        """Answer a run, or let it wait. ``positions``, past the command, and ``offset``: its place.

        ``entry`` is that of the workflow id.
        """
        if isinstance(body, QueryRun):
            found = self._querying.live(entry, body)
            if found is None:
                self._later(command, body, offset, positions)
                return
            self._writer.answer(command, offset, positions, found[0])
            if found[1]:
                self._deciding.renew(command.workflow_id)
            return
        latest = entry.latest
        is_meant = latest is not None and latest.is_meant(body.run_id, body.first_run_id)
        if is_meant and entry.instance is not None:
            source = source_at(offset)
            self._deciding.decide(source, command, "", positions, offset, entry)
        else:
            self._later(command, body, offset, positions)

    def refuse(
        self, envelope: Envelope, letter: DeadLetter, positions: Positions, told: Refused
    ) -> None:
        """Refuse a call that cannot be taken. ``positions`` are past it."""
        self._writer.refuse(envelope, letter, positions, told)

    def _later(
        self, command: ClientCommand, body: Asked, offset: int, positions: Positions
    ) -> None:
        """Answer from the tables, once they hold all that is in flight now."""
        self._gate.failed = True
        self._flight.then(partial(self._answer, command, body, offset, positions))

    def _answer(
        self, command: ClientCommand, body: Asked, offset: int, positions: Positions
    ) -> None:
        self._gate.failed = False
        found = self._reads.tried(command, partial(self._of_tables, command.workflow_id, body))
        self._writer.answer(command, offset, positions, found)
        self._gate.passed(positions)

    def _of_tables(self, workflow_id: str, body: Asked) -> ReplyBody:
        """Return what a run tells that is closed, parked, or not the latest one of its id."""
        if isinstance(body, QueryRun):
            return self._querying.of_tables(workflow_id, body)
        run = self._reads.find(workflow_id, body.run_id, body.first_run_id)
        if isinstance(run, Refused):
            return run
        following = run.successor if goes_on(run.status) else None
        match body:
            case UpdateRun():
                told = self._updating.of_history(run, AwaitUpdate(body.id, name=body.name))
                if not isinstance(told, Refused) or told.error != "UpdateNotFound":
                    return told
                refused = told if run.purged_ms is not None else body.when_closed(run)
                assert isinstance(refused, Refused), "an update is refused by a run that has ended"
                return Refused("WorkflowNotFound", refused.message)
            case AwaitValue():
                told = self._valuing.of_history(run, body)
                is_set = not isinstance(told, Refused)
                return told if is_set or following is None else next_run(run.run_id, following)
            case AwaitResult():
                return closed(run) if following is None else next_run(run.run_id, following)
