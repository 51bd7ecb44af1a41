"""What the embedded runtime keeps on disk: the log, outputs, dead letters.

Everything that one pass of the loop wrote is committed together, with one fsync.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import msgspec

from processor.codec.records import encode
from processor.core.records.effects import DeadLetter, RunResult
from processor.shard.ports import LogRecord, OutputRecord
from processor.store.keyvalue import Durable, Mutation
from processor.store.rocks import Rocks

__all__ = ("FAMILIES", "Disk", "DiskLog", "open_disk")

Committed = Sequence[Callable[[], None]]

_Output: TypeAlias = tuple[str, bytes | None, bytes | None]
"""Topic, key and value."""

FAMILIES = ("log", "outputs", "dead-letters", "meta")


def open_disk(path: Path, *, sync: bool) -> Disk:
    """Open (or make) the store; raises ``StateDirectoryInUse`` where another process has it."""
    return Disk(Rocks(path, FAMILIES), sync=sync)


class Disk:
    """A store and the mutations that wait for the next commit.

    ``on_dirty`` is called, from any thread, when there is something to commit. Without ``sync``
    a commit survives the end of the process, but no power cut.
    """

    def __init__(self, store: Durable, *, sync: bool = True) -> None:
        self._store = store
        self._sync = sync
        self._given_up = False
        self._lock = Lock()
        self._pending: list[Mutation] = []
        self._committed: list[Callable[[], None]] = []
        self.on_dirty: Callable[[], None] = lambda: None

    def put(
        self,
        family: str,
        key: bytes,
        value: bytes | None,
        committed: Callable[[], None] | None = None,
    ) -> None:
        """Write this with the next commit, and call back when it is durable."""
        with self._lock:
            self._pending.append((family, key, value))
            if committed is not None:
                self._committed.append(committed)
        self.on_dirty()

    def then(self, callback: Callable[[], None]) -> None:
        """Call back once everything that was put before now is durable."""
        with self._lock:
            self._committed.append(callback)
        self.on_dirty()

    @property
    def dirty(self) -> bool:
        """Whether something waits for a commit that can be made."""
        return bool(self._pending or self._committed) and not self._given_up

    def give_up(self) -> None:
        """Commit nothing more: what comes after a turn that was lost must not be there."""
        self._given_up = True

    def write(self) -> Committed:
        """Begin a commit: write what waits; return whom to tell once ``flush`` is through."""
        with self._lock:
            pending, self._pending = self._pending, []
            committed, self._committed = self._committed, []
        if pending:
            self._store.write(pending)
        return committed

    def flush(self) -> None:
        """Make what was written durable. Blocks; other threads run meanwhile."""
        if self._sync:
            self._store.sync()

    def commit(self) -> None:
        """Make what waits durable, at once."""
        committed = self.write()
        self.flush()
        for callback in committed:
            callback()

    def scan(self, family: str, first: int = 0) -> Iterator[tuple[int, bytes]]:
        for key, value in self._store.scan(family, number_key(first)):
            yield int.from_bytes(key[:8], "big"), value

    def put_output(self, offset: int, index: int, record: OutputRecord) -> None:
        """Keep an output under its place in the log: written twice, it is there once."""
        output: _Output
        if isinstance(record, RunResult):
            output = ("results", record.workflow_id.encode(), encode(record))
        else:
            output = (record.topic, record.key, record.value)
        key = number_key(offset) + index.to_bytes(4, "big")
        self.put("outputs", key, msgspec.msgpack.encode(output))

    def outputs(self) -> Iterator[_Output]:
        """Yield what was published, in log order."""
        for _, value in self.scan("outputs"):
            yield msgspec.msgpack.decode(value, type=_Output)

    def put_dead_letter(self, number: int, letter: DeadLetter) -> None:
        self.put("dead-letters", number_key(number), encode(letter))

    def identity(self) -> str:
        """Return the name that this log was given when it was made."""
        held = self._store.get("meta", b"identity")
        if held is None:
            held = uuid.uuid4().hex.encode()
            self._store.write([("meta", b"identity", held)])
        return held.decode()

    def claim(self, namespace: str) -> str:
        """Return the namespace that this log is of: this one, where it has none yet."""
        held = self._store.get("meta", b"namespace")
        if held is None:
            held = namespace.encode()
            self._store.write([("meta", b"namespace", held)])
        return held.decode()

    def end_of(self, family: str) -> int:
        """Return the number after the last one in a family."""
        last = self._store.last(family)
        return 0 if last is None else int.from_bytes(last[:8], "big") + 1

    def close(self) -> None:
        if self.dirty:
            self.commit()
        self._store.close()


class DiskLog:
    """The ``Log`` port over a ``Disk``."""

    def __init__(self, disk: Disk) -> None:
        self.id = bytes.fromhex(disk.identity())
        self.disk = disk
        self._next = disk.end_of("log")
        self._acknowledged: deque[int] = deque()

    def append(self, key: bytes, value: bytes | None) -> None:
        offset = self._next
        self._next += 1
        body = len(key).to_bytes(2, "big") + key + (b"\0" if value is None else b"\1" + value)
        self.disk.put("log", number_key(offset), body, partial(self._acknowledged.append, offset))

    @property
    def waiting(self) -> bool:
        return bool(self._acknowledged)

    def acknowledged(self) -> list[int]:
        drained = list(self._acknowledged)
        self._acknowledged.clear()
        return drained

    def read_along(self, first: int, end: int) -> Iterator[LogRecord | None]:
        return self.read(first, end)

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        for offset, body in self.disk.scan("log", first):
            if offset >= end:
                return
            size = int.from_bytes(body[:2], "big")
            key, rest = body[2 : 2 + size], body[2 + size :]
            yield LogRecord(offset, key, rest[1:] if rest[0] else None)

    def bounds(self) -> tuple[int, int]:
        return 0, self._next


def number_key(number: int) -> bytes:
    return number.to_bytes(8, "big")
