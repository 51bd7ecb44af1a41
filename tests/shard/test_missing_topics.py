"""A shard whose runs publish to topics that do not exist: how long all others wait for that."""

from __future__ import annotations

from typing import Any

import pytest

from processor.core.records.effects import DeadLetter, Publish
from processor.node.publishing.faults import Asks, Fault
from processor.node.publishing.outputs import Batch, ShardOutputs
from processor.node.publishing.undeliverable import Outlets

MISSING = Fault("missing", "UNKNOWN_TOPIC_OR_PART", "there is none")
LOOK_S = 0.002


class Delays:
    def next_s(self) -> float:
        return 1.0

    def reset(self) -> None: ...


class Brokers:
    """Answer what a shard asks of topics, each in 2 ms; ``there`` are those that exist."""

    def __init__(self) -> None:
        self.now = 0.0
        self.there: set[str] = set()
        own = Outlets("r", "d", "e", "g", "s", 2_000_000, lambda topic: False, len)
        self.outputs = ShardOutputs(0, "", own, lambda: self.now, Delays(), lambda: True)
        self.outputs.begin(0, self.now)

    def answer(self, steps: Asks) -> Any:
        try:
            asked = next(steps)
            while True:
                self.now += LOOK_S
                asked = steps.send(None if asked.topic in self.there else MISSING)
        except StopIteration as done:
            return done.value

    def batch_within(self, limit_s: float) -> Batch:
        """Return the first transaction that has something to write."""
        end = self.now + limit_s
        while self.now < end:
            batch = self.answer(self.outputs.batch(self.now, 50_000, 100_000_000))
            if batch is not None and batch.turns:
                return batch  # type: ignore[no-any-return]
            self.now += 1.0
        raise AssertionError(f"nothing was published within {limit_s} s")

    def letters(self, batch: Batch) -> list[DeadLetter | None]:
        found = self.outputs.outputs(batch)
        return [None if each.letter is None else each.letter.dead_letter() for each in found]


def record(topic: str) -> Publish:
    return Publish(topic, b"k", b"v", {}, "w", "run")


@pytest.mark.parametrize(("count", "limit_s"), [(1, 6), (200, 7), (900, 14), (5_000, 30)])
@pytest.mark.parametrize("in_one_turn", [True, False], ids=["in one turn", "in many"])
def test_topics_that_do_not_exist_are_waited_for_together_however_many_there_are(
    count: int, limit_s: float, in_one_turn: bool
) -> None:
    brokers = Brokers()
    brokers.there = {"there"}
    records = [record(f"t{number}") for number in range(count)] + [record("there")]
    for offset, turn in enumerate([records] if in_one_turn else [[each] for each in records]):
        brokers.outputs.publish(offset, turn)
    letters: list[DeadLetter | None] = []
    while len(letters) <= count:
        batch = brokers.batch_within(limit_s)
        letters += brokers.letters(batch)
        brokers.outputs.committed(batch, brokers.now)
    assert brokers.now < limit_s
    *missing, last = letters
    assert last is None, "what has a topic is no letter"
    assert all(each and "the topic does not exist" in each.reason for each in missing)


def test_a_topic_that_was_just_made_is_waited_for_though_many_are_missing() -> None:
    brokers = Brokers()
    brokers.outputs.publish(0, [record(f"t{number}") for number in range(1_500)])
    brokers.letters(batch := brokers.batch_within(60))
    brokers.outputs.committed(batch, brokers.now)
    brokers.now += 601
    brokers.outputs.publish(1, [record("new")])
    assert brokers.answer(brokers.outputs.batch(brokers.now, 100, 1_000)) is None
    brokers.there = {"new"}
    assert brokers.letters(brokers.batch_within(3)) == [None]
