"""What must hold after every story of what is published, messages to another namespace among it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from processor.core.data.cause import Origin
from processor.core.records.effects import Effect, Message, Publish, RunResult
from processor.shard.ports import OutputRecord
from processor.simulation.mirror import MIRRORED

from .checked import Checked
from .reading import Reading
from .story import Story

__all__ = ("check_outputs", "published")


def check_outputs(checked: Checked, story: Story, reading: Reading) -> None:
    """Results and published records are there once each, in the order of the log."""
    broker, partition = story.world.broker, reading.partition
    due = [
        (offset, effect)
        for offset, _, _, effects in reading.records
        for effect in published(broker.log_id, partition, offset, effects)
    ]
    outputs = broker.outputs[partition].records
    written = [(offset, record) for offset, _, record in outputs]
    for each in due:
        once = written.count(each) == due.count(each)
        checked.that("results are there once each", once, each)
    checked.that("results are in the order of the log", written == due, written, due)


def published(
    log_id: bytes, partition: int, offset: int, effects: Sequence[Effect]
) -> Iterator[OutputRecord]:
    """Yield what of a record is published, messages to the other namespace as they leave."""
    messages = 0
    for effect in effects:
        if isinstance(effect, Publish | RunResult):
            yield effect
        elif isinstance(effect, Message):
            origin, messages = Origin(log_id, partition, offset, messages), messages + 1
            if MIRRORED.crosses(effect):
                yield MIRRORED.record(effect, origin)
