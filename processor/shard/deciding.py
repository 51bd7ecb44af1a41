"""Decides inputs, appends what comes of it, and knows how far the inputs have been read.

A decide that raises an error has changed the state and the code of its run already, while earlier
turns of that run are in flight. So nothing is decided until those are acknowledged. Then the run is
replayed, and the input is decided once more. Where that fails as well, a command is refused and the
input of a topic is buried; a timer, or the report of an attempt that ran here, parks the run,
because it comes again.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Final, NamedTuple

from processor.codec.records import encode, level_of
from processor.core.data.failure import writable
from processor.core.data.shown import is_a, shown
from processor.core.decide import decide, succeed, unpark
from processor.core.draft import Context, Draft, Outcome
from processor.core.inputs import ClientCommand, Input
from processor.core.nouns.run import StartSuccessor
from processor.core.records.answers import Refused
from processor.core.records.effects import DeadLetter
from processor.core.records.turn import Positions, Source
from processor.core.replay import failed as code_failed
from processor.core.runner import CodeError
from processor.errors import PayloadTooLarge
from processor.failures import trace_of
from processor.readable import readable
from processor.shard.cache import Cache, Entry
from processor.shard.flight import Appended, Flight
from processor.shard.instances import Instances
from processor.shard.outbox import Deliveries
from processor.shard.ports import Activities, Clock, Outbox
from processor.shard.reads import Reads
from processor.shard.writer import Writer

__all__ = ("Deciding",)

_log = logging.getLogger("processor.shard")

_LETTERS_MAX: Final = 1_000
_LETTERS_BYTES_MAX: Final = 8_000_000
"""How much may be on its way to ``dead-letters`` before more is buried."""

_TOPICS: Final[dict[Source, str]] = {"results": "activity-results", "timers": "timers"}


class Failed(NamedTuple):
    """An input that is to be decided once more. ``positions``: those past it in its topic."""

    source: Source
    input: Input
    run_id: str
    positions: Positions | None
    offset: int


class Deciding:
    """``positions`` are past everything that is in the log, or on its way there.

    ``failed`` is an input that is to be decided once more; nothing may be decided before.
    """

    def __init__(
        self,
        partition: int,
        level: int,
        positions: Positions,
        context: Context,
        flight: Flight,
        deliveries: Deliveries,
        instances: Instances,
        cache: Cache,
        writer: Writer,
        activities: Activities,
        reads: Reads,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self.positions = positions
        self._partition = partition
        self._level = level
        self._context = context
        self._flight = flight
        self._deliveries = deliveries
        self._instances = instances
        self._cache = cache
        self._writer = writer
        self._activities = activities
        self._reads = reads
        self._outbox = outbox
        self._clock = clock
        self._buried: Positions | None = None
        self._letters = self._letters_bytes = 0
        self.failed: Failed | None = None
        self._trying = False

    @property
    def held(self) -> bool:
        """Whether an input is under way, so that none that is read may follow it."""
        return self._buried is not None or self.failed is not None

    def passed(self, positions: Positions) -> None:
        """Note that an input has been read, if it is not held."""
        if not self.held:
            self.positions = positions

    # --- dead letters -------------------------------------------------------------------------

    @property
    def takes_letters(self) -> bool:
        """Whether one more dead letter may be sent while others are on their way."""
        return self.failed is None and (
            self._letters < _LETTERS_MAX and self._letters_bytes < _LETTERS_BYTES_MAX
        )

    @property
    def read(self) -> Positions:
        """The positions past all that has been read, buried or not."""
        return self.positions if self._buried is None else self._buried

    def bury(self, letter: DeadLetter, positions: Positions) -> None:
        """Send to ``dead-letters``; until it is there no turn is past it, and only letters follow.

        Many are on their way together: one by one, 26,000 of them hold a shard up for 11 s.
        """
        self._buried = positions
        self._letters += 1
        self._letters_bytes += len(letter.key or b"") + len(letter.value or b"")
        self._outbox.send(letter, -1)

    def is_buried(self) -> None:
        """Note that a dead letter is there: which one of those on their way is not known."""
        assert self._buried is not None, "a dead letter is on its way"
        self._letters -= 1
        if not self._letters:
            self.positions, self._buried = self._buried, None
            self._letters_bytes = 0

    # --- inputs -------------------------------------------------------------------------------

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
        context = self._at_this_time()
        where = positions or self.positions
        command = input if isinstance(input, ClientCommand) else None
        cause = None if command is None else command.cause
        made = begun = None
        try:
            if command is not None and level_of(command) > self._level:
                outcome = Outcome().answered(_not_activated(self._level))
            else:
                latest = None if command is None else entry.latest()
                outcome = decide(input, entry.instance, latest, run_id, context)
            drafts = outcome.drafts
            if drafts:
                made = self._writer.made(drafts[0], entry, source, where, cause)
            if len(drafts) > 1:
                begun = self._writer.made(drafts[1], entry, "successor", where, None)
        except Exception as error:
            self._undo()
            self._could_not(Failed(source, input, run_id, positions, offset), error)
            return
        if made is not None:
            self._writer.append(drafts[0], made)
            if begun is not None:
                self._writer.append(drafts[1], begun)
                begun.after.append(partial(self._succeeded, made))
        elif command is not None:
            self._writer.answer(command, offset, where, outcome.answer)
            return
        if command is not None or outcome.replies:
            self._flight.then(partial(self._reads.answer, input, outcome))

    def _succeeded(self, closing: Appended) -> None:
        self._deliveries.delivered(closing.offset)

    # --- deciding that fails ------------------------------------------------------------------

    def _could_not(self, failed: Failed, error: Exception) -> None:
        """Nothing was written: try once more when what is in flight is there, or give up."""
        if self._trying:
            self._cache.drop(failed.input.workflow_id)
            self._give_up(failed, error)
            return
        _log.warning(
            "shard %d: %s for %r could not be decided; it is tried once more\n%s",
            self._partition,
            type(failed.input).__name__,
            failed.input.workflow_id,
            trace_of(error),
        )
        self.failed = failed
        self._flight.then(self._try_again)

    def _try_again(self) -> None:
        """Decide once more, from what is acknowledged; or go on without the input."""
        failed, self.failed = self.failed, None
        assert failed is not None, "called once for each failure"
        self._cache.drop(failed.input.workflow_id)
        self._trying = True
        try:
            self.decide(*failed)
        finally:
            self._trying = False
        if failed.positions is not None:
            self.passed(failed.positions)

    def _give_up(self, failed: Failed, error: Exception) -> None:
        source, input, _, positions, offset = failed
        code_error = code_failed(error)
        reason = f"deciding it failed twice: {code_error.error}"
        kind = type(input).__name__
        _log.error(
            "shard %d: %s for %r is given up: %s",
            self._partition,
            kind,
            input.workflow_id,
            readable(reason),
        )
        if isinstance(input, ClientCommand):
            where = positions or self.positions
            told = "PayloadTooLarge" if is_a(error, PayloadTooLarge) else "CommandRejected"
            outcome = Outcome().answered(Refused(told, reason))
            self._writer.answer(input, offset, where, outcome.answer, bury=True)
        elif positions is not None:
            self.bury(self._letter_of(input, _TOPICS[source], offset, reason), positions)
        else:
            self._park(input.workflow_id, source, code_error)

    def _letter_of(self, input: Input, topic: str, offset: int, reason: str) -> DeadLetter:
        """Return the dead letter of an input, without its value where that cannot be encoded."""
        value = None
        try:
            value = encode(input)
        except Exception as error:  # burying is what is done about errors: it has to succeed
            why = shown(error).message
            reason = f"{reason} (its value is there only: it cannot be encoded again: {why})"
        key = writable(input.workflow_id).encode()
        return DeadLetter(topic, self._partition, offset, key, value, reason)

    def _park(self, workflow_id: str, source: Source, error: CodeError) -> None:
        entry = self._instances.entry(workflow_id)
        if entry.instance is not None and entry.instance.state.parked is None:
            draft = Draft(entry.instance, self._context)
            draft.park(error)
            self._writer.write(draft, entry, source, self.positions, None)

    # --- what nobody asks for -----------------------------------------------------------------

    def begin_successor(self, effect: StartSuccessor, offset: int) -> None:
        """Write the start of a run that the owner before us owed. If that fails twice, it parks."""
        try:
            begun = self._successor(effect)
        except Exception:
            try:
                begun = self._successor(effect)
            except Exception as error:
                begun = self._successor(effect, code_failed(error))
        begun.after.append(partial(self._deliveries.delivered, offset))

    def _successor(self, effect: StartSuccessor, broken: CodeError | None = None) -> Appended:
        entry = self._instances.entry(effect.workflow_id)
        context = self._at_this_time()
        try:
            which = effect.workflow_id, effect.run_id, effect.started
            draft = succeed(*which, context, broken)
            made = self._writer.made(draft, entry, "successor", self.positions, None)
        except Exception:
            self._undo()
            raise
        self._writer.append(draft, made)
        return made

    def retry_parked(self, workflow_id: str) -> None:
        """Try the code of a parked run again: this process may have newer code."""
        entry = self._instances.entry(workflow_id)
        context = self._at_this_time()
        try:
            draft = None if entry.instance is None else unpark(entry.instance, context)
            if draft is not None:
                self._writer.write(draft, entry, "takeover", self.positions, None)
        except Exception as error:
            self._undo()
            self._cache.drop(workflow_id)
            text = "shard %d: %r stays parked\n%s"
            _log.warning(text, self._partition, workflow_id, trace_of(error))

    # --- what it needs, and what is left when it fails ----------------------------------------

    def _at_this_time(self) -> Context:
        context = self._context
        context.now_ms, context.begun = self._clock.now_ms(), None
        context.free = self._activities.free
        return context

    def _undo(self) -> None:
        """Drop the code of a run that does not begin."""
        if self._context.begun is not None:
            self._context.begun.close()


def _not_activated(level: int) -> Refused:
    return Refused(
        "UpgradeNeeded",
        f"this namespace is at level {level} of the log's format, and this command needs a later "
        f"one: run `processor upgrade` once all processes have a release that knows it",
    )
