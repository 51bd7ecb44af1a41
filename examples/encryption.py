r"""Encrypt all values, with a key that is exchanged now and then: nobody reads them in Kafka.

    export PROCESSOR_KEYS=$(python -c \
        "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())")
    processor worker examples.encryption --payloads examples.encryption:payloads
    processor run pay '"4111 1111"' --id pay-1 --payloads examples.encryption:payloads
    processor history pay-1
    processor history pay-1 --payloads examples.encryption:payloads

``PROCESSOR_KEYS`` are keys of Fernet, the newest one first: it encrypts, and all decrypt. Put a new
key in front on every worker and client; take the old one out when nothing is kept that it wrote.
"""

import os
import zlib

from cryptography.fernet import Fernet, MultiFernet

from processor import PayloadCodec, activity, workflow


class Encryption(PayloadCodec):
    """Encrypts values and what errors say."""

    name = "fernet"
    errors = True

    def __init__(self, keys: list[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encode(self, data: bytes) -> bytes:
        return self._fernet.encrypt(data)

    def decode(self, data: bytes) -> bytes:
        return self._fernet.decrypt(data)


class Compression(PayloadCodec):
    """Makes large values smaller. It stands in front of the encryption: random bytes do not."""

    name = "zlib"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data) if len(data) > 1_000 else data

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


payloads = [Compression(), Encryption(os.environ["PROCESSOR_KEYS"].split(","))]


@activity.define
async def charge(card: str) -> str:
    return f"charged {card}"


@workflow.define
async def pay(card: str) -> str:
    workflow.set_status(f"charging {card}")
    return await charge(card)
