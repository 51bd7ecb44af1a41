"""Values of users as JSON, typed by annotations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from processor.errors import SchemaMismatch

__all__ = ("JsonPayloads",)


class JsonPayloads:
    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode

    def encode(self, value: object) -> bytes:
        try:
            return self._encode(value)
        except (TypeError, ValueError) as error:
            raise SchemaMismatch(str(error)) from error

    def decoder(self, annotation: Any) -> Callable[[bytes], Any]:
        return _decoder(annotation)


@cache
def _decoder(annotation: Any) -> Callable[[bytes], Any]:
    decode = msgspec.json.Decoder(annotation).decode

    def decoded(data: bytes) -> Any:
        try:
            return decode(data)
        except msgspec.DecodeError as error:
            raise SchemaMismatch(str(error)) from error

    return decoded
