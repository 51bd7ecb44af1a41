"""Plays one seed and says what it covered, or why it failed and how to see that again."""

from __future__ import annotations

import traceback
from collections import Counter, deque
from dataclasses import dataclass, field

from processor.core.inputs import ClientCommand
from processor.core.questions import AwaitResult
from processor.errors import TooNew
from processor.simulation.partitions import InputPartition
from processor.simulation.scheduler import RECENT_STEPS
from processor.simulation.world import World

from .invariants import check
from .story import Story
from .wire_story import play_producer

__all__ = ("Coverage", "Failure", "play")

TWICE_EVERY = 50
"""Of so many seeds, one is played twice, to compare the traces."""


@dataclass
class Coverage:
    """What some seeds covered."""

    seeds: int = 0
    injected: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, other: Coverage) -> None:
        self.seeds += other.seeds
        self.injected += other.injected
        self.checked += other.checked
        self.counts += other.counts


@dataclass
class Failure:
    """A seed that failed, with its last steps."""

    seed: int
    error: str
    trace: list[str]

    def __str__(self) -> str:
        return (
            f"{'=' * 100}\nseed {self.seed}: the last {len(self.trace):,} steps\n\n"
            + "\n".join(self.trace)
            + f"\n\n{self.error}\nseed {self.seed} failed. To see it again, with the whole trace:\n"
            f"    python -m tests.simulation.prove --seed {self.seed}\n"
        )


def play(seed: int, steps_kept: int | None = RECENT_STEPS) -> tuple[Coverage, str] | Failure:
    """Return what a seed covered and its trace hash, or its failure."""
    story = None
    try:
        story = Story(seed)
        story.world.scheduler.recent = deque(maxlen=steps_kept)
        coverage, trace_hash = _played(story)
        injected, checked = play_producer(seed)
        coverage.injected += injected
        coverage.checked += checked
        if seed % TWICE_EVERY == 0:
            coverage.checked["the same seed gives the same trace"] += 1
            assert _trace_hash(seed) == trace_hash, "the same seed gave another trace"
        return coverage, trace_hash
    except Exception:
        trace = [] if story is None else list(story.world.scheduler.recent)
        return Failure(seed, traceback.format_exc(), trace)
    finally:
        if story is not None:
            story.close()


def _trace_hash(seed: int) -> str:
    story = Story(seed)
    try:
        story.run()
        return story.world.trace_hash
    finally:
        story.close()


def _played(story: Story) -> tuple[Coverage, str]:
    story.run()
    readings, checked = check(story)
    world = story.world
    counts = Counter(
        {
            "takeovers": sum(len(reading.claimed) for reading in readings) - len(readings),
            "ghosts ignored": sum(len(reading.ghosts) for reading in readings),
            "redeliveries dropped": _redelivered(world),
            "turns": sum(len(reading.turns) for reading in readings),
            "workflows": len(story.cases),
            "operations": story.asked,
            "operations that succeeded": story.succeeded,
            "records removed by compaction": story.chaos.removed,
            "stores rebuilt for their age": world.rebuilt,
            "port calls": world.perils.moments // 2,
            "steps": world.scheduler.steps,
        }
    )
    return Coverage(1, Counter(world.injected), checked.counts, counts), world.trace_hash


def _redelivered(world: World) -> int:
    """Count the copies of what may count only once; a question may be asked again."""
    copies = 0
    for inputs in world.broker.inputs:
        for partition in inputs.values():
            seen: set[bytes] = set()
            for offset in range(partition.first, partition.end):
                value = partition.get_bytes(offset)
                if value in seen:
                    copies += not _is_question(partition, offset)
                seen.add(value)
    return copies


def _is_question(partition: InputPartition, offset: int) -> bool:
    try:
        record = partition.get(offset)
    except TooNew:  # a call of a later release
        return False
    return isinstance(record, ClientCommand) and isinstance(record.body, AwaitResult)
