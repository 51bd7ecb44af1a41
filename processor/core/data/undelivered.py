"""What a run publishes that cannot be delivered."""

from __future__ import annotations

from typing import Final

from processor.core.data.frozen import frozen

__all__ = ("Undelivered",)

_REASONS_MAX: Final = 10


@frozen
class Undelivered:
    """How many records of a run are in dead letters, and why the first ten of them are."""

    count: int = 0
    reasons: tuple[str, ...] = ()

    def with_reason(self, reason: str) -> Undelivered:
        return Undelivered(self.count + 1, (*self.reasons, reason)[:_REASONS_MAX])
