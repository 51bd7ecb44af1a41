"""Writes the records of a shard: what each one says of positions, floors and causes, and its key.

No key is used twice for a value: a turn is called after its run and first event, everything else
after a number that grows with each record of an epoch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from processor.checks import MESSAGE_BYTES_MAX, RECORD_BYTES_MAX
from processor.codec.records import Envelope, encode
from processor.core.data.address import ReplyTo
from processor.core.data.bounds import size_of
from processor.core.data.cause import CallRequest, Origin, RecordedCause
from processor.core.data.failure import shortened
from processor.core.draft import Draft
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import taken
from processor.core.nouns.run import Summary, WorkflowContinued, WorkflowFailed
from processor.core.records.answers import Accepted, CallOutcome, Refused, ReplyBody
from processor.core.records.effects import DeadLetter
from processor.core.records.marks import Answered, Mark, answered_key, mark_key
from processor.core.records.purge import summary_of
from processor.core.records.snapshot import Snapshot, snapshot_of
from processor.core.records.turn import (
    AttemptRecord,
    Positions,
    Purged,
    Source,
    Turn,
    attempt_key,
    purged_key,
    turn_key,
)
from processor.core.runner import CodeError
from processor.errors import PayloadTooLarge
from processor.shard.dedup import REASON_MAX, Requests
from processor.shard.eager import Eager
from processor.shard.flight import Flight, RunRecord, ShardRecord
from processor.shard.outbox import Deliveries
from processor.shard.ports import NO_PLACE, Clock
from processor.shard.turns.cache import Cache, Entry
from processor.shard.turns.telling import TOLD, Telling

__all__ = ("Writer", "source_at")

ID_RETENTION_MS: Final = 30 * 24 * 3600 * 1000
"""How long the ids of purged runs stay known."""

_ENVELOPE: Final = 10_000
"""What a record has beside an answer, at the most."""


def source_at(offset: int) -> Source:
    """Return what a record says of where its command came from."""
    return "eager" if offset == NO_PLACE else "commands"


class Writer:
    """``requests`` knows what has counted, with all that is on its way into the log."""

    def __init__(
        self,
        partition: int,
        epoch: int,
        flight: Flight,
        deliveries: Deliveries,
        requests: Requests,
        cache: Cache,
        eager: Eager,
        clock: Clock,
        record_bytes_max: int = RECORD_BYTES_MAX,
    ) -> None:
        self._record_bytes_max = record_bytes_max
        self._partition = partition
        self._epoch = epoch
        self._flight = flight
        self._deliveries = deliveries
        self._requests = requests
        self._cache = cache
        self._eager = eager
        self._clock = clock
        self._telling = Telling(partition)

    def write(
        self,
        draft: Draft,
        entry: Entry,
        source: Source,
        positions: Positions,
        cause: RecordedCause | None,
    ) -> RunRecord:
        """Append a record of a run and note what follows once it is acknowledged."""
        appended = self.made(draft, entry, source, positions, cause)
        self.append(draft, appended)
        return appended

    def made(
        self,
        draft: Draft,
        entry: Entry,
        source: Source,
        positions: Positions,
        cause: RecordedCause | None,
    ) -> RunRecord:
        """Return the record that a draft comes to. It has to be appended next."""
        state, epoch = draft.instance.state, self._epoch
        record: Turn | AttemptRecord | Snapshot
        if draft.attempt is None:
            key = turn_key(state.run_id, draft.first, epoch)
            record = turn = Turn(
                state.workflow_id,
                state.run_id,
                epoch,
                draft.first,
                draft.now_ms,
                source,
                positions,
                self._deliveries.floor,
                cause,
                tuple(draft.events),
            )
            if draft.snapshot is not None:
                record = snapshot_of(turn, state, draft.snapshot, whole=entry.is_due)
                if isinstance(record, Snapshot):
                    state.base = draft.first
        else:
            assert not isinstance(cause, CallRequest), "what asks for an answer is of a run"
            activity = state.activities[draft.attempt.id]
            key = attempt_key(state.run_id, activity.id, self._flight.number, epoch)
            activity.key = key
            record = AttemptRecord(
                state.workflow_id,
                state.run_id,
                epoch,
                draft.now_ms,
                source,
                positions,
                self._deliveries.floor,
                cause,
                activity.name,
                draft.attempt,
            )
        value = encode(record)
        if len(value) > self._record_bytes_max:
            raise PayloadTooLarge(
                f"a turn of {len(value):,} bytes; the limit is {self._record_bytes_max:,}, which "
                "is what the log takes (max.message.bytes of events). Ask for less at once, and "
                "keep large values elsewhere"
            )
        if isinstance(cause, CallRequest):
            draft.effects += taken(cause, state, draft.events)
        return RunRecord(key, value, record, state.summary(), draft.effects, entry=entry)

    def append(self, draft: Draft, made: RunRecord) -> None:
        """Append the record that was made of a draft."""
        entry, summary, record, value = made.entry, made.summary, made.record, made.value
        if record.cause is not None:
            self._requests.take(record, self._flight.number)
        if draft.slots:
            self._eager.reserve(draft.slots)
        if not entry.cached:
            self._cache.add(entry)
        entry.in_flight += 1
        if draft.attempt is None:
            if draft.first == 0:
                entry.begun.add(summary.run_id)
            last = draft.events[-1]
            is_told = not TOLD.isdisjoint(map(type, draft.events))
            if is_told and isinstance(record, Turn | Snapshot):
                made.after.append(partial(self._telling.events, record, summary.workflow))
        elif draft.attempt.retry_at_ms is not None and isinstance(record, AttemptRecord):
            made.after.append(partial(self._telling.failed, record))
        entry.latest = summary
        if summary.closed_ms is None:
            entry.instance = draft.instance
            if isinstance(record, Snapshot):
                self._cache.shrank(entry, len(value))
            else:
                self._cache.grew(entry, len(value))
        else:
            entry.instance = None
            self._cache.emptied(entry)
            if isinstance(last, WorkflowFailed) and last.successor is not None:
                told = partial(self._telling.followed, summary, last, last.successor.started)
                made.after.append(told)
            elif isinstance(last, WorkflowContinued) and last.successor.started.begins_ms:
                made.after.append(partial(self._telling.spins, summary))
            if not isinstance(draft.instance.runner, CodeError):
                draft.instance.runner.close()
        self._flight.append(made)

    def answer(
        self,
        command: ClientCommand,
        offset: int,
        positions: Positions,
        answer: ReplyBody | None,
        lost: ClientCommand | None = None,
        *,
        bury: bool = False,
    ) -> None:
        """Write down what a command is told that left no turn: it counts, and is decided once.

        What is refused while nobody waits for the answer goes to ``dead-letters``, and with
        ``bury`` in any case: the command, or what is ``lost`` with it.
        """
        letter, cause = None, command.recorded_cause
        assert isinstance(answer, CallOutcome), f"{command.body} is told {answer}"
        if not isinstance(answer, Accepted | Refused):
            assert isinstance(cause, CallRequest), f"no run asks for {answer}"
            size, most = size_of(answer), min(self._record_bytes_max, MESSAGE_BYTES_MAX) - _ENVELOPE
            if size > most:
                told = f"the answer has {size:,} bytes, and one run tells another {most:,} at most"
                answer = Refused("PayloadTooLarge", told)
        if isinstance(answer, Refused):
            answer = Refused(answer.error, shortened(answer.message, REASON_MAX))
            if bury or (command.reply_to is None and not isinstance(cause, CallRequest)):
                reason = f"{answer.error}: {answer.message}"
                lost = lost or command
                key = lost.workflow_id.encode()
                letter = DeadLetter("commands", self._partition, offset, key, encode(lost), reason)
        where = command.workflow_id, source_at(offset), positions
        self._answered(*where, cause, command.reply_to, answer, letter)

    def refuse(
        self, call: Envelope, letter: DeadLetter, positions: Positions, told: Refused
    ) -> None:
        """Write down that a call which cannot be taken is refused."""
        answer = Refused(told.error, shortened(told.message, REASON_MAX))
        cause = None
        if call.caller is not None and isinstance(call.cause, Origin):
            cause = CallRequest(call.cause, call.caller)
        where = call.workflow_id, source_at(letter.offset), positions
        self._answered(*where, cause, call.reply_to, answer, letter)

    def _answered(
        self,
        workflow_id: str,
        source: Source,
        positions: Positions,
        cause: RecordedCause | None,
        reply_to: ReplyTo | None,
        answer: CallOutcome,
        letter: DeadLetter | None,
    ) -> None:
        """Append what somebody is told. A letter stands in that record, as far as there is room."""
        value, room = b"" if letter is None else letter.value or b"", self._record_bytes_max // 2
        if letter is not None and len(value) > room:
            reason = f"{letter.reason} (the first {room:,} of {len(value):,} bytes are here)"
            letter = replace(letter, value=value[:room], reason=reason)
        written = self._epoch, self._clock.now_ms(), source, positions, self._deliveries.floor
        record = Answered(workflow_id, *written, cause, reply_to, answer, letter)
        self._append(answered_key(self._flight.number, self._epoch), record)

    def purge(
        self, summary: Summary, closed_ms: int, latest: bool, positions: Positions
    ) -> ShardRecord:
        """Write down that a closed run is gone, and whether it was the latest of its id."""
        record = Purged(
            summary.workflow_id,
            summary.run_id,
            self._epoch,
            self._clock.now_ms(),
            "eager",
            positions,
            self._deliveries.floor,
            None,
            summary.first_run_id,
            summary.workflow,
            summary.status.value,
            summary.started_ms,
            closed_ms,
            summary.events,
            latest,
        )
        return self._append(purged_key(summary.run_id, self._epoch), record)

    def mark(self, positions: Positions, delivered: int, published: int) -> None:
        """Write down all that is known beside the runs: it covers what was appended before it."""
        now_ms = self._clock.now_ms()
        forgotten_ms = max(now_ms - ID_RETENTION_MS, 0)
        mark = Mark(
            self._epoch,
            now_ms,
            "eager",
            positions,
            delivered,
            published,
            forgotten_ms=forgotten_ms,
        )
        self._append(mark_key(self._flight.number, self._epoch), self._requests.marked(mark))

    def _append(self, key: bytes, record: Answered | Mark | Purged) -> ShardRecord:
        self._requests.take(record, self._flight.number)
        effects = record.effects if isinstance(record, Answered) else ()
        summary = summary_of(record) if isinstance(record, Purged) else None
        appended = ShardRecord(key, encode(record), record, summary, effects)
        self._flight.append(appended)
        return appended
