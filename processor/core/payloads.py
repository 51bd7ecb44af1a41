"""How values of users become bytes and come back; the implementation is ``processor.codec``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ("Payloads",)


class Payloads(Protocol):
    """Encodes and decodes values. Both directions raise ``SchemaMismatch`` with the reason."""

    def encode(self, value: object) -> bytes:
        """Return the payload of a value."""

    def decoder(self, annotation: Any) -> Callable[[bytes], Any]:
        """Return a (cached) function from a payload to a value of the annotated type."""
