"""What the look-up holds: the latest run of each workflow id, and how far a partition is.

An entry says itself how far it is. So a record that is read again changes nothing, also where two
processes wrote to the changelog, because the one did not know yet that the partition is the
other's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final, TypeAlias

import msgspec

from processor.views.fold import VERSION, Folded, Row, folded
from processor.views.place import LogEntry, LogPlace, untaken

__all__ = (
    "Change",
    "LatestRun",
    "Position",
    "anew_because",
    "changes",
    "entry_of",
    "forgotten",
    "position_key",
    "position_of",
)

Change: TypeAlias = tuple[bytes, bytes | None]
"""Key and value of a record of the changelog; None deletes."""


class LatestRun(msgspec.Struct, frozen=True, array_like=True):
    """``position`` is the offset after the last record that is in it."""

    position: int
    row: Row


class Position(msgspec.Struct, frozen=True, array_like=True):
    """How far a partition is, in the log of this id; ``epoch`` is the claim of its last record."""

    log: str
    position: int = 0
    epoch: int = -1
    version: int = VERSION


_encode: Final = msgspec.msgpack.Encoder().encode
_entries: Final = msgspec.msgpack.Decoder(LatestRun)
_positions: Final = msgspec.msgpack.Decoder(Position)


def position_key(partition: int) -> bytes:
    """Return the key of a partition's position, which is no UTF-8, and so no workflow id."""
    return b"\xffposition-%d" % partition


def position_of(value: bytes | None, log: str) -> Position | None:
    """Return how far a partition is; None where that is not known, or is about another log."""
    found = _read(value)
    if found is None or found.log != log or found.version != VERSION:
        return None
    return found


def anew_because(value: bytes | None, log: str) -> str:
    """Return why nothing goes on from a position, for people."""
    found = _read(value)
    if found is None:
        return "it does not say how far it is"
    if not found.log:
        return "that was asked for (`processor views rebuild --lookup`)"
    if found.log != log:
        return "it is of another log, which was deleted"
    return (
        f"it is of another release (format {found.version}, and this one has {VERSION}). Let all "
        "processes of the look-up be of one release: else it is made anew whenever they share the "
        "partitions anew"
    )


def _read(value: bytes | None) -> Position | None:
    try:
        return None if value is None else _positions.decode(value)
    except (msgspec.MsgspecError, ValueError):
        return None


def forgotten() -> bytes:
    """Return what stands for no position. It is no tombstone, which the cleaner may remove: Faust
    waits for the last record of a changelog, and would wait for ever.
    """
    return _encode(Position(""))


def entry_of(value: bytes | None) -> LatestRun | None:
    """Return an entry of the table."""
    return None if value is None else _entries.decode(value)


def changes(
    at: Position,
    partition: int,
    entries: Iterable[LogEntry],
    known: Callable[[bytes], bytes | None],
) -> tuple[Position, list[Change]]:
    """Return the position after records of the log, and what they change; its own record is last.

    ``known`` returns what the table has under a key.
    """
    place = LogPlace(at.position, at.epoch)
    now: dict[str, LatestRun | None] = {}
    before: dict[str, LatestRun | None] = {}
    for entry in untaken(entries, place):
        place, record = place.after(entry)
        if record is not None:
            id = record.workflow_id
            if id not in now:
                now[id] = before[id] = entry_of(known(id.encode()))
            now[id] = _after(now[id], entry.offset, record)
    if place.position == at.position:
        return at, []
    found = [
        (id.encode(), None if entry is None else _encode(entry))
        for id, entry in now.items()
        if entry != before[id]
    ]
    there = Position(at.log, place.position, place.epoch)
    return there, [*found, (position_key(partition), _encode(there))]


def _after(entry: LatestRun | None, offset: int, record: Folded) -> LatestRun | None:
    if entry is not None and offset < entry.position:
        return entry
    before = entry.row if entry is not None and entry.row.run_id == record.run_id else None
    row = folded(before, record)
    if row is None:  # what is said of an earlier run changes nothing
        return entry if before is None else None
    return LatestRun(offset + 1, replace(row, attributes=None))
