"""Codecs that tests give to workers and clients."""

from __future__ import annotations

import os
import zlib
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from processor import PayloadCodec, PayloadConverter

KEYS = {b"1": bytes(range(16)), b"2": bytes(range(16, 32))}


class Sealed(PayloadCodec):
    """Encrypts with AES-GCM: a random nonce for each value, and the id of the key in front."""

    name = "sealed"

    def __init__(self, *ids: bytes) -> None:
        """The first key is the one that encrypts."""
        self.ids = ids or (b"1",)

    def encode(self, data: bytes) -> bytes:
        id, nonce = self.ids[0], os.urandom(12)
        return id + nonce + AESGCM(KEYS[id]).encrypt(nonce, data, id)

    def decode(self, data: bytes) -> bytes:
        id = data[:1]
        if id not in self.ids:
            raise LookupError(f"there is no key {id.decode()!r}")
        return AESGCM(KEYS[id]).decrypt(data[1:13], data[13:], id)


class Small(PayloadCodec):
    """Compresses what gets smaller by it, and leaves the rest."""

    name = "small"

    def encode(self, data: bytes) -> bytes:
        made = zlib.compress(data)
        return made if len(made) < len(data) else data

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Repr(PayloadConverter):
    """Values as Python shows them."""

    name = "repr"

    def encode(self, value: Any) -> bytes:
        return repr(value).encode()

    def decode(self, data: bytes, type: Any) -> Any:
        return eval(data)
