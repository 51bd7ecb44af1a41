"""Taking over a shard: claim it, fold the log up to the claim, find out what is still owed.

    1. look at the end of the log: at a level that this release does not know, leave
    2. append a claim; the offset of its acknowledgement is the epoch
    3. fold the log from where the tables end up to the claim: a record counts if and only if it
       names the last claim before it
    4. collect what a dead owner may not have delivered: queued tasks, messages, answers, results,
       and the start of a run that follows another one
    5. collect the eager attempts that died with it

Only then does the shard read its inputs, from the positions in the last record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from processor.codec.records import LEVEL, encode
from processor.core.data.cause import Origin
from processor.core.data.failure import Failure
from processor.core.inputs import ActivityReport
from processor.core.nouns.activity import task_of
from processor.core.nouns.run import StartSuccessor
from processor.core.records.effects import (
    ActivityTask,
    DeadLetter,
    Message,
    Publish,
    Reply,
    RunResult,
)
from processor.core.records.turn import Claim, claim_key
from processor.core.state import RunState
from processor.errors import LogTruncated, StoreCorrupt
from processor.shard.dedup import Requests
from processor.shard.flight import ShardLost
from processor.shard.intake.handover import Handover
from processor.shard.messages.border import Border
from processor.shard.outbox import Deliveries
from processor.shard.ports import (
    TOMBSTONES_MS,
    Checkpoint,
    ClaimRow,
    Log,
    OpenAttempt,
    Outbox,
    OutputRecord,
    Tables,
)
from processor.shard.recovery.fold import Fold, Incomplete
from processor.shard.recovery.owed import Owed
from processor.shard.recovery.states import stored_state
from processor.shard.recovery.survey import entry_of, level_of_log, stranger, too_old

__all__ = ("Taken", "Takeover", "send_owed")

_HOUR_MS = 3600 * 1000
_LONG_MS = 600 * 1000
"""The loss of an attempt that began so long ago is not counted: it ended no process at once."""


@dataclass(slots=True)
class Taken:
    """A shard that is ours: what the loop begins with. ``time_ms``: the latest that was folded.

    ``successors`` are runs that have to begin before any input is read, each with the log offset of
    the end of the run that they follow.
    """

    epoch: int
    claim: ClaimRow
    checkpoint: Checkpoint
    requests: Requests
    owed: list[Owed]
    successors: list[tuple[StartSuccessor, int]]
    lost: list[ActivityReport]
    turns: int
    ghosts: int
    time_ms: int


class Takeover:
    """``survey``, ``begin``, then ``claimed`` until it returns the epoch, then ``fold``.

    ``survey`` and ``fold`` block.
    """

    def __init__(
        self,
        partition: int,
        log: Log,
        tables: Tables,
        owner: str,
        tombstones_ms: int = TOMBSTONES_MS,
        level_max: int = LEVEL,
        *,
        keeps_tasks: bool = True,
        topic: str = "events",
        border: Border = Border(),
    ) -> None:
        self._topic = topic
        self._border = border
        self._tombstones_ms = tombstones_ms
        self._keeps_tasks = keeps_tasks
        self._partition = partition
        self._log = log
        self._tables = tables
        self._owner = owner
        self._level_max = level_max
        self._level = tables.checkpoint().level
        self._claims = 0
        self._now_ms = 0
        self._key = b""

    def survey(self) -> None:
        """Find out the level of the namespace. Raises ``ReleaseTooOld`` above the one we know.

        The fold looks again: a claim of a higher level may come in between.
        """
        self._level = max(self._level, level_of_log(self._partition, self._log, self._topic))
        self._check_level(self._level)

    def begin(self, nonce: str, now_ms: int) -> None:
        self._claims += 1
        self._now_ms = now_ms
        nonce = f"{nonce}-{self._claims}"
        self._key = claim_key(nonce)
        self._log.append(self._key, encode(Claim(self._owner, nonce, self._level, now_ms)))

    def claimed(self, nonce: str, now_ms: int) -> int | None:
        """Return the epoch once the claim is acknowledged."""
        for offset in self._log.acknowledged():
            if offset >= 0:
                return offset
            self.begin(nonce, now_ms)
        return None

    def fold(self, epoch: int, published: int) -> Taken:
        """Bring the tables up to the claim and return what the loop needs to begin.

        Raises ``LogTruncated`` where the log has lost what the tables hold, ``StoreCorrupt`` where
        the tables may have missed a deletion, ``ReleaseTooOld`` where the log holds what a later
        release wrote, and ``ShardLost`` where another owner has claimed it meanwhile and the log
        was cleaned, or where our claim is below the level: former claims are given up only under
        one that says what they said.
        """
        before = self._tables.checkpoint()
        first_kept, end = self._log.bounds()
        if published > end:
            raise LogTruncated(
                f"shard {self._partition}: everything below log offset {published} was published, "
                f"but the log ends at {end}: it lost its end, or the topic was made again. Nothing "
                "was changed. If the loss is intended, use a new namespace"
            )
        if before.next_offset > epoch or first_kept > before.next_offset:
            raise LogTruncated(
                f"shard {self._partition}: the state directory is at log offset "
                f"{before.next_offset}, but the log was [{first_kept}, {epoch}) when it was "
                "claimed: records were deleted, or the topic was made again. Nothing was changed. "
                "If the loss is intended, delete the state directory and use a new namespace"
            )
        self._check_age(before, epoch)
        begins = replace(before, time_ms=self._now_ms)
        fold = Fold(self._tables, begins, published, self._border)
        begin = max(min(before.next_offset, before.delivered, published), first_kept)
        strangers: list[int] = []
        read, at = 0, begin
        try:
            for record in self._log.read(begin, epoch):
                read, at = read + 1, record.offset + 1
                if record.value is None:
                    fold.tombstone(record)
                elif (entry := entry_of(self._topic, self._partition, record)) is not None:
                    fold.take(record, entry)
                elif fold.stranger(record):
                    strangers.append(record.offset)
            fold.finish(epoch, self._key, self._level)
        except Incomplete as gap:
            raise self._incomplete(gap, before, (begin, at, read), epoch) from None
        if strangers:
            stranger(self._topic, self._partition, strangers[0], len(strangers))
        self._look_after_claims(fold, epoch)
        self._tables.flush()
        self._check_level(fold.checkpoint.level)
        if fold.checkpoint.level > self._level:
            raise ShardLost(
                f"shard {self._partition}: it was claimed at level {self._level}, and the "
                f"namespace has been raised to level {fold.checkpoint.level} meanwhile"
            )
        owed, successors = self._owed(fold)
        attempts = list(self._tables.open_attempts())
        eager = [row for row in attempts if row.state.eager and row.state.retry_at_ms is None]
        lost = [_lost(row, self._now_ms) for row in eager]
        return Taken(
            epoch,
            fold.claims.last,
            fold.checkpoint,
            fold.requests,
            owed,
            successors,
            lost,
            fold.turns,
            fold.claims.ghosts,
            fold.time_ms,
        )

    def _incomplete(
        self, gap: Incomplete, before: Checkpoint, read: tuple[int, int, int], epoch: int
    ) -> ShardLost | StoreCorrupt | LogTruncated:
        """Return what to raise where records are gone that nothing stands for.

        The cleaner takes records away while they are read, and what stands for them may be behind
        our claim, of a later owner. ``read`` are the first offset of the fold, the one behind what
        it has read, and how many records it has found there.
        """
        why = f"shard {self._partition}: {gap}"
        begin, at, count = read
        _, end = self._log.bounds()
        later = (each for each in self._log.read(epoch + 1, end) if each.value is not None)
        if any(isinstance(entry_of(self._topic, self._partition, each), Claim) for each in later):
            return ShardLost(f"{why}: another owner has claimed it, and the log was cleaned since")
        if before.next_offset or count != sum(1 for _ in self._log.read(begin, at)):
            return StoreCorrupt(f"{why}: the log was cleaned meanwhile")
        return LogTruncated(
            f"{why}: somebody deleted records. Nothing was changed. If the loss is intended, use a "
            "new namespace"
        )

    def _owed(self, fold: Fold) -> tuple[list[Owed], list[tuple[StartSuccessor, int]]]:
        """Return what is to be sent again, in log order, and the runs that are to begin."""
        owed = [*fold.owed(), *self._owed_tasks(fold.checkpoint.delivered)]
        successors = [
            (each.effect, each.offset)
            for each in owed
            if isinstance(each.effect, StartSuccessor)
            and self._tables.run(each.effect.run_id) is None
        ]
        rest = [each for each in owed if not isinstance(each.effect, StartSuccessor)]
        return sorted(rest, key=lambda each: (each.offset, each.index)), successors

    def _owed_tasks(self, delivered: int) -> Iterator[Owed]:
        """Yield the tasks of queues that may not have been sent: attempts that left, if ever.

        Where queues are in memory only, these are all that are out, begun or not.
        """
        states: dict[str, RunState] = {}
        for row in self._tables.open_attempts():
            if row.state.eager or row.state.retry_at_ms is not None or row.state.is_left_open:
                continue
            if self._keeps_tasks and (row.offset < delivered or not row.state.is_dispatch):
                continue
            state = states.get(row.run_id)
            if state is None:
                state = states[row.run_id] = _state_now(self._tables, row)
            task = task_of(state, state.activities[row.state.id], row.state)
            yield Owed(row.offset, row.state.id, task)

    def _look_after_claims(self, fold: Fold, epoch: int) -> None:
        """Let former claims go whose ghosts are gone: the log has to be asked for each."""
        first, _ = self._log.bounds()
        for row in self._tables.claims():
            if row.offset != epoch and row.ghosts and not row.more:
                places = self._log.read(max(first, row.ghosts[0]), row.ghosts[-1] + 1)
                left = {record.offset for record in places if record.value is not None}
                if left.isdisjoint(row.ghosts):
                    fold.drop_claim(row)

    def _check_level(self, level: int) -> None:
        if level > self._level_max:
            where = f"shard {self._partition} ({self._topic}[{self._partition}])"
            raise too_old(where, level, self._level_max)

    def _check_age(self, before: Checkpoint, epoch: int) -> None:
        """Refuse tables that others have written past, for longer than tombstones are kept.

        A tenth of that time is left for the fold that follows and for clocks that differ.
        """
        away_ms = self._now_ms - before.time_ms
        if 0 < before.next_offset < epoch and away_ms > self._tombstones_ms * 9 // 10:
            raise StoreCorrupt(
                f"the state directory ends at log offset {before.next_offset} and was left "
                f"{away_ms / _HOUR_MS:.1f} hours ago, and the log keeps tombstones for "
                f"{self._tombstones_ms / _HOUR_MS:.1f} hours (delete.retention.ms)"
            )


def send_owed(
    owed: Iterable[Owed],
    successors: Sequence[tuple[StartSuccessor, int]],
    outbox: Outbox,
    handover: Handover,
    border: Border,
    deliveries: Deliveries,
    log_id: bytes,
    partition: int,
    delivered: int,
) -> None:
    """Send again what the owner before us may not have delivered, in log order.

    What is below ``delivered`` had been, and moves no floor: tasks that were lost with a process.
    """
    sends: dict[int, int] = {}
    outputs: dict[int, list[OutputRecord]] = {}
    for _, offset in successors:
        sends[offset] = sends.get(offset, 0) + 1
    for each in owed:
        match each.effect:
            case RunResult() | Publish():
                outputs.setdefault(each.offset, []).append(each.effect)
            case Reply():
                outbox.reply(each.effect)
            case Message():
                origin = Origin(log_id, partition, each.offset, each.index)
                if border.crosses(each.effect):
                    left = border.record(each.effect, origin)
                    outputs.setdefault(each.offset, []).append(left)
                elif handover.send(each.effect, each.offset, origin):
                    sends[each.offset] = sends.get(each.offset, 0) + 1
            case ActivityTask() if each.offset < delivered:
                outbox.send(each.effect, None)
            case ActivityTask() | DeadLetter():
                outbox.send(each.effect, each.offset)
                sends[each.offset] = sends.get(each.offset, 0) + 1
            case StartSuccessor():
                pass  # successors are derived anew
    for offset in sorted(sends):
        deliveries.released(offset, sends[offset])
    for offset, records in outputs.items():
        outbox.publish(offset, records)


def _state_now(tables: Tables, row: OpenAttempt) -> RunState:
    """Return the state of an open run, without its code."""
    summary = tables.run(row.run_id)
    assert summary is not None, f"run {row.run_id} has an open activity"
    state = stored_state(tables, row.workflow_id, row.run_id, summary.events)
    assert state is not None, f"run {row.run_id} is open, so its history is there"
    return state


def _lost(row: OpenAttempt, now_ms: int) -> ActivityReport:
    """Return the report of an attempt that an owner before us ran.

    Its activity may be what ended that process, unless it began long ago.
    """
    state, attempt = row.state, row.state.attempt
    failure = Failure(
        "activity_timed_out",
        "ActivityTimedOut",
        f"activity {row.name!r}: attempt {attempt} was lost with the process that ran it",
        details=state.details,
        timeout_kind="lost",
        activity=row.name,
        attempts=attempt,
    )
    worker = "" if now_ms - state.dispatched_ms > _LONG_MS else "an owner before"
    which = row.workflow_id, row.run_id, state.id, attempt
    return ActivityReport(*which, "failed", failure=failure, worker=worker)
