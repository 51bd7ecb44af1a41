"""Records that the code publishes to topics of the user's."""

from __future__ import annotations

from typing import Any

from processor import checks
from processor.core.nouns.record import RecordPublished
from processor.errors import InvalidArgument
from processor.workflow._context import current
from processor.workflow._frames import line_here

__all__ = ("publish",)


def publish(topic: str, key: str | bytes | None, value: Any) -> None:
    """Send a record to a Kafka topic of yours, exactly once for ``read_committed`` consumers.

    ``bytes`` are sent as they are, any other value as JSON: other programs read it, so it goes
    through nothing of ``payloads=``. Records of a run leave in order. A record that its topic will
    never take is a dead letter. Raises ``InvalidArgument`` for a name that no topic can have.
    """
    decisions, line = current("publish").decisions, line_here()
    topic = checks.topic(topic, "workflow.publish: topic")
    if isinstance(key, str):
        key = checks.text(key, "workflow.publish: key").encode()
    elif not (key is None or isinstance(key, bytes)):
        raise InvalidArgument(
            f"workflow.publish: key: give text, bytes or None, not {checks.shown(key)}"
        )
    what = f"a record for topic {topic!r}"
    payload = value if isinstance(value, bytes) else decisions.encode(value, what, clear=True)
    size = len(payload or b"") + len(key or b"")
    decisions.check_size(size, what)
    decisions.add(RecordPublished(topic, key, payload), line, size, what)
