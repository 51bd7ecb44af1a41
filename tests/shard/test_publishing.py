"""Two claims of one shard by the same process: what the first one left under way."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from processor.core.records.effects import Publish
from processor.node.publishing.faults import PublishingFailed
from processor.node.publishing.publishing import Publishing
from processor.node.publishing.steps import (
    Committed,
    Exclusively,
    LastCommitted,
    Standing,
    Transact,
)

from .outlets import OWN, Delays

OURS = Standing({0: 1}, {0: 1})


class Broker:
    """Answers the steps of flows; ``positions`` are those that were committed for the shard."""

    def __init__(self) -> None:
        self.positions = [20]
        self.writer = "another process"

    def answer(self, step: Any) -> Any:
        match step:
            case LastCommitted():
                return self.writer
            case Committed():
                return [self.positions[-1] for _ in step.shards]
            case Transact():
                self.positions += [batch.position for batch in step.batches]
                self.writer = "ours"
        return None

    def play(self, steps: Generator[Any, Any, Any]) -> Any:
        """Play a flow to its end."""
        answer: Any = None
        try:
            while True:
                asked = steps.send(answer)
                is_whole = isinstance(asked, Exclusively)
                answer = self.play(asked.steps) if is_whole else self.answer(asked)
        except StopIteration as done:
            return done.value

    def play_until_its_turn(self, steps: Generator[Any, Any, Any]) -> Exclusively:
        """Play a flow until it waits for its second turn, the one in which it writes."""
        answer, turns = None, 0
        while True:
            asked = steps.send(answer)
            turns += isinstance(asked, Exclusively) and asked.what == "transaction"
            if turns == 2:
                assert isinstance(asked, Exclusively)
                return asked
            is_whole = isinstance(asked, Exclusively)
            answer = self.play(asked.steps) if is_whole else self.answer(asked)


def test_a_claim_that_was_given_up_moves_no_position_back() -> None:
    """The shard went to another process and came back while the first claim waited its turn."""
    publishing = Publishing("ours", OWN, lambda: OURS, lambda: 5.0, Delays)
    broker = Broker()
    first, second = (publishing.shard(0, "", lambda: False) for _ in range(2))
    waits = publishing.take_over(first)
    its_turn = broker.play_until_its_turn(waits)
    publishing.remove(first)
    assert broker.play(publishing.take_over(second)) == 20
    second.publish(27, [Publish("topic", b"k", b"v", {}, "w", "run")])
    broker.play(publishing.round())
    assert broker.positions == [20, 20, 28]
    with pytest.raises(PublishingFailed, match="not ours"):
        broker.play(its_turn.steps)
    assert broker.positions == [20, 20, 28]
