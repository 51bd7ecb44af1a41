"""What stands for what was fetched: one message for many records."""

from __future__ import annotations

from typing import NamedTuple

from processor.views.stream.app import Batches


class Fetched(NamedTuple):
    offset: int


def records(first: int, end: int) -> list[Fetched]:
    return [Fetched(offset) for offset in range(first, end)]


def offsets(batches: Batches, partition: int, last: int) -> list[int]:
    return [each.offset for each in batches.taken(partition, last)]


def test_the_last_record_stands_for_all_that_came_with_it() -> None:
    batches = Batches()
    assert batches.put(0, records(3, 6)).offset == 5
    assert batches.put(1, records(0, 2)).offset == 1
    batches.put(0, records(6, 7))
    assert len(batches) == 3
    assert offsets(batches, 0, 5) == [3, 4, 5]
    assert offsets(batches, 0, 5) == []
    assert offsets(batches, 0, 6) == [6]
    assert offsets(batches, 1, 1) == [0, 1]
    assert offsets(batches, 2, 9) == []
    assert len(batches) == 0


def test_what_has_lost_its_message_comes_with_the_next_one() -> None:
    batches = Batches()
    for first in (0, 2, 4):
        batches.put(0, records(first, first + 2))
    assert offsets(batches, 0, 3) == [0, 1, 2, 3]


def test_nothing_of_before_a_seek_is_left() -> None:
    batches = Batches()
    batches.put(0, records(0, 4))
    batches.clear()
    batches.put(0, records(2, 5))
    assert offsets(batches, 0, 3) == []  # a message of before, which is still on its way
    assert offsets(batches, 0, 4) == [2, 3, 4]
