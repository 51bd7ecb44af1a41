"""Values that the code records: side effects, and the status that it shows."""

from __future__ import annotations

from dataclasses import dataclass

from processor.core.data.fields import RequestId
from processor.core.data.frozen import frozen
from processor.core.event import Decision
from processor.core.nouns.run import Run

__all__ = ("SideEffectRecorded", "StatusSet", "Values")


@dataclass
class Values(Run):
    custom_status: bytes | None = None


@frozen
class SideEffectRecorded(Decision):
    """The code recorded a value that replay must not compute again."""

    id: RequestId
    value: bytes | None
    """Encoded value."""

    identity = ("id",)

    def apply(self, run: Values, now_ms: int) -> None:
        pass


@frozen
class StatusSet(Decision):
    """The code published its status for queries."""

    value: bytes | None
    """Encoded value."""

    payloads = ("value",)

    def apply(self, run: Values, now_ms: int) -> None:
        run.custom_status = self.value
