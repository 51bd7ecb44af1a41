"""Records that a connection cannot use: their dead letters, and what a replay makes of these."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Final, NamedTuple

from confluent_kafka import Message

from processor.codec.records import decode_as
from processor.connect.values import Raw
from processor.core.data.failure import shortened, writable
from processor.core.records.effects import DeadLetter
from processor.errors import SchemaMismatch
from processor.kafka.clients.headers import Headers, headers_of
from processor.kafka.publishing.writing import TOPIC_HEADER

__all__ = ("CONNECTION_HEADER", "Buried", "buried", "raw_of", "retried", "with_headers")

CONNECTION_HEADER: Final = "connection"
"""The header of a dead letter that has the group of the connection whose record it is."""

_TIMESTAMP: Final = "timestamp-ms"
_THEIRS: Final = "header."
_HEADERS_BYTES_MAX: Final = 50_000
_TEXT_MAX: Final = 2_000


class Buried(NamedTuple):
    """A dead letter, and the headers of its record."""

    letter: DeadLetter
    headers: Headers


def raw_of(message: Message) -> Raw:
    """Return a record as functions' readers take it, without its headers."""
    kind, timestamp_ms = message.timestamp()
    place = message.topic() or "", message.partition() or 0, message.offset() or 0
    return Raw(*place, timestamp_ms if kind else -1, message.key(), message.value())


def with_headers(raw: Raw, message: Message) -> Raw:
    """Return the record with its headers. Raises ``SchemaMismatch``."""
    return raw._replace(headers=_in_bytes(headers_of(message)))


def buried(raw: Raw, group: str, error: BaseException) -> Buried:
    """Return the dead letter of a record that cannot be used."""
    kind = type(error).__name__
    try:
        text = shortened(str(error), _TEXT_MAX)
    except BaseException:  # an error of the user's whose text raises
        text = "(its text cannot be read)"
    reason = f"connection {group!r}: {kind}: {text}{_where(error)}"
    headers: Headers = [
        (TOPIC_HEADER, raw.topic.encode()),
        (CONNECTION_HEADER, group.encode()),
        (_TIMESTAMP, b"%d" % raw.timestamp_ms),
    ]
    theirs: Headers = [(f"{_THEIRS}{name}", value) for name, value in raw.headers]
    size = sum(len(name) + len(value or b"") for name, value in theirs)
    if size <= _HEADERS_BYTES_MAX:
        headers += theirs
    else:
        reason += f" (its headers, {size:,} bytes, are not here)"
    place = raw.topic, raw.partition, raw.offset
    return Buried(DeadLetter(*place, raw.key, raw.value, writable(reason)), headers)


def retried(message: Message) -> Raw:
    """Return the record of a dead letter that was replayed. Raises ``SchemaMismatch``."""
    letter = decode_as(DeadLetter, message.value() or b"")
    headers = _in_bytes(headers_of(message))
    timestamp = dict(headers).get(_TIMESTAMP) or b"-1"
    theirs = tuple(
        (name.removeprefix(_THEIRS), value) for name, value in headers if name.startswith(_THEIRS)
    )
    try:
        timestamp_ms = int(timestamp)
    except ValueError:
        raise SchemaMismatch(f"its header {_TIMESTAMP} is no number: {timestamp!r}") from None
    place = letter.topic, letter.partition, letter.offset
    return Raw(*place, timestamp_ms, letter.key, letter.value, theirs)


def _in_bytes(headers: Headers) -> tuple[tuple[str, bytes | None], ...]:
    return tuple(
        (name, value.encode() if isinstance(value, str) else value) for name, value in headers
    )


def _where(error: BaseException) -> str:
    """Return the line that raised, where it is not one of ours."""
    if isinstance(error, SchemaMismatch):
        return ""
    frames: Sequence[traceback.FrameSummary] = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
