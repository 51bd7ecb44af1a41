"""The table of the look-up: Faust's, in RocksDB, with a changelog that Faust does not make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import faust
from faust.stores import rocksdb
from faust.types import TP
from yarl import URL

from processor.errors import StoreCorrupt
from processor.store.rocks import is_held, is_of_the_disk
from processor.views.stream.lookup.entries import Change

__all__ = ("NAME", "LookupStore", "LookupTable")

NAME: Final = "instances"
_DELETED_AT_ONCE: Final = 1_000

_OPTIONS: Final = {
    "driver": "rocksdict",
    "block_cache_size": 16 << 20,
    "write_buffer_size": 4 << 20,
    "max_write_buffer_number": 2,
    "max_open_files": 64,
}
"""Of each partition. Faust's own are 2 GiB of cache and 192 MiB of buffers."""


class LookupStore(rocksdb.Store):
    """Is asked for a partition: Faust's own asks all of them, or that of the event at hand.

    Where its disk fails, or has lost what was written, so does the application: Faust would go on
    without it. What is read raises ``OSError`` then, or ``StoreCorrupt``.
    """

    app: Any

    def value(self, partition: int, key: bytes) -> bytes | None:
        database = self._db_for_partition(partition)
        with self._usable():
            found: bytes | None = database.get(key)
        return found

    def keys_of(self, partition: int) -> Iterator[bytes]:
        database = self._db_for_partition(partition)
        with self._usable():
            yield from self._visible_keys(database)

    def apply_changelog_batch(self, *given: Any, **how: Any) -> None:
        """Write, unless the application has failed: Faust writes once more as it stops."""
        failed = self.app.failed
        if failed.done() and not failed.cancelled():
            return
        with self._usable():
            super().apply_changelog_batch(*given, **how)

    def persisted_offset(self, tp: TP) -> int | None:
        with self._usable():
            found: int | None = super().persisted_offset(tp)
        return found

    def set_persisted_offset(self, *given: Any) -> None:
        with self._usable():
            super().set_persisted_offset(*given)

    def _open_for_partition(self, partition: int) -> Any:
        with self._usable():
            return super()._open_for_partition(partition)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # RocksDB's have no class of their own
            said = str(error)
            # What has the files has not ended yet, and Faust tries it again; or it is told already.
            if is_held(said) or self.app.failed.done():
                raise
            failed: Exception = StoreCorrupt(f"they cannot be read ({said})")
            if is_of_the_disk(said):
                failed = OSError(
                    f"the table of the look-up in {self.path} cannot be used ({said}): look at the "
                    "room and the permissions there. It is a cache: its folder may be deleted"
                )
            self.app.failed.set_exception(failed)
            raise failed from error


class _Place(NamedTuple):
    tp: TP
    offset: int
    partition: int
    key: bytes
    value: bytes | None


class _Written(NamedTuple):
    """As much of an event as the store of a table looks at."""

    message: _Place


class LookupTable(faust.Table[bytes, bytes]):
    """``topic`` is its changelog. What is written is there before it is in the table."""

    data: LookupStore

    def __init__(self, app: faust.App, topic: str, partitions: int) -> None:
        self._topic = topic
        super().__init__(app, name=NAME, partitions=partitions, key_type=bytes, value_type=bytes)

    def value(self, partition: int, key: bytes) -> bytes | None:
        """Return what is under a key of a partition."""
        return self.data.value(partition, key)

    def is_empty(self, partition: int) -> bool:
        return next(self.data.keys_of(partition), None) is None

    async def write(self, partition: int, changes: Sequence[Change]) -> list[Any]:
        """Write to the changelog; return what is to be applied, all of it acknowledged."""
        send = self.app.producer.send
        sent = [
            await send(self._topic, key, value, partition, None, None) for key, value in changes
        ]
        place = TP(self._topic, partition)
        return [
            _Written(_Place(place, (await each).offset, partition, key, value))
            for each, (key, value) in zip(sent, changes, strict=True)
        ]

    async def empty(self, partition: int) -> None:
        """Delete all that a partition has."""
        keys = list(self.data.keys_of(partition))
        for begin in range(0, len(keys), _DELETED_AT_ONCE):
            gone = [(key, None) for key in keys[begin : begin + _DELETED_AT_ONCE]]
            self.apply_changelog_batch(await self.write(partition, gone))

    def _changelog_topic_name(self) -> str:
        return self._topic

    def _new_store(self) -> Any:
        how: dict[str, Any] = {"key_serializer": "raw", "value_serializer": "raw"}
        how |= {"table_name": NAME, "key_type": bytes, "value_type": bytes}
        return LookupStore(URL("rocksdb://"), self.app, self, options=dict(_OPTIONS), **how)
