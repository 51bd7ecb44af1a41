"""Records of all topics as bytes: Avro's single-object encoding, and back.

Ten bytes of header (magic, fingerprint of the schema) and the body. Because each record says which
schema it was written with, a log that holds records of many releases stays readable: those of an
earlier published schema are resolved to the current one.

Importing this module checks the schemas against the dataclasses, so that a field which would be
lost on the wire is found before a worker starts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar, get_args

from fastavro import schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError

from processor.codec.compiled import Compiled, compile_schema, field_at_fault
from processor.codec.schemas import MAGIC, SchemaFile, disagreements, load, load_published
from processor.core.effects import ActivityTask, DeadLetter, Reply, ReplyBody, RunResult
from processor.core.events import Event
from processor.core.failure import Failure
from processor.core.inputs import (
    ActivityReport,
    ClientCommand,
    CommandBody,
    Origin,
    ReplyTo,
    TimerDue,
)
from processor.core.options import ActivityOptions
from processor.core.turn import Claim, Positions, Turn
from processor.data import data_dir
from processor.errors import SchemaMismatch

__all__ = ("RECORDS", "Codec", "Record", "decode", "decode_as", "encode")

Record: TypeAlias = (
    ClientCommand
    | ActivityTask
    | ActivityReport
    | TimerDue
    | RunResult
    | Reply
    | DeadLetter
    | Turn
    | Claim
)
"""Whatever is a Kafka record of its own."""

R = TypeVar("R")

RECORDS: Final[dict[str, type]] = {
    "command": ClientCommand,
    "turn": Turn,
    "claim": Claim,
    "activity_task": ActivityTask,
    "activity_report": ActivityReport,
    "timer_due": TimerDue,
    "run_result": RunResult,
    "reply": Reply,
    "dead_letter": DeadLetter,
}
"""The class of each schema file."""

_UNIONS: Final = {
    "Turn.events": get_args(Event),
    "ClientCommand.body": get_args(CommandBody),
    "Reply.body": get_args(ReplyBody),
}
_PARTS: Final = (Failure, ActivityOptions, Positions, Origin, ReplyTo)
_CLASSES: Final[dict[str, type]] = {
    cls.__name__: cls
    for cls in (*RECORDS.values(), *_PARTS, *(c for union in _UNIONS.values() for c in union))
}
_REPEATED: Final = (ActivityOptions.__name__,)
"""A workflow asks for its activities with the same few options again and again."""

_MALFORMED: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    RecursionError,
    SchemaResolutionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What reading or writing raises where a value or a byte is not what the schema says."""


class Codec:
    """Encodes and decodes the records of one directory of schemas."""

    def __init__(self, directory: Path) -> None:
        files = {file: load(directory / f"{file}.avsc") for file in RECORDS}
        problems = [line for schema in files.values() for line in disagreements(schema, _CLASSES)]
        problems += _missing_branches(files)
        if problems:
            raise ImportError(
                "processor: dataclasses and schemas disagree: "
                + "; ".join(problems)
                + f". Change the class or the schema in {directory}, then run "
                "'processor schemas check'"
            )
        self._by_class: dict[type, tuple[Callable[[Any, bytes], bytes], bytes]] = {}
        self._by_header: dict[bytes, Callable[[bytes, int], tuple[Any, int]]] = {}
        self._directory = directory
        self._current: dict[str, tuple[SchemaFile, Compiled]] = {}
        self._knows_published = False
        for file, cls in RECORDS.items():
            schema = files[file]
            compiled = compile_schema(schema.name, schema.named, _CLASSES, _REPEATED)
            self._current[schema.name] = (schema, compiled)
            self._by_class[cls] = (compiled.write, schema.header)
            self._by_header[schema.header] = compiled.read

    def _learn_published(self) -> None:
        """Load the earlier schemas, when a record asks for one: most processes never meet any."""
        for old in load_published(self._directory):
            if old.header not in self._by_header and old.name in self._current:
                self._by_header[old.header] = _resolver(old, *self._current[old.name])
        self._knows_published = True  # Last, so that another thread does not refuse too early.

    def encode(self, record: Record) -> bytes:
        """Return the bytes of a record. ``SchemaMismatch`` names the field that does not fit."""
        try:
            write, header = self._by_class[record.__class__]
            return write(record, header)
        except _MALFORMED as error:
            field = field_at_fault(error) or type(record).__name__
            raise SchemaMismatch(
                f"{field} cannot be written: {type(error).__name__}: {error}; "
                "give it a value of the type that its schema says"
            ) from error

    def decode(self, data: bytes) -> Record:
        """Return the record of these bytes, in the current form whichever release wrote it."""
        try:
            record, end = self._by_header[data[:10]](data, 10)
        except _MALFORMED as error:
            if not self._knows_published:
                self._learn_published()
                return self.decode(data)
            raise self._explain(data, error) from error
        if end != len(data):
            raise SchemaMismatch(
                f"a {type(record).__name__} of {len(data)} bytes is broken: its fields take {end}; "
                "it was cut, or written by something else"
            )
        return record  # type: ignore[no-any-return]

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
            return SchemaMismatch(
                f"unknown schema fingerprint {header[2:].hex()}: a newer version of processor "
                "wrote this record; upgrade this process. 'processor schemas check' lists the "
                "fingerprints that this version reads"
            )
        field = field_at_fault(error)
        return SchemaMismatch(
            f"a record of {len(data)} bytes is broken{field and f' at {field}'}: "
            f"{type(error).__name__}: {error}; it was cut, or written by something else"
        )

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints that can be read, as hexadecimal digits in the order of the header."""
        self._learn_published()
        return tuple(sorted(header[2:].hex() for header in self._by_header))


def _missing_branches(files: dict[str, SchemaFile]) -> list[str]:
    """Name the classes of our unions that the schema of the union leaves out."""
    return [
        f"{schema.path.name}: class {cls.__name__} is not a branch of {where}"
        for where, classes in _UNIONS.items()
        for schema in files.values()
        if schema.name.endswith("." + where.partition(".")[0])
        for cls in classes
        if f"processor.v1.{cls.__name__}" not in schema.named
    ]


def _resolver(
    old: SchemaFile, schema: SchemaFile, compiled: Compiled
) -> Callable[[bytes, int], tuple[Any, int]]:
    """Return a reader for records of an earlier schema.

    fastavro resolves the record and writes it again in the current form. That is slower than a
    reader of its own would be, and right by somebody else's tests; old records are few.
    """

    def read(data: bytes, start: int) -> tuple[Any, int]:
        source = BytesIO(data)
        source.seek(start)
        value: Any = schemaless_reader(source, old.parsed, schema.parsed, return_record_name=True)
        target = BytesIO()
        schemaless_writer(target, schema.parsed, value)
        record, _ = compiled.read(target.getvalue(), 0)
        return record, source.tell()

    return read


_codec: Final = Codec(data_dir("schemas"))
encode: Final = _codec.encode
decode: Final = _codec.decode
decode_as: Final = _codec.decode_as
