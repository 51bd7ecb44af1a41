"""What a run publishes that cannot be delivered, and which names topics may have."""

from __future__ import annotations

import re
from typing import Final

from processor.core.frozen import frozen

__all__ = ("TOPIC_NAME_RULE", "Undelivered", "is_topic_name")

TOPIC_NAME_RULE: Final = "1 to 249 letters, digits, '.', '_' and '-' (ASCII), and not '.' or '..'"
_TOPIC_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}")
_REASONS_MAX: Final = 10


@frozen
class Undelivered:
    """How many records of a run are in dead letters, and why the first ten of them are."""

    count: int = 0
    reasons: tuple[str, ...] = ()

    def with_reason(self, reason: str) -> Undelivered:
        return Undelivered(self.count + 1, (*self.reasons, reason)[:_REASONS_MAX])


def is_topic_name(name: object) -> bool:
    """Return whether Kafka can have a topic of this name."""
    return isinstance(name, str) and _TOPIC_NAME.fullmatch(name) is not None
