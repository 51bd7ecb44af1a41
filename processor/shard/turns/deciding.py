"""Decides inputs, and appends what comes of it.

A decide that raises an error has changed the state and the code of its run already, while earlier
turns of that run are in flight. So nothing is decided until those are acknowledged. Then the run is
replayed, and the input is decided once more. Where that fails as well, a command is refused and the
input of a topic is buried; a timer, or the report of an attempt that ran here, parks the run,
because it comes again.
"""

from __future__ import annotations

import logging
from functools import partial

from processor.codec.records import LEVEL, level_of
from processor.config import Settings
from processor.core.decide import decide, succeed
from processor.core.draft import Context, Draft, Outcome, RunBounds
from processor.core.inputs import ClientCommand, Input
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.run import StartSuccessor
from processor.core.nouns.update import AwaitUpdate
from processor.core.records.answers import Accepted, Refused, ReplyBody
from processor.core.records.turn import Positions, Source
from processor.core.replay import failed as code_failed
from processor.core.runner import CodeError
from processor.failures import trace_of
from processor.shard.flight import Flight, RunRecord
from processor.shard.gate import Gate
from processor.shard.outbox import Deliveries
from processor.shard.ports import Clock
from processor.shard.reads import Reads
from processor.shard.turns.cache import Entry
from processor.shard.turns.giving_up import Failed, GivingUp
from processor.shard.turns.instances import Instances
from processor.shard.turns.updating import Updating
from processor.shard.turns.writer import Writer

__all__ = ("Deciding", "bounds_of")

_log = logging.getLogger("processor.shard")


def bounds_of(settings: Settings) -> RunBounds:
    unread = settings.unread_events_max, settings.unread_bytes_max
    return RunBounds(*unread, settings.updates_running_max)


class Deciding:
    def __init__(
        self,
        partition: int,
        level: int,
        context: Context,
        clock: Clock,
        gate: Gate,
        flight: Flight,
        deliveries: Deliveries,
        instances: Instances,
        writer: Writer,
        reads: Reads,
        updating: Updating,
    ) -> None:
        self._partition = partition
        self._level = level
        self._context = context
        self._clock = clock
        self._gate = gate
        self._flight = flight
        self._deliveries = deliveries
        self._instances = instances
        self._writer = writer
        self._reads = reads
        self._updating = updating
        self._giving_up = GivingUp(partition, gate, instances, writer)
        self._failed: Failed | None = None
        self._trying = False

    def decide(
        self,
        source: Source,
        input: Input,
        run_id: str = "",
        positions: Positions | None = None,
        offset: int = -1,
        entry: Entry | None = None,
    ) -> None:
        """Decide an input. ``positions``, past it, and ``offset`` are its place in its topic.

        ``run_id`` names the run that a start would make; ``entry`` is that of its workflow id, if
        somebody has looked already.
        """
        entry = entry or self._instances.entry(input.workflow_id)
        context = self.now()
        where = positions or self._gate.positions
        command = input if isinstance(input, ClientCommand) else None
        cause = None if command is None else command.recorded_cause
        made: RunRecord | None = None
        begun: RunRecord | None = None
        try:
            if command is not None and self._level < LEVEL and level_of(command) > self._level:
                outcome = Outcome().answered(_not_activated(self._level))
            else:
                latest = None if command is None else entry.latest
                outcome = decide(input, entry.instance, latest, run_id, context)
            drafts = outcome.drafts
            if drafts:
                made = self._writer.made(drafts[0], entry, source, where, cause)
            if len(drafts) > 1:
                begun = self._writer.made(drafts[1], entry, "successor", where, None)
        except Exception as error:
            self.drop_begun()
            self._could_not(Failed(source, input, run_id, positions, offset), error)
            return
        if made is not None:
            self._writer.append(drafts[0], made)
            if begun is not None:
                self._writer.append(drafts[1], begun)
                self._succeeds(begun, made)
            if drafts[-1].instance.state.successor is not None:
                self.follow(begun or made)
        elif command is not None:
            answer, lost = self._lost(command, outcome.answer)
            self._writer.answer(command, offset, where, answer, lost)
            if context.spoiled:
                self.renew(command.workflow_id)
            return
        if command is not None or outcome.replies:
            self._flight.then(partial(self._reads.answer, input, outcome))
            waited = outcome.awaited
            if command is not None and isinstance(waited, AwaitUpdate) and command.reply_to:
                assert waited.run_id is not None, "it is of the run that took it"
                self._updating.awaits(command, waited, waited.run_id)

    def refuse(
        self, command: ClientCommand, offset: int, positions: Positions, refused: Refused
    ) -> None:
        """Write down that a command is refused, whatever its run is like."""
        self._writer.answer(command, offset, positions, refused)

    def now(self) -> Context:
        """Return what deciding needs from outside, as it is now."""
        context = self._context
        context.now_ms, context.begun, context.spoiled = self._clock.now_ms(), None, False
        return context

    def drop_begun(self) -> None:
        """Drop the code of a run that does not begin, since deciding failed."""
        if self._context.begun is not None:
            self._context.begun.close()

    def _lost(
        self, command: ClientCommand, answer: ReplyBody | None
    ) -> tuple[ReplyBody | None, ClientCommand]:
        """Return the answer to a command, and what is lost with it where it is refused.

        A refusal that nobody waits for is about what was sent. Nothing is lost with a question.
        """
        body, sent = command.body, None
        if isinstance(body, AnswerCall) and isinstance(answer, Refused):
            if isinstance(body.outcome, Refused):
                sent = self._instances.sent(body.run_id, body.call)
        if sent is None:
            return answer, command
        if sent.is_question:
            answer = Accepted("", created=False)
        return answer, ClientCommand(sent.to.workflow_id, sent.operation)

    # --- runs that follow a run ---------------------------------------------------------------

    def follow(self, closing: RunRecord) -> None:
        """Begin the run that follows the one which a record has ended, if there is one."""
        for effect in closing.effects:
            if isinstance(effect, StartSuccessor):
                self._succeeds(self.begin(effect, closing.record.positions), closing)

    def begin(self, effect: StartSuccessor, positions: Positions) -> RunRecord:
        """Write the start of a run that follows another one. If that fails twice, it parks.

        ``positions`` are those of the record that comes before.
        """
        try:
            draft, begun = self._successor(effect, positions)
        except Exception:
            try:
                draft, begun = self._successor(effect, positions)
            except Exception as error:
                draft, begun = self._successor(effect, positions, code_failed(error))
        self._writer.append(draft, begun)  # what fails here is the log: it is not decided again
        self.follow(begun)
        return begun

    def _successor(
        self, effect: StartSuccessor, positions: Positions, broken: CodeError | None = None
    ) -> tuple[Draft, RunRecord]:
        entry = self._instances.entry(effect.workflow_id)
        try:
            which = effect.workflow_id, effect.run_id, effect.started
            draft = succeed(*which, self.now(), broken)
            return draft, self._writer.made(draft, entry, "successor", positions, None)
        except Exception:
            self.drop_begun()
            raise

    def _succeeds(self, begun: RunRecord, closing: RunRecord) -> None:
        """Count the start of a run as delivered by the one that it follows, once it is there."""
        begun.after.append(lambda: self._deliveries.delivered(closing.offset))

    # --- deciding that fails ------------------------------------------------------------------

    def _could_not(self, failed: Failed, error: Exception) -> None:
        """Nothing was written: try once more when what is in flight is there, or give up."""
        if self._trying:
            self._instances.drop(failed.input.workflow_id)
            self._giving_up.give_up(failed, error, self._context)
            return
        _log.warning(
            "shard %d: %s for %r could not be decided; it is tried once more\n%s",
            self._partition,
            type(failed.input).__name__,
            failed.input.workflow_id,
            trace_of(error),
        )
        self._failed, self._gate.failed = failed, True
        self._flight.then(self._try_again)

    def renew(self, workflow_id: str) -> None:
        """Drop the live code of a run, once nothing is in flight: it is replayed when needed.

        Nothing is decided until then.
        """
        self._gate.failed = True
        self._flight.then(partial(self._renewed, workflow_id))

    def _renewed(self, workflow_id: str) -> None:
        self._gate.failed = False
        self._instances.drop(workflow_id)

    def _try_again(self) -> None:
        """Decide once more, from what is acknowledged; or go on without the input."""
        failed, self._failed = self._failed, None
        assert failed is not None, "called once for each failure"
        self._gate.failed = False
        self._instances.drop(failed.input.workflow_id)
        self._trying = True
        try:
            self.decide(*failed)
        finally:
            self._trying = False
        if failed.positions is not None:
            self._gate.passed(failed.positions)


def _not_activated(level: int) -> Refused:
    return Refused(
        "UpgradeNeeded",
        f"this namespace is at level {level} of the log's format, and this command needs a later "
        f"one: run `processor upgrade` once all processes have a release that knows it",
    )
