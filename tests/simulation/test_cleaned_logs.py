"""A log that a cleaner has been at, at any moment and however far, still says the same.

EVERY_MOMENT=1 STORIES=1000 python -m pytest tests/simulation/test_cleaned_logs.py    # nightly

A seeded story is played. Then its logs are looked at as they were at some moments of it, or after
each of their records. At each, cleaners go over a log with segments of a single record, in any
number of passes, each of which may have died halfway. What is left is folded, and compared with the
fold of all that was written. The same has to come of tables that were left behind, and go on with
what is left.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from unittest.mock import patch

import pytest

from processor.codec.records import LEVEL, LogRecordBody, decode
from processor.core.entity_id import is_entity_id
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn, turn_key
from processor.errors import LogTruncated, StoreCorrupt
from processor.shard.ports import ClaimRow, LogRecord
from processor.shard.recovery.fold import Fold
from processor.shard.recovery.takeover import Taken, Takeover
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import CALM
from processor.simulation.hosts.ports import SimulatedLog
from processor.simulation.partitions import DELETE_RETENTION_MS, LogPartition
from processor.simulation.scheduler import Scheduler
from processor.store.keyvalue import Memory
from processor.store.projections import FAMILIES
from processor.store.projections.replaced import replaced_of
from processor.store.rows import reader
from processor.store.tables import StateTables

from . import switches_cleaning
from .story import Story

STORIES = int(os.environ.get("STORIES", 30))
EVERY_MOMENT = os.environ.get("EVERY_MOMENT") == "1"
_MOMENTS: Final = 8
_PASSES_MAX: Final = 3
_SAME: Final = [each for each in FAMILIES if each not in ("history", "claims", "replaced")]
"""Of these families nothing may go with the log."""

Rows = dict[bytes, bytes]


# --- logs -------------------------------------------------------------------------------------


class Clock:
    ms = 0

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Written:
    """The log of one shard of a story.

    ``taken`` has what its cleaner took, with where the log ended just then. It does not come back:
    the owner knew that it was gone.
    """

    log: LogPartition
    taken: dict[int, int] = field(default_factory=dict)

    def whole(self, moment: int, clock: Clock) -> LogPartition:
        """Return the log as it was at a moment, or would have been without any cleaner."""
        log = LogPartition(clock.now_ms)
        for record in self.log.written[:moment]:
            log.append(record.key, record.value)
        return log

    def tombstones_taken(self, moment: int) -> int:
        """Return below which offset tombstones may be gone at a moment."""
        gone = [
            offset + 1
            for offset, end in self.taken.items()
            if end <= moment and self.log.written[offset].value is None
        ]
        return max(gone, default=0)

    def cleaned(self, moment: int, random: Random, *, keeps_tombstones: bool) -> LogPartition:
        """Return what may have been left of it at that moment."""
        clock = Clock()
        log = self.whole(moment, clock)
        for offset, end in self.taken.items():
            if end <= moment:
                del log._records[offset], log._appended_ms[offset]
        for _ in range(random.randint(1, _PASSES_MAX)):
            below = random.choice((moment, random.randint(0, moment)))
            log.compact(below, random.choice((None, random.randint(0, below))))
            if not keeps_tombstones:
                clock.ms += random.choice((0, DELETE_RETENTION_MS + 1))
        return log


def play(seed: int) -> list[Written]:
    """Play a story; return its logs, with what its cleaners took and when."""
    compact = LogPartition.compact
    taken: dict[LogPartition, dict[int, int]] = {}

    def noting(self: LogPartition, below: int, rewritten: int | None = None) -> int:
        before = set(self._records)
        removed = compact(self, below, rewritten)
        for offset in before.difference(self._records):
            taken.setdefault(self, {})[offset] = self.end
        return removed

    story = Story(seed)
    try:
        with patch.object(LogPartition, "compact", noting):
            story.run()
        return [Written(log, taken.get(log, {})) for log in story.world.broker.logs]
    finally:
        story.close()


# --- folds ------------------------------------------------------------------------------------


@dataclass
class Folded:
    """Tables as a takeover leaves them at the end of a log, and what it says is still owed."""

    store: Memory
    taken: Taken

    def rows(self, family: str) -> Rows:
        return dict(self.store.scan(family, b""))

    def replaced(self) -> dict[bytes, int]:
        """Return the keys that may go, each with the offset that has to be covered before."""
        found: dict[bytes, int] = {}
        for row in self.rows("replaced"):
            offset, key = replaced_of(row)
            found[key] = min(offset, found.get(key, offset))
        return found

    @property
    def owed(self) -> list[Any]:
        taken = self.taken
        return [taken.checkpoint, taken.owed, taken.successors, taken.lost]


def fold(log: LogPartition, store: Memory) -> Folded:
    """Take a log over with these tables."""
    broker = SimulatedBroker(1)
    broker.logs[0] = log
    port = SimulatedLog(broker, 0, Scheduler(0), CALM, lambda: None)
    takeover = Takeover(0, port, StateTables(store, "a log"), "a test", level_max=LEVEL + 1)
    takeover.survey()
    return Folded(store, takeover.fold(log.end, 0))


def left_behind(log: LogPartition, moment: int) -> Memory:
    """Return the tables of an owner whose process ended at a moment, and with it their flush."""
    store = Memory()
    held = StateTables(store, "a log")
    follower = Fold(held, held.checkpoint(), 0)
    for record in log.read(0, moment):
        if record.value is None:
            follower.tombstone(record)
        else:
            follower.take(record, _decoded(record))
    assert not follower._headless, "what it follows has a beginning"
    follower._flush()
    held.flush()
    return store


def _decoded(record: LogRecord) -> LogRecordBody:
    assert record.value is not None
    body: Any = decode(record.value)
    return body  # type: ignore[no-any-return]


# --- comparison -------------------------------------------------------------------------------


def compare(whole: Folded, left: Folded, known: set[bytes]) -> None:
    """Check that a log that was cleaned says the same, but for what it says of what is gone.

    ``known`` are keys that may be given up once more: tables that were left behind do not know that
    they have their tombstones.
    """
    assert left.owed == whole.owed, "owed"
    for family in _SAME:
        assert left.rows(family) == whole.rows(family), family
    _compare_history(whole, left)
    freed = _compare_claims(whole, left)
    _compare_replaced(whole.replaced(), left.replaced(), freed | known)


def _compare_history(whole: Folded, left: Folded) -> None:
    """Of the turns of a run that was given up, some may be gone: they wait for their tombstones."""
    before, after, waiting = whole.rows("history"), left.rows("history"), left.replaced()
    assert before.items() >= after.items(), "history"
    for row in before.keys() - after.keys():
        turn = decode(before[row])
        assert isinstance(turn, Turn | Snapshot)
        assert turn_key(turn.run_id, turn.first, turn.epoch) in waiting, f"{turn} is needed"


def _compare_claims(whole: Folded, left: Folded) -> set[bytes]:
    """Ghosts may be gone, and so may claims whose ghosts are gone; return the keys of these."""
    claim_of = reader(ClaimRow)
    before = {key: claim_of(value) for key, value in whole.rows("claims").items()}
    after = {key: claim_of(value) for key, value in left.rows("claims").items()}
    assert before.keys() >= after.keys(), "claims"
    for key, claim in after.items():
        assert set(claim.ghosts) <= set(before[key].ghosts), "ghosts"
        assert claim.key in (b"", before[key].key), "keys of claims"
    freed = {before[key] for key in before.keys() - after.keys()}
    assert all(claim.ghosts for claim in freed), "a claim goes once its ghosts are gone"
    return {claim.key for claim in freed}


def _compare_replaced(whole: dict[bytes, int], left: dict[bytes, int], more: set[bytes]) -> None:
    """The same may go, once the same is covered; and ``more``."""
    also = left.keys() - whole.keys()
    assert also <= more, f"{also - more} may not go"
    assert {key: left.get(key) for key in whole} == whole, "replaced"


# --- tests ------------------------------------------------------------------------------------


def check_at(written: Written, moment: int, random: Random, counts: Counter[str]) -> None:
    """Clean a log as it was at a moment, and compare what is left."""
    whole = fold(written.whole(moment, Clock()), Memory())
    log = written.cleaned(moment, random, keeps_tombstones=False)
    counts["records"] += moment
    counts["removed"] += moment - len(log._records)
    compare(whole, fold(log, Memory()), set())
    counts["folds"] += 1


def is_of_entity(written: Written, error: StoreCorrupt) -> bool:
    """Return whether what the tables miss is a turn of an entity, which replaces its history."""
    found = re.search(r"run (\w+)", str(error))
    assert found is not None, error
    records = (decode(each.value) for each in written.log.written if each.value is not None)
    return any(
        is_entity_id(each.workflow_id)
        for each in records
        if isinstance(each, Turn | Snapshot) and each.run_id == found[1]
    )


def check_left_behind(written: Written, moment: int, random: Random, counts: Counter[str]) -> None:
    """Let tables that ended earlier go on with what is left; they may be refused.

    They are younger than what they have to hear of by a tombstone.
    """
    before = random.randint(written.tombstones_taken(moment), moment)
    store = left_behind(written.whole(before, Clock()), before)
    log = written.cleaned(moment, random, keeps_tombstones=True)
    try:
        left = fold(log, store)
    except StoreCorrupt as error:
        counts["refused of entities" if is_of_entity(written, error) else "refused"] += 1
        return
    whole = fold(written.whole(moment, Clock()), Memory())
    tombstones = {key for _, key, value in written.log.written[:moment] if value is None}
    compare(whole, left, tombstones)
    counts["left behind"] += 1


def check_story(seed: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    random = Random(f"cleaners {seed}")
    for partition, written in enumerate(play(seed)):
        end = written.log.end
        some = {end, *(random.randint(1, end) for _ in range(_MOMENTS))}
        for moment in range(1, end + 1) if EVERY_MOMENT else some:
            try:
                check_at(written, moment, random, counts)
                check_left_behind(written, moment, random, counts)
            except BaseException as error:
                error.add_note(f"story {seed}, shard {partition}, a log of {moment} records")
                raise
    return counts


@pytest.mark.timeout(180 if STORIES <= 30 else 14_400)
def test_a_log_says_the_same_whatever_cleaners_have_left_of_it() -> None:
    counts: Counter[str] = Counter()
    for seed in range(STORIES):
        counts += check_story(seed)
    print(dict(counts))
    assert counts["removed"] > counts["records"] / 10
    assert counts["folds"] > 5 * STORIES
    assert counts["refused"] < counts["left behind"] / 10
    assert counts["refused of entities"] < counts["left behind"] / 10


@pytest.mark.parametrize(
    "switch_off",
    [
        switches_cleaning.forgotten_without_mark,
        switches_cleaning.middle_first,
        switches_cleaning.claims_dropped_with_ghosts,
        switches_cleaning.claims_not_inferred,
        switches_cleaning.headless_not_skipped,
        switches_cleaning.snapshots_not_read,
        switches_cleaning.gaps_not_seen,
    ],
    ids=lambda switch_off: switch_off.__name__,
)
def test_it_bites(switch_off: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    switch_off(monkeypatch)
    for seed in range(200):
        try:
            check_story(seed)
        except (AssertionError, LogTruncated) as error:
            notes = getattr(error, "__notes__", [])  # without any, the story itself came to grief
            if any("a log of" in note for note in notes):
                print(error, notes)
                return
    pytest.fail("whatever is gone, what is left says the same")
