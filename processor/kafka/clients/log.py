"""What librdkafka has to say, in ``processor.kafka.client``: each thing once in a while."""

from __future__ import annotations

import logging
import re
from time import monotonic

__all__ = ("Sparingly", "client_log")

_EVERY_S = 10.0
_KINDS_MAX = 1_000
_LEFT_OUT = ("enable.gapless.guarantee", "TXNERR")
"""No news: that a property is experimental, which is said at each start, and that a transaction
failed, of which the publisher tells by itself."""

_VARIES = re.compile(r"#\w+-\d+|after \d+ms|, \d+ identical error\(s\) suppressed")


class Sparingly(logging.Filter):
    """Lets a line pass once in ten seconds, whichever client of the process it is from.

    While no broker answers, each client tells of every connection that is refused: up to forty a
    second (measured with librdkafka 2.16, which bootstraps again when all brokers are down).
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}

    def filter(self, line: logging.LogRecord) -> bool:
        text = line.getMessage()
        if any(said in text for said in _LEFT_OUT):
            return False
        kind = _VARIES.sub("", text)
        now = monotonic()
        if now - self._passed_at.get(kind, -_EVERY_S) < _EVERY_S:
            return False
        if len(self._passed_at) >= _KINDS_MAX:
            self._passed_at.clear()
        self._passed_at[kind] = now
        return True


client_log = logging.getLogger("processor.kafka.client")
client_log.addFilter(Sparingly())
