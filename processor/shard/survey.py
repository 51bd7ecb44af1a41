"""Which level of the log's format a shard is at, as the end of its log tells."""

from __future__ import annotations

from typing import Final, get_args

from processor.codec.records import LogRecordBody, decode, encode
from processor.core.turn import LEVEL_FIRST, Claim, claim_key
from processor.errors import ReleaseTooOld, TooNew
from processor.shard.ports import LogReader

__all__ = ("entry_of", "level_of_log", "raises", "too_old")

_IN_THE_LOG: Final = get_args(LogRecordBody)
_LAST_RECORDS: Final = 64
_FURTHER: Final = 8


def level_of_log(partition: int, log: LogReader) -> int:
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
                entry = entry_of(partition, record.offset, record.value)
                if isinstance(entry, Claim):
                    named, level = record.offset, max(level, entry.level)
                else:
                    named = max(named, entry.epoch)
        if first <= named < begin:
            for record in log.read(named, named + 1):
                claim = entry_of(partition, record.offset, record.value or b"")
                if isinstance(claim, Claim):
                    level = max(level, claim.level)
        if named >= 0 or begin == first:
            return level
        width *= _FURTHER


def raises(nonce: str, level: int, now_ms: int) -> tuple[bytes, bytes]:
    """Return key and value of the claim that raises a shard to a level."""
    return claim_key(nonce), encode(Claim("processor upgrade", nonce, level, now_ms))


def entry_of(partition: int, offset: int, value: bytes) -> LogRecordBody:
    """Return a record of the log. Raises ``ReleaseTooOld`` where a later release wrote it."""
    try:
        entry = decode(value)
    except TooNew as error:
        raise ReleaseTooOld(
            f"shard {partition}: log offset {offset} cannot be read: {error}. Use a release that "
            "knows it; nothing was changed"
        ) from error
    assert isinstance(entry, _IN_THE_LOG), f"events offset {offset} holds {entry}"
    return entry  # type: ignore[no-any-return]  # get_args has no types


def too_old(where: str, level: int, known: int) -> ReleaseTooOld:
    """Return what to raise where the level is above the one that this release knows."""
    return ReleaseTooOld(
        f"{where} is at level {level} of the log's format, and this release knows level {known}. "
        "Start a later release; this process leaves the work to others"
    )
