"""RocksDB as a ``KeyValue``: one database a shard, one column family a table."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import rocksdict

from processor.errors import StateDirectoryInUse, StoreCorrupt
from processor.store.keyvalue import Mutation

__all__ = ("Rocks", "destroy", "is_held", "is_of_the_disk", "make_folder")

_log = logging.getLogger("processor.store")

_MEMTABLE_BYTES = 32 * 1024 * 1024
_MEMTABLES_BYTES = 128 * 1024 * 1024
"""Of all stores of a process together: each has a dozen families, and a process has many stores."""

_BLOCKS_BYTES = 128 * 1024 * 1024
"""What all of them together keep of what they have read."""

_NOT_THE_STORES_FAULT = (
    "No space left",
    "Disk quota exceeded",
    "File too large",
    "Permission denied",
    "Read-only file system",
    "Too many open files",
    "Cannot allocate memory",
    "Not a directory",
)
"""What wiping the directory would not mend; everything else is a directory to rebuild."""

_HELD_HERE: Final = "lock hold by current process"
_HELD: Final = ("While lock file:", _HELD_HERE)
"""How RocksDB says that another one has the database: a path may have any of its words."""

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600

_memtables = rocksdict.WriteBufferManager(_MEMTABLES_BYTES, False)
_blocks = rocksdict.Cache(_BLOCKS_BYTES)


_MARK: Final = b"\xff" * 8
"""The last key of each family of a store that is ``marked``."""


class Rocks:
    """What was written survives the end of the process; after ``sync``, a power cut as well.

    With ``marked``, each batch leaves its number in every family, and ``StoreCorrupt`` is raised
    where they differ: a manifest that was cut forgets files of some families only.
    """

    def __init__(
        self,
        path: Path,
        families: Sequence[str],
        *,
        read_only: bool = False,
        marked: bool = False,
    ) -> None:
        self._path = path
        self._closed = False
        self._read_only = read_only
        if not read_only:
            make_folder(path)
            _narrow(path, _FOLDER_MODE)
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
        if not read_only:
            _take_from_others(path)
        self._families = {f: self._database.get_column_family(f) for f in families}
        self._handles = {f: self._database.get_column_family_handle(f) for f in families}
        self._batch = self._last_batch() if marked else None

    def _last_batch(self) -> int:
        """Return the number of the batch that was written last."""
        marks = {family: self.get(family, _MARK) for family in self._families}
        if len(set(marks.values())) > 1:
            self.close()
            raise StoreCorrupt(
                f"state directory {self._path} has lost files: its families are not of one time"
            )
        return int.from_bytes(next(iter(marks.values())) or b"", "big")

    def get(self, family: str, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._families[family].get(key)
        except Exception as error:  # rocksdict raises bare Exceptions: the text says which
            raise _classed(self._path, error) from error
        return value

    def write(self, mutations: Sequence[Mutation]) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        handles = self._handles
        for family, key, value in mutations:
            if value is None:
                batch.delete(key, handles[family])
            else:
                batch.put(key, value, handles[family])
        if self._batch is not None:
            self._batch += 1
            mark = self._batch.to_bytes(8, "big")
            for handle in handles.values():
                batch.put(_MARK, mark, handle)
        try:
            self._database.write(batch)
        except Exception as error:  # rocksdict raises bare Exceptions: the text says which
            raise _classed(self._path, error) from error

    def sync(self) -> None:
        """Flush the log of writes to the disk; other threads run meanwhile."""
        try:
            self._database.flush_wal(True)
        except Exception as error:  # rocksdict raises bare Exceptions: the text says which
            raise _classed(self._path, error) from error

    def scan(self, family: str, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._families[family].iter()
        cursor.seek(first)
        while cursor.valid():
            key = cursor.key()
            if key == _MARK:
                return
            yield key, cursor.value()
            cursor.next()
        self._check(cursor)

    def last(self, family: str) -> bytes | None:
        cursor = self._families[family].iter()
        cursor.seek_to_last()
        if cursor.valid() and cursor.key() == _MARK:
            cursor.prev()
        if cursor.valid():
            key: bytes = cursor.key()
            return key
        self._check(cursor)
        return None

    def _check(self, cursor: rocksdict.RdictIter) -> None:
        """Raise if a cursor ended at a block that cannot be read, and not at the end."""
        try:
            cursor.status()
        except Exception as error:  # rocksdict raises bare Exceptions: the text says which
            raise _classed(self._path, error) from error

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._handles.clear()
        for opened in (*self._families.values(), self._database):
            try:
                opened.close()
            except Exception as error:  # a full disk; the directory must be let go all the same
                _log.warning("closing state directory %s: %s", self._path, error)
        self._families.clear()
        del opened, self._database
        if not self._read_only:
            _take_from_others(self._path)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for this user only.

    Folders that are there keep their rights: they may be others' too.
    """
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=_FOLDER_MODE, exist_ok=True)


def _take_from_others(path: Path) -> None:
    """Narrow the rights of the files of a store: histories hold what users pass.

    Those to come lie in a folder of its user's.
    """
    for each in path.iterdir():
        _narrow(each, _FILE_MODE)


def _narrow(path: Path, mode: int) -> None:
    try:
        held = path.stat().st_mode & 0o777
        if held & ~mode:
            path.chmod(held & mode)
    except FileNotFoundError:
        pass  # a store deletes files while it runs
    except OSError as error:
        _log.warning(
            "state directory %s can be read by other users, and that cannot be changed (%s): run"
            " `chmod -R go= %s` as its owner",
            path,
            error,
            path,
        )


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
    options.set_write_buffer_manager(_memtables)
    tables = rocksdict.BlockBasedOptions()
    tables.set_block_cache(_blocks)
    options.set_block_based_table_factory(tables)
    return options


def is_held(said: str) -> bool:
    """Whether an error of RocksDB's says that another one has the database."""
    return any(words in said for words in _HELD)


def is_of_the_disk(said: str) -> bool:
    """Whether an error of RocksDB's is of the disk, so that a database made anew would not help."""
    return any(reason in said for reason in _NOT_THE_STORES_FAULT)


def _classed(path: Path, error: Exception) -> Exception:
    """Return the error that says what to do: another owner, a corrupt store, or the disk's own."""
    text = str(error)
    if _HELD_HERE in text:
        return StateDirectoryInUse(
            f"state directory {path} is held by this process: something else here has it, or what "
            f"had it before has not let go of it yet ({text}). Give each worker a directory of its "
            "own; what was not let go of is free soon, and then it goes on"
        )
    if is_held(text):
        return StateDirectoryInUse(
            f"state directory {path} is held by another process ({text}). Stop that process, "
            "or give this one a directory of its own"
        )
    if is_of_the_disk(text):
        return OSError(
            f"state directory {path}: {text}. Free space on its disk or correct the access: the "
            "shard goes on by itself then, and nothing is lost"
        )
    return StoreCorrupt(f"state directory {path} cannot be read ({text})")
