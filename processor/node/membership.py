"""Which shards are this process's, as far as it has heard: what a member of a group knows.

Two machines without threads, clocks or clients. Group membership is about who tries. Who may write
is decided by the claim alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Final

from processor.node.publishing.steps import Standing

__all__ = ("Assignments", "Confirmations")

_COMMIT_EVERY_S: Final = 5.0


class Assignments:
    """``lost``: the member lost its place in the group, and has no other yet.

    Whoever serves the group changes it; ``standing`` is read from any thread.
    """

    def __init__(self) -> None:
        self.lost = False
        self._group: object = None
        self._owned: Mapping[int, int] = {}
        self._count = 0

    @property
    def standing(self) -> Standing:
        """What a transaction needs to be accepted, and what it may be about.

        The generation first: a shard is taken out of ``owned`` before a generation can begin in
        which it is somebody else's.
        """
        group = self._group
        return Standing(group, self._owned)

    def assigned(self, group: object, partitions: Iterable[int]) -> None:
        """Begin a generation, in which these shards are ours besides: by a new assignment."""
        self._group = group
        self.lost = False
        self._count += 1
        self._owned = {**self._owned, **dict.fromkeys(partitions, self._count)}

    def given_up(self, partitions: Iterable[int]) -> None:
        """Own these shards no more, before they can be somebody else's."""
        gone = frozenset(partitions)
        self._owned = {p: number for p, number in self._owned.items() if p not in gone}


class Confirmations:
    """Asks the group's coordinator by a commit, which it refuses from whoever is no member.

    The positions are committed every few seconds, too, for the tools that show lag; nobody ever
    begins there. One commit is under way at a time; one without an answer after ``patience_s`` is
    a no. ``next_command`` tells the offset in ``commands`` that a shard reads next (-1: unknown).
    """

    def __init__(self, patience_s: float, next_command: Callable[[int], int], now: float) -> None:
        self._patience_s = patience_s
        self._next_command = next_command
        self._asked: deque[tuple[int, Future[bool]]] = deque()
        self._waiting: list[Future[bool]] | None = None
        self._due_at = now + _COMMIT_EVERY_S
        self._until = 0.0
        self._last: dict[int, int] = {}

    def ask(self, partition: int) -> Future[bool]:
        """Ask whether a shard is ours. From any thread."""
        answer: Future[bool] = Future()
        self._asked.append((partition, answer))
        return answer

    def commits(self, owned: Iterable[int], now: float) -> Mapping[int, int]:
        """Return the positions that are to be committed now, by shard; none where it is not time.

        ``answer`` has to follow.
        """
        if self._waiting is not None:
            if now > self._until:
                self.answer(False)
            return {}
        if not self._asked and now < self._due_at:
            return {}
        self._due_at = now + _COMMIT_EVERY_S
        waiting, partitions = [], set(owned)
        while self._asked:
            partition, answer = self._asked.popleft()
            if partition in partitions:
                waiting.append(answer)
            else:
                answer.set_result(False)
        positions = self._positions(partitions, bool(waiting))
        if positions:
            self._waiting = waiting
            self._until = now + self._patience_s
        return positions

    def answer(self, confirmed: bool) -> None:
        """Tell whoever asked before the commit that is under way."""
        waiting, self._waiting = self._waiting or [], None
        for answer in waiting:
            if not answer.done():
                answer.set_result(confirmed)

    def _positions(self, partitions: Iterable[int], all_of_them: bool) -> Mapping[int, int]:
        positions = {}
        for partition in partitions:
            position = self._next_command(partition)
            if position < 0:
                position = self._last.get(partition, 0)
            if all_of_them or self._last.get(partition) != position:
                self._last[partition] = positions[partition] = position
        return positions
