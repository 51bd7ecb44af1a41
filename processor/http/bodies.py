"""The body of an answer: read and unpacked within its bound, whatever the server sends."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable
from typing import Final

__all__ = ("ACCEPTED", "BODY_BYTES_MAX", "BodyTooLarge", "read", "unpacked")

BODY_BYTES_MAX: Final = 500_000
"""An answer is a result, of at most 1 MB, in which bytes take a third more. Headers are bounded by
httpx: 100 kB."""

ACCEPTED: Final = "gzip, deflate"
"""What a server may pack a body with. httpx would unpack a few bytes to gigabytes."""

_GZIP: Final = b"\x1f\x8b"


class BodyTooLarge(Exception):
    """A body has more than ``BODY_BYTES_MAX``, packed or not."""


async def read(parts: AsyncIterable[bytes]) -> bytes:
    """Return the bytes that come. Raises ``BodyTooLarge``."""
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge
    return bytes(body)


def unpacked(body: bytes, coding: str) -> bytes:
    """Return what was packed with one coding; another one is the caller's, and stays as it is.

    Raises ``BodyTooLarge``, and ``ValueError`` for what is not packed so.
    """
    coding = coding.strip().lower()
    try:
        if not body or coding not in ("gzip", "x-gzip", "deflate"):
            return body
        if coding != "deflate":
            return _members(body)
        try:
            return _one(body, zlib.MAX_WBITS)[0]
        except zlib.error:  # without the frame that the standard asks for
            return _one(body, -zlib.MAX_WBITS)[0]
    except zlib.error as error:
        raise ValueError(str(error)) from None


def _members(body: bytes) -> bytes:
    """Return what gzip packed, which may be several files one behind the other."""
    found = bytearray()
    while body:
        part, rest = _one(body, 16 + zlib.MAX_WBITS)
        found += part
        if len(found) > BODY_BYTES_MAX:
            raise BodyTooLarge
        body = rest if rest.startswith(_GZIP) else b""
    return bytes(found)


def _one(body: bytes, window: int) -> tuple[bytes, bytes]:
    """Return what one stream holds, and what stands behind it."""
    stream = zlib.decompressobj(window)
    found = stream.decompress(body, BODY_BYTES_MAX + 1)
    if len(found) > BODY_BYTES_MAX:
        raise BodyTooLarge
    if not stream.eof:
        raise ValueError("it ends too early")
    return found, stream.unused_data
