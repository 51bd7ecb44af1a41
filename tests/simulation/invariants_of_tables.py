"""What must hold of the tables: they are the fold of the log, however much a cleaner has taken."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from processor.codec.records import LEVEL
from processor.core.records.purge import summary_of
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.core.replay import replay
from processor.core.runner import CodeError
from processor.errors import StoreCorrupt
from processor.shard.recovery.takeover import Takeover
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import CALM
from processor.simulation.hosts.ports import SimulatedLog
from processor.simulation.partitions import LogPartition
from processor.simulation.scheduler import Scheduler
from processor.store.keyvalue import Memory
from processor.store.projections import FAMILIES
from processor.store.tables import StateTables

from .checked import Checked
from .invariants_of_views import check_table, check_view
from .reading import Reading
from .story import Story

__all__ = ("check_tables",)

_WITH_HANDLERS: Final = ("gathers", "Listener")


def check_tables(checked: Checked, story: Story, reading: Reading) -> None:
    """The owner's tables, the fold of the log, and the replay through the code agree."""
    world, partition = story.world, reading.partition
    owner = world.hosts[world.owners[partition]].ownerships[partition]
    session = owner.session
    assert session is not None and owner.at_rest, "the owner is at rest"
    held = world.hosts[world.owners[partition]].disk(partition)
    log = world.broker.logs[partition]
    fresh, tables = _folded(story, partition, log)
    for family in FAMILIES:
        if family not in ("meta", "claims", "replaced"):
            same = rows(held, family) == rows(fresh, family)
            checked.that("tables are the fold of the log", same, partition, family)
    check_view(checked, reading, log, tables)
    check_table(checked, reading, log, tables)
    _half_cleaned(checked, story, reading, fresh)
    ours, folded = session.tables.checkpoint(), tables.checkpoint()
    late = [key for offset, key in reading.ghosts if offset >= ours.next_offset]
    found = [key for _, key in reading.ghosts if key not in late]
    _replaced(checked, held, fresh, log, found, late)
    same = (ours.positions, ours.level) == (folded.positions, folded.level)
    checked.that("the checkpoint is the fold of the log", same, ours, folded)
    for run_id, turns in reading.runs.items():
        attempts = [state for (run, _), state in reading.attempts.items() if run == run_id]
        instance = replay(story.code.runners, [turn for _, turn, _ in turns], attempts)
        replays = not isinstance(instance.runner, CodeError)
        checked.that("a history replays", replays, run_id, instance.runner)
        checked.that("payloads are made again", not instance.difference, instance.difference)
        row, summary = tables.run(run_id), instance.state.summary()
        if run_id in reading.purged:
            forgotten = row is None or row == summary_of(reading.purged[run_id])
            checked.that("a purged run is known by its id at most", forgotten, run_id, row)
            left = [*tables.history(run_id)]
            checked.that("a purged run has no history", not left, run_id, left)
        else:
            checked.that("replay equals the tables", summary == row, run_id, row, summary)
        if not isinstance(instance.runner, CodeError):
            instance.runner.close()
        _unread(checked, story, [turn for _, turn, _ in turns])
    for left in ("activities", "timers", "parked"):
        checked.that("closed runs leave no rows", not rows(fresh, left), left, rows(fresh, left))


def _unread(checked: Checked, story: Story, turns: Sequence[Turn | Snapshot]) -> None:
    """Before its last turn, what a run with handlers counts as unread is what nobody has taken."""
    if len(turns) < 2 or getattr(turns[0].events[0], "workflow", "") not in _WITH_HANDLERS:
        return
    runner = replay(story.code.runners, turns[:-1]).runner
    if not isinstance(runner, CodeError):
        left = runner.left()
        counted, there = runner.unread(), (len(left), sum(each.size for each in left))
        checked.that("what is unread is counted", counted == there, turns[-1], counted, there)
        runner.close()


def _half_cleaned(checked: Checked, story: Story, reading: Reading, fresh: Memory) -> None:
    """What a cleaner has left says the same, to new tables and to those that were left behind."""
    partition, log = reading.partition, story.world.broker.logs[reading.partition]
    random = Random(f"{story.seed} {partition}")
    stops = [offset for offset, _ in reading.ghosts]
    stops += [record.offset for record in log.written if record.value is None]
    earlier = [disk for (_, shard), disk in story.chaos.earlier.items() if shard == partition]
    has_snapshots = any(isinstance(turn, Snapshot) for _, turn, _ in reading.turns)
    for _ in range(3 if has_snapshots or reading.ghosts else 1):
        half = log.copy()
        for _ in range(2):  # up to where a cleaner knows the keys, and how far it rewrites the log
            below = random.choice((log.end, random.choice(stops or [log.end])))
            half.compact(below, random.choice((None, random.randint(0, log.end), *stops)))
        for store in (Memory(), *(disk.copy() for disk in earlier)):
            before = "new" if not rows(store, "meta") else "left behind"
            try:
                _folded(story, partition, half, store)
            except StoreCorrupt:
                assert before == "left behind", "new tables are whole"
                continue
            for family in FAMILIES:
                if family not in ("meta", "claims", "replaced", "history"):
                    same = rows(store, family) == rows(fresh, family)
                    name = f"a half-cleaned log says the same to tables that are {before}"
                    checked.that(name, same, partition, family)


def _folded(
    story: Story, partition: int, log: LogPartition, store: Memory | None = None
) -> tuple[Memory, StateTables]:
    """Fold a log into tables of its own."""
    broker, store = SimulatedBroker(story.world.broker.partitions), store or Memory()
    broker.logs[partition] = log
    scheduler = Scheduler(0, story.world.scheduler.now_ms)
    reader = SimulatedLog(broker, partition, scheduler, CALM, lambda: None)
    tables = StateTables(store, f"events-{partition}")
    takeover = Takeover(partition, reader, tables, "a check", level_max=LEVEL + 1)
    takeover.survey()
    takeover._now_ms = scheduler.now_ms
    takeover.fold(log.end, 0)
    return store, tables


def _replaced(
    checked: Checked,
    held: Memory,
    fresh: Memory,
    log: LogPartition,
    ghosts: list[bytes],
    late: list[bytes],
) -> None:
    """What waits for its tombstone is the same, but for claims: whoever folds has one more.

    A store that was away may give up once more what others have given up meanwhile. An owner finds
    the ghosts that came ``late``, behind all that it has written, with its next record.
    """
    gone = {key for _, key, value in log.written if value is None}
    ours, folded = (
        {
            row
            for row, _ in rows(store, "replaced")
            if row[16:22] != b"claim/" and row[16:] not in late
        }
        for store in (held, fresh)
    )
    again = {row for row in ours - folded if row[16:] in gone}
    checked.that("what may go is the fold of the log", ours - again == folded, ours ^ folded)
    waits = [row for row in ours if not any(row[:8])]
    checked.that("what nobody needs is deleted", not waits, waits)
    left = [key for key in ghosts if key not in gone]
    checked.that("ghosts are given up", not left, left)


def rows(store: Memory, family: str) -> list[tuple[bytes, bytes]]:
    return list(store.scan(family, b""))
