"""How values of users become bytes and come back; the implementation is ``processor.codec``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ("Payloads",)


class Payloads(Protocol):
    """Encodes and decodes values. Both directions raise ``SchemaMismatch`` with the reason.

    No payload at all is None: that is not the same as empty bytes. A codec that is not here, or
    that fails, is a ``PayloadCodecError``: that is no reason to give a value up.
    """

    @property
    def hides_errors(self) -> bool:
        """Whether what errors say goes through the codecs, too."""

    @property
    def clear(self) -> Payloads:
        """What readers of other programs understand."""

    def encode(self, value: object) -> bytes | None:
        """Return the payload of a value."""

    def decoder(self, annotation: Any) -> Callable[[bytes | None], Any]:
        """Return a (cached) function from a payload to a value of the annotated type."""

    def difference(self, one: bytes | None, other: bytes | None) -> str:
        """Return where two payloads differ as values, "" where they do not."""
