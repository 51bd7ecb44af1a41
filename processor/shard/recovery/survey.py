"""What the records of the log are, and which level of its format a shard is at.

Anybody who may write to the topic can put a record there. What is no record of ours counts for
nobody and is deleted, as a ghost. What a later release may have written is never skipped.
"""

from __future__ import annotations

import logging
from typing import Final

from processor.codec.records import LEVEL, LogRecordBody, decode_entry, encode
from processor.core.records.turn import LEVEL_FIRST, Claim, claim_key
from processor.errors import ReleaseTooOld, TooNew
from processor.shard.ports import LogReader, LogRecord

__all__ = ("entry_of", "level_of_log", "raises", "stranger", "too_old")

_log = logging.getLogger("processor.shard")

_LAST_RECORDS: Final = 64
_KEY_SHOWN: Final = 200
_FURTHER: Final = 8
_TOO_HIGH: Final = (
    "%s[%d]: log offset %d is a claim of a level that this release does not know (%s, key %r). If "
    'nobody ran `processor upgrade` of a later release, it is forged: docs/reliability.md, "A '
    'record that is not ours"'
)


def level_of_log(partition: int, log: LogReader, topic: str = "events") -> int:
    """Return the activated level. Blocks. Raises ``ReleaseTooOld`` for a record of a later one.

    A record names its claim, and an owner goes on only under a claim of the highest level. The end
    of a log may be tombstones alone; then it is looked further back.
    """
    first, end = log.bounds()
    width = _LAST_RECORDS
    while True:
        begin = max(first, end - width)
        named, level = -1, LEVEL_FIRST
        for record in log.read(begin, end):
            if record.value is not None:
                entry = entry_of(topic, partition, record)
                if isinstance(entry, Claim):
                    named, level = record.offset, max(level, entry.level)
                    if entry.level > LEVEL:
                        _log.error(_TOO_HIGH, topic, partition, record.offset, entry, record.key)
                elif entry is not None:
                    named = max(named, entry.epoch)
        if first <= named < begin:
            for record in log.read(named, named + 1):
                claim = entry_of(topic, partition, record)
                if isinstance(claim, Claim):
                    level = max(level, claim.level)
        if named >= 0 or begin == first:
            return level
        width *= _FURTHER


def raises(nonce: str, level: int, now_ms: int) -> tuple[bytes, bytes]:
    """Return key and value of the claim that raises a shard to a level."""
    return claim_key(nonce), encode(Claim("processor upgrade", nonce, level, now_ms))


def entry_of(topic: str, partition: int, record: LogRecord) -> LogRecordBody | None:
    """Return a record of the log; None for what is no record of ours, or stands elsewhere.

    Raises ``ReleaseTooOld`` where a later release may have written it.
    """
    try:
        return decode_entry(record.value or b"", record.offset)
    except TooNew as error:
        raise ReleaseTooOld(
            f"{topic}[{partition}]: log offset {record.offset} (key {record.key[:_KEY_SHOWN]!r}) "
            f"cannot be read: {error}. Use a "
            "release that knows it; nothing was changed. If no release of processor wrote it, "
            'delete that record: docs/reliability.md, "A record that is not ours"'
        ) from error


def stranger(topic: str, partition: int, offset: int, count: int = 1) -> None:
    """Say that something else writes to the log. ``count``: how many records were found."""
    _log.warning(
        "%s[%d]: log offset %d holds no record of the log (%d such records were found): something "
        "else writes to this topic. The record does not count, and is deleted. Find out who wrote "
        "it, and let only the workers write there (ACLs)",
        topic,
        partition,
        offset,
        count,
    )


def too_old(where: str, level: int, known: int) -> ReleaseTooOld:
    """Return what to raise where the level is above the one that this release knows."""
    return ReleaseTooOld(
        f"{where} is at level {level} of the log's format, and this release knows level {known}. "
        "Start a later release; this process leaves the work to others"
    )
