"""Records as functions get them, and how the values of a topic become Python's."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from processor.core.data.payloads import Payloads
from processor.errors import InvalidArgument, SchemaMismatch

__all__ = ("Avro", "Raw", "Record", "reader_of")

T = TypeVar("T")


@dataclass(frozen=True)
class Record(Generic[T]):
    """One record of a topic. ``value`` is of the type that the function's annotation says.

    ``timestamp`` is the record's own, in UTC; None where it has none.
    """

    topic: str
    value: T
    key: bytes | None = None
    partition: int = 0
    offset: int = 0
    timestamp: datetime | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Raw(NamedTuple):
    """A record as it stands in its topic. ``timestamp_ms`` is -1 where it has none."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def decoded(self, read: Callable[[bytes | None], Any]) -> Record[Any]:
        """Return the record with its value decoded. Raises ``SchemaMismatch``."""
        time = None
        if self.timestamp_ms >= 0:
            time = datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)
        place = self.partition, self.offset
        return Record(self.topic, read(self.value), self.key, *place, time, self.headers)


class Avro:
    """Values in Avro's binary encoding, by the schema with which they were written.

    ``schema`` is the path of an ``.avsc`` file. ``header_bytes`` stand before each value and are
    passed over: Confluent's serializers write 5. Raises ``InvalidArgument``.
    """

    def __init__(self, schema: str | Path, header_bytes: int = 0) -> None:
        try:
            self._plain = json.loads(Path(schema).read_text(encoding="utf-8"))
        except (OSError, TypeError, ValueError) as error:
            raise InvalidArgument(
                f"Avro: schema: {schema} is no Avro schema that can be read: {error}; give the "
                "path of an .avsc file"
            ) from error
        if not isinstance(header_bytes, int) or not 0 <= header_bytes <= 100:
            raise InvalidArgument("Avro: header_bytes: give a whole number from 0 to 100")
        self._header_bytes = header_bytes
        assert self._schema is not None, "parsed, or refused, at once"

    @cached_property
    def _schema(self) -> Any:
        import fastavro

        try:
            return fastavro.parse_schema(self._plain)
        except Exception as error:  # whatever fastavro raises
            raise InvalidArgument(f"Avro: schema: fastavro refuses it: {error!r}") from error

    def read(self, value: bytes) -> Any:
        """Return a value as Python's plain ones. Raises ``SchemaMismatch``."""
        import fastavro

        body = io.BytesIO(value[self._header_bytes :])
        try:
            found = fastavro.schemaless_reader(body, self._schema, None)
        except Exception as error:  # whatever fastavro raises on bytes that are something else
            raise SchemaMismatch(f"its value does not fit the Avro schema: {error!r}") from error
        if left := len(body.read()):
            raise SchemaMismatch(
                f"its value does not fit the Avro schema: {left} bytes are left behind it. Give the"
                " schema with which it was written, and header_bytes=5 for Confluent's serializers"
            )
        return found


def reader_of(type: Any, avro: Avro | None, plain: Payloads) -> Callable[[bytes | None], Any]:
    """Return what makes values of ``type``. ``plain`` reads and writes JSON.

    A record without a value is None, which the type has to allow. ``bytes`` are the value as it is.
    """
    if avro is None and type is bytes:
        return _as_it_is
    decode = plain.decoder(type)

    def read_json(value: bytes | None) -> Any:
        return decode(value)

    def read_avro(value: bytes | None) -> Any:
        assert avro is not None, "chosen below"
        found = None if value is None else avro.read(value)
        return found if type is Any else decode(plain.encode(found))

    return read_json if avro is None else read_avro


def _as_it_is(value: bytes | None) -> bytes:
    if value is None:
        raise SchemaMismatch("it has no value: a function that takes those says Record[Any]")
    return value
