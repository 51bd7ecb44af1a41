"""Values that go through what a user gives: a converter in place of JSON, and codecs of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from processor.codec.payloads import Decode, JsonPayloads, short
from processor.core.data.payloads import Payloads
from processor.errors import PayloadCodecError, SchemaMismatch
from processor.injection.payloads import (
    PayloadCodec,
    PayloadConverter,
    behind_name,
    encoding_of,
    from_codec,
    labelled,
    through,
)

__all__ = ("CodedPayloads", "ConvertedPayloads")


class CodedPayloads:
    """``Payloads`` whose bytes go through codecs, the first one first. None stays None.

    ``values`` makes the bytes; ``converter`` is the name in front of those, if there is one.
    """

    def __init__(
        self, values: Payloads, codecs: Sequence[PayloadCodec], converter: str = ""
    ) -> None:
        self.clear = values.clear
        self._values = values
        self.hides_errors = any(codec.errors for codec in codecs)
        self._codecs = codecs
        self._by_name = {codec.name: codec for codec in codecs}
        self._ends = ("", converter)

    def encode(self, value: object) -> bytes | None:
        payload = self._values.encode(value)
        if payload is not None:
            for codec in self._codecs:
                payload = through(codec, payload)
        return payload

    def decoder(self, annotation: Any) -> Decode:
        decode, decoded = self._values.decoder(annotation), self._decoded
        return lambda payload: decode(decoded(payload))

    def difference(self, one: bytes | None, other: bytes | None) -> str:
        """Return how two payloads differ as values: no codec need make the same bytes twice."""
        try:
            return self._values.difference(self._decoded(one), self._decoded(other))
        except PayloadCodecError as error:
            return f"it cannot be compared: {error}"

    def _decoded(self, payload: bytes | None) -> bytes | None:
        while payload is not None and (name := encoding_of(payload)) not in self._ends:
            payload = from_codec(payload, name, self._by_name)
        return payload


class ConvertedPayloads:
    """``Payloads`` of a converter. JSON that others wrote is read as JSON."""

    hides_errors = False

    def __init__(self, converter: PayloadConverter) -> None:
        self.clear = JsonPayloads()
        self._converter = converter

    def encode(self, value: object) -> bytes | None:
        if value is None:
            return None
        try:
            return labelled(self._converter.name, self._converter.encode(value))
        except Exception as error:  # whatever the user's converter raises
            raise self._mismatch(f"a value of type {type(value).__name__}", "en", error) from error

    def decoder(self, annotation: Any) -> Decode:
        converter = self._converter

        def decode(payload: bytes | None) -> Any:
            if payload is None:
                return None
            if encoding_of(payload) != converter.name:
                return self.clear.decoder(annotation)(payload)
            try:
                return converter.decode(behind_name(payload), annotation)
            except Exception as error:  # as above
                raise self._mismatch("a value", "de", error) from error

        return decode

    def difference(self, one: bytes | None, other: bytes | None) -> str:
        decode = self.decoder(Any)
        try:
            before, now = decode(one), decode(other)
        except SchemaMismatch:  # bytes that were published, for one
            before, now = one, other
        return "" if before == now else f"it was {short(before)} and is {short(now)}"

    def _mismatch(self, what: str, way: str, error: Exception) -> SchemaMismatch:
        said = f"{type(error).__name__}: {error}"
        name = self._converter.name
        return SchemaMismatch(f"{what} cannot be {way}coded by converter {name!r}: {said}")
