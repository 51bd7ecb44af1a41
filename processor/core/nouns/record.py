"""Records that the code publishes to topics of the user's."""

from __future__ import annotations

from collections.abc import Sequence

from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.event import Decision, Whose
from processor.core.records.effects import Effect, Publish

__all__ = ("RecordPublished",)


@frozen
class RecordPublished(Decision):
    """The code published a record on a topic of the user's, exactly once."""

    topic: str
    """Name of the topic."""
    key: bytes | None
    """Key of the record."""
    value: bytes | None
    """Value of the record; None is a tombstone."""
    headers: Headers = NO_HEADERS

    identity = ("topic",)
    payloads = ("key", "value")

    def apply(self, run: Whose, now_ms: int) -> None:
        pass

    def effects(self, run: Whose, now_ms: int) -> Sequence[Effect]:
        of = run.workflow_id, run.run_id
        return (Publish(self.topic, self.key, self.value, self.headers, *of),)
