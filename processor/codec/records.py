"""Records of all topics as bytes: Avro's single-object encoding, and back.

Ten bytes of header (magic, fingerprint of the schema) and the body. The fingerprint is that of the
lowest level which has every branch that the record uses, so each release reads what a later one
writes while the namespace's level has not been raised (``levels``).

Importing this module checks the schemas against the classes, so that a field which would be lost on
the wire is found before a worker starts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, get_args

from processor.codec.compiled import Compiled, compile_schema, field_at_fault
from processor.codec.schemas.files import MAGIC, SchemaFile, disagreements, load_levels
from processor.codec.schemas.levels import Measure, measure_of
from processor.codec.schemas.shapes import RECORDS, classes_in, shapes_of
from processor.core.data.address import Caller, ReplyAddress
from processor.core.data.cause import Cause, Origin
from processor.core.data.options import ActivityOptions
from processor.core.data.shown import shown
from processor.core.event import Event
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.records.effects import ActivityTask, DeadLetter, Reply, RunResult
from processor.core.records.marks import Answered, Mark
from processor.core.records.snapshot import EntityDelta, EntitySnapshot, Snapshot
from processor.core.records.turn import AttemptRecord, Claim, Purged, Turn
from processor.core.vocabulary import EVENTS
from processor.data import data_dir
from processor.errors import SchemaMismatch, TooNew

__all__ = (
    "LEVEL",
    "Codec",
    "LogRecordBody",
    "Record",
    "decode",
    "decode_as",
    "decode_entry",
    "encode",
    "later_events",
    "level_of",
    "read_envelope",
    "read_head",
)

LogRecordBody: TypeAlias = (
    Turn
    | AttemptRecord
    | Snapshot
    | EntitySnapshot
    | EntityDelta
    | Purged
    | Mark
    | Answered
    | Claim
)
"""Whatever is a record of ``events``."""

Record: TypeAlias = (
    ClientCommand
    | ActivityTask
    | ActivityReport
    | TimerDue
    | RunResult
    | Reply
    | DeadLetter
    | LogRecordBody
)
"""Whatever is a Kafka record of its own."""

R = TypeVar("R")

_CLASSES: Final = {cls.__name__: cls for root in RECORDS.values() for _, cls in classes_in(root)}
_REPEATED: Final = (ActivityOptions.__name__,)
"""A workflow asks for its activities with the same few options again and again."""

_MALFORMED: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What reading or writing raises where a value or a byte is not what the schema says."""


class Envelope(NamedTuple):
    """A command without its body."""

    workflow_id: str
    cause: Cause | None
    again: bool
    reply_to: ReplyAddress | None
    caller: Caller | None

    @property
    def is_call(self) -> bool:
        """Whether a run waits for the answer."""
        return self.caller is not None and isinstance(self.cause, Origin)


class Head(NamedTuple):
    """What each record of a run's history begins with."""

    workflow_id: str
    run_id: str
    epoch: int


class _Versions(NamedTuple):
    """How a record is written: its headers by level, and what tells the level of a record."""

    write: Callable[[Any, bytes], bytes]
    header: bytes
    levels: dict[int, bytes]
    measure: Measure | None


class Codec:
    """Encodes and decodes the records of one directory of schemas.

    ``level`` is the highest one that it writes and reads.
    """

    def __init__(self, directory: Path) -> None:
        files = {file: load_levels(directory, file) for file in RECORDS}
        current = {file: versions[-1] for file, versions in files.items()}
        problems = [
            line
            for file, cls in RECORDS.items()
            for line in disagreements(current[file], cls, _CLASSES)
        ]
        if problems:
            raise ImportError(
                f"processor: classes and the schemas in {directory} disagree: "
                + "; ".join(problems)
                + ". Run 'processor schemas write', which writes the schemas from the classes, and "
                "then 'processor schemas check'"
            )
        self.level = max(schema.level for schema in current.values())
        self._by_class: dict[type, _Versions] = {}
        self._by_header: dict[bytes, Callable[[bytes, int], tuple[Any, int]]] = {}
        self._kinds: dict[bytes, type] = {}
        self._turns = files["turn"]
        self._commands = current["command"]
        self._envelope: Callable[[bytes, int], tuple[Any, int]] | None = None
        self._head: Callable[[bytes, int], tuple[Any, int]] | None = None
        for file, cls in RECORDS.items():
            *earlier, schema = files[file]
            levels = {each.level: each.header for each in files[file]}
            measure = measure_of(schema, earlier)
            write, read = partial(self._write_first, schema), partial(self._read_first, schema)
            first = files[file][0].header
            self._by_class[cls] = _Versions(write, first, levels, measure)
            self._by_header.update(dict.fromkeys(levels.values(), read))
            self._kinds.update(dict.fromkeys(levels.values(), cls))

    def _write_first(self, schema: SchemaFile, record: Any, header: bytes) -> bytes:
        return self._compiled(schema).write(record, header)

    def _read_first(self, schema: SchemaFile, data: bytes, at: int) -> tuple[Any, int]:
        return self._compiled(schema).read(data, at)

    def _compiled(self, schema: SchemaFile) -> Compiled:
        """Compile a schema when its first record is met: no process meets all of them."""
        compiled = compile_schema(schema.name, schema.named, _CLASSES, _REPEATED)
        cls = _CLASSES[schema.name.rpartition(".")[2]]
        versions = self._by_class[cls]
        self._by_class[cls] = versions._replace(write=compiled.write)
        self._by_header.update(dict.fromkeys(versions.levels.values(), compiled.read))
        return compiled

    def encode(self, record: Record) -> bytes:
        """Return the bytes of a record. ``SchemaMismatch`` names the field that does not fit."""
        try:
            write, header, levels, measure = self._by_class[record.__class__]
            if measure is not None:
                header = levels[measure(record)]
            return write(record, header)
        except _MALFORMED as error:
            field = field_at_fault(error) or type(record).__name__
            raise SchemaMismatch(
                f"{field} cannot be written: {shown(error).words}; "
                "give it a value of the type that its schema says"
            ) from error

    def level_of(self, record: Record) -> int:
        """Return the level that a namespace has to have for this record."""
        _, _, levels, measure = self._by_class[record.__class__]
        return next(iter(levels)) if measure is None else measure(record)

    def later_events(self, level: int) -> frozenset[type[Event]]:
        """Return the events that a namespace of this level does not have."""
        known = [schema for schema in self._turns if schema.level <= level]
        names = _short_names(known[-1]) if known else set[str]()
        return frozenset(cls for cls in EVENTS if cls.__name__ not in names)

    def decode(self, data: bytes) -> Record:
        """Return the record of these bytes, whichever release wrote it.

        Raises ``TooNew`` for what a later release wrote, ``SchemaMismatch`` for what is no record.
        """
        try:
            record, end = self._by_header[data[:10]](data, 10)
        except _MALFORMED as error:
            raise self._explain(data, error) from error
        if end != len(data):
            raise SchemaMismatch(
                f"a {type(record).__name__} of {len(data)} bytes is broken: its fields take {end}; "
                "it was cut, or written by something else"
            )
        return record  # type: ignore[no-any-return]

    def read_envelope(self, data: bytes) -> Envelope:
        """Return what stands before the body of a command, also of a later release's.

        Raises ``SchemaMismatch`` for what is none.
        """
        kind = self._kinds.get(data[:10], ClientCommand)
        if data[:2] != MAGIC or kind is not ClientCommand:
            raise self._explain(data, TypeError(f"a {kind.__name__} is no command"))
        if self._envelope is None:
            self._envelope = _reader_of(self._commands, Envelope)
        try:
            envelope: Envelope = self._envelope(data, 10)[0]
            return envelope
        except _MALFORMED as error:
            raise self._explain(data, error) from error

    def read_head(self, data: bytes) -> tuple[type, Head]:
        """Return which record of a history it is, and what it begins with; the rest is not read."""
        if self._head is None:
            self._head = _reader_of(self._turns[-1], Head)
        try:
            return self._kinds[data[:10]], self._head(data, 10)[0]
        except _MALFORMED as error:
            raise self._explain(data, error) from error

    def decode_as(self, cls: type[R], data: bytes) -> R:
        """Return the record of these bytes, which must be a ``cls``."""
        record = self.decode(data)
        if not isinstance(record, cls):
            raise SchemaMismatch(
                f"expected a {cls.__name__} and found a {type(record).__name__}; "
                "it was produced to the wrong topic"
            )
        return record

    def _explain(self, data: bytes, error: Exception) -> SchemaMismatch:
        header = data[:10]
        if header[:2] != MAGIC:
            return SchemaMismatch(
                f"not a record of processor: it begins with {bytes(header[:2])!r} and not with "
                f"{MAGIC!r}, which marks Avro's single-object encoding"
            )
        if len(header) < 10:
            return SchemaMismatch(f"a record of {len(data)} bytes is cut: its header alone has 10")
        if header not in self._by_header:
            return TooNew(
                f"unknown schema fingerprint {header[2:].hex()}: a later release of processor "
                f"wrote this record (this one knows level {self.level}), or something else did. "
                "'processor schemas check' lists the fingerprints that this release reads"
            )
        field = field_at_fault(error)
        return SchemaMismatch(
            f"a record of {len(data)} bytes is broken{field and f' at {field}'}: "
            f"{type(error).__name__}: {error}; it was cut, or written by something else"
        )

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints that can be read, as hexadecimal digits in the order of the header."""
        return tuple(sorted(header[2:].hex() for header in self._by_header))


def _reader_of(schema: SchemaFile, cls: type) -> Callable[[bytes, int], tuple[Any, int]]:
    """Return what reads the first fields of a record: those of a class."""
    record, names = schema.named[schema.name], {each.name for each in shapes_of(cls)}
    first = [each for each in record["fields"] if each["name"] in names]
    named = {**schema.named, schema.name: {**record, "fields": first}}
    classes = {**_CLASSES, schema.name.rpartition(".")[2]: cls}
    return compile_schema(schema.name, named, classes, _REPEATED).read


def _short_names(schema: SchemaFile) -> set[str]:
    return {name.rpartition(".")[2] for name in schema.named}


_codec: Final = Codec(data_dir("schemas"))
LEVEL: Final = _codec.level
"""The highest level that this release writes and reads."""

encode: Final = _codec.encode
decode: Final = _codec.decode
decode_as: Final = _codec.decode_as
level_of: Final = _codec.level_of
later_events: Final = _codec.later_events
read_envelope: Final = _codec.read_envelope
read_head: Final = _codec.read_head

_ENTRIES: Final = get_args(LogRecordBody)


def decode_entry(value: bytes, offset: int) -> LogRecordBody | None:
    """Return the record at an offset of the log; None for what is none, or stands elsewhere.

    Raises ``TooNew`` for what a later release wrote.
    """
    try:
        entry = decode(value)
    except TooNew:
        raise
    except SchemaMismatch:
        return None
    if not isinstance(entry, _ENTRIES):
        return None
    if not isinstance(entry, Claim) and not 0 <= entry.epoch < offset:
        return None  # a record names a claim before it
    return entry  # type: ignore[no-any-return]  # get_args has no types
