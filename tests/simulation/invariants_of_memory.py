"""What must hold of a shard at rest: nothing is kept, or read again, that nobody needs any more."""

from __future__ import annotations

from processor.core.records.marks import Mark
from processor.shard.outbox import NEVER_OFFSET

from .checked import Checked
from .reading import Reading
from .story import Story

__all__ = ("check_memory", "check_sums")


def check_memory(checked: Checked, story: Story, reading: Reading) -> None:
    """Who is counted waits, for an open run; what is published is not read or sent again."""
    world, partition = story.world, reading.partition
    owner = world.hosts[world.owners[partition]].ownerships[partition]
    session, shard, outputs = owner.session, owner.shard, world.broker.outputs[partition]
    assert session is not None and shard is not None, "the owner is at rest"
    effects = shard._effects
    for each in (effects._reads._waiters, effects._updating._waiters, effects._valuing._waiters):
        waiting = sum(map(len, each._waiters.values()))
        checked.that("who is counted waits", each._waiting == waiting, each._waiting, waiting)
        for run_id, waiters in each._waiters.items():
            run = session.tables.run(run_id)
            is_open = run is not None and run.closed_ms is None
            checked.that("who waits, waits for an open run", is_open and waiters, run_id)
    handed, floor = shard._intake.handover, shard._deliveries.handed_over
    left = len(handed.waiting), handed.records, handed.bytes, len(handed._untaken)
    is_done = not any(left) and not handed.overflow and floor == NEVER_OFFSET
    checked.that("what was handed over is not kept", is_done, left, floor)
    unpublished = shard._effects.unpublished
    shard._intake.room.look_at_published()
    checked.that("what is published is not counted", unpublished.bytes == 0, unpublished.bytes)
    checked.that("what is published is not sent again", not outputs.again, outputs.again)
    for offset, _, record, _ in reading.records:
        if isinstance(record, Mark) and record.epoch == shard._storing.checkpoint.epoch:
            moved = offset < outputs.position
            checked.that("a mark moves the published position", moved, offset, outputs.position)


def check_sums(checked: Checked, story: Story) -> None:
    """Nothing is made or lost where it only moves: slots for activities, money of accounts."""
    for host in story.world.hosts.values():
        checked.that("slots come back", not host.activities.executor._reserved, host.name)
    if (ledger := story.ledger) is not None:
        after = {case.workflow_id: case.result for case in story.cases}
        kept = sum(after[name] for name in ledger.before) == sum(ledger.before.values())
        checked.that("the sum of the accounts stays", kept, after, ledger)
