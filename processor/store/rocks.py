"""RocksDB as a ``KeyValue``: one database a shard, one column family a table."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import rocksdict

from processor.errors import StateDirectoryInUse, StoreCorrupt
from processor.store.keyvalue import FAMILIES, Mutation

__all__ = ("Rocks", "destroy")

_MEMTABLE_BYTES = 32 * 1024 * 1024


class Rocks:
    """``sync``: every batch survives a power cut, not only the end of the process."""

    def __init__(
        self,
        path: Path,
        families: Sequence[str] = FAMILIES,
        *,
        sync: bool = False,
        read_only: bool = False,
    ) -> None:
        self._path = path
        self._closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        access = (
            rocksdict.AccessType.read_only() if read_only else rocksdict.AccessType.read_write()
        )
        try:
            self._database = rocksdict.Rdict(
                str(path),
                _options(),
                column_families={family: _options() for family in families},
                access_type=access,
            )
        except Exception as error:  # rocksdict raises bare Exceptions: the text says which
            raise _classed(path, error) from error
        self._families = {f: self._database.get_column_family(f) for f in families}
        self._handles = {f: self._database.get_column_family_handle(f) for f in families}
        self._write_options = rocksdict.WriteOptions()
        self._write_options.sync = sync

    def get(self, family: str, key: bytes) -> bytes | None:
        value: bytes | None = self._families[family].get(key)
        return value

    def write(self, mutations: Sequence[Mutation]) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        handles = self._handles
        for family, key, value in mutations:
            if value is None:
                batch.delete(key, handles[family])
            else:
                batch.put(key, value, handles[family])
        try:
            self._database.write(batch, self._write_options)
        except Exception as error:  # rocksdict raises bare Exceptions: the text says which
            raise _classed(self._path, error) from error

    def scan(self, family: str, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._families[family].iter()
        cursor.seek(first)
        while cursor.valid():
            yield cursor.key(), cursor.value()
            cursor.next()
        try:
            cursor.status()
        except Exception as error:  # rocksdict raises bare Exceptions: the text says which
            raise _classed(self._path, error) from error

    def last(self, family: str) -> bytes | None:
        cursor = self._families[family].iter()
        cursor.seek_to_last()
        key: bytes | None = cursor.key() if cursor.valid() else None
        return key

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._handles.clear()
        for family in self._families.values():
            family.close()
        self._families.clear()
        self._database.close()


def destroy(path: Path) -> None:
    """Delete a state directory; it is rebuilt from the log."""
    shutil.rmtree(path, ignore_errors=True)


def _options() -> rocksdict.Options:
    options = rocksdict.Options(raw_mode=True)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    options.set_write_buffer_size(_MEMTABLE_BYTES)
    options.set_max_write_buffer_number(3)
    options.set_keep_log_file_num(2)
    options.set_max_total_wal_size(4 * _MEMTABLE_BYTES)
    return options


def _classed(path: Path, error: Exception) -> Exception:
    """Return the error that says what to do: another owner, a corrupt store, or the disk's own."""
    text = str(error)
    if "lock" in text.lower() and ("LOCK" in text or "hold" in text):
        return StateDirectoryInUse(
            f"state directory {path} is held by another process ({text}). Stop that process, "
            "or give this one a directory of its own"
        )
    if "Corruption" in text or "Invalid argument" in text or "not found" in text:
        return StoreCorrupt(f"state directory {path} cannot be read ({text})")
    return OSError(f"state directory {path}: {text}")
