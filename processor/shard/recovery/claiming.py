"""The claims that a fold meets, and the records that do not count under them."""

from __future__ import annotations

from processor.shard.ports import Changes, Checkpoint, ClaimRow, Tables

__all__ = ("Claiming",)


class Claiming:
    """``last`` is the last claim so far; ``level`` is the highest one, ``ghosts`` counts all.

    A claim may be forgotten once the next one has come, unless there are ghosts under it: without
    it they would count.
    """

    def __init__(self, tables: Tables, before: Checkpoint) -> None:
        self.level = before.level
        self.ghosts = 0
        self.last = ClaimRow(before.epoch, b"")
        for row in tables.claims():
            if row.offset == before.epoch:
                self.last = row

    def begin(self, offset: int, key: bytes, level: int, changes: Changes) -> None:
        """Begin the time of a claim."""
        former = self.last
        if former.offset >= 0 and not former.ghosts:
            changes.claims[former.offset] = None
            changes.replaced += [former.key] if former.key else []
        self.last = ClaimRow(offset, key)
        changes.claims[offset] = self.last
        self.level = max(self.level, level)

    def ghost(self, offset: int, key: bytes, changes: Changes) -> None:
        """Count a record that does not count. Before the first claim there is nothing of ours."""
        self.ghosts += 1
        changes.replaced.append(key)
        if self.last.offset >= 0:
            self.last = self.last.exposing((offset,))
            changes.claims[self.last.offset] = self.last
