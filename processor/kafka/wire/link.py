"""One connection to a broker: made by waiting, then read and written without."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from struct import Struct
from time import monotonic
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from scramp import ScramClient

from processor.kafka.clients.properties import PLAIN
from processor.kafka.wire.protocol import (
    ProtocolError,
    api_versions,
    parse_api_versions,
    parse_sasl_authenticate,
    parse_sasl_handshake,
    sasl_authenticate,
    sasl_handshake,
)
from processor.kafka.wire.security import Sasl, Security
from processor.kafka.wire.versions import (
    PRODUCING,
    SASL,
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    Unfit,
    agreed,
)

__all__ = ("Link",)

_CONNECT_S: Final = 10.0
_READ: Final = 65_536
_ANSWER_MAX: Final = 100_000_000
_SESSION_USED: Final = 0.85
"""A session is begun anew after this share of its time, so that no request meets its end."""

_LENGTH: Final = Struct(">i")
_HEAD_SIZE: Final = 8
"""Length and number of the request, before an answer."""

Request = Callable[[int, str], bytes]
"""Makes a request's frame of its number and the client's name."""


class Link:
    """At most one request is out at a time: a broker takes the next one only after its answer.

    ``versions`` are those of requests that the broker and we have in common.
    """

    def __init__(self, host: str, port: int, security: Security, client: str) -> None:
        """Connect, ask what the broker takes, and prove who we are. Blocks.

        Raises ``OSError``, ``KafkaException`` or ``Unfit``.
        """
        self._client = client
        self._number = 0
        self.unsent = memoryview(b"")
        self._read = bytearray()
        self._ends_at: float | None = None
        try:
            self.socket = socket.create_connection((host, port), _CONNECT_S)
        except (ValueError, OverflowError) as error:  # no name, and no port, of any host
            raise ProtocolError(f"{host!r}:{port} is no address: {error}") from error
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if security.tls is not None:
                self.socket = security.tls.wrap_socket(self.socket, server_hostname=host)
            self.versions = self._versions(f"{host}:{port}", security)
            if security.sasl is not None:
                self._authenticate(security.sasl)
        except BaseException:
            self.socket.close()
            raise

    @property
    def expired(self) -> bool:
        """Whether the broker will soon want us to prove again who we are."""
        return self._ends_at is not None and monotonic() > self._ends_at

    def ask(self, request: Request) -> bytes:
        """Send a request and return its answer. Blocks; before ``unblock`` only."""
        self.send(request)
        while (answer := self.receive()) is None:
            pass
        return answer

    def unblock(self) -> None:
        """From now on nothing waits: ``send``, ``flush`` and ``receive`` do what they can."""
        self.socket.setblocking(False)

    def send(self, request: Request) -> bool:
        """Begin to send a request; return whether all of it is sent."""
        self._number += 1
        self.unsent = memoryview(request(self._number, self._client))
        return self.flush()

    def flush(self) -> bool:
        """Go on sending; return whether all is sent."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        return True

    def receive(self) -> bytes | None:
        """Return the answer to the request that is out, None as long as it is not whole."""
        read = self._read
        while True:
            try:
                data = self.socket.recv(_READ)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return None
            if not data:
                raise ConnectionResetError("the broker closed the connection")
            read += data
            if len(read) >= _HEAD_SIZE:
                (length,) = _LENGTH.unpack_from(read)
                if not _HEAD_SIZE - _LENGTH.size <= length <= _ANSWER_MAX:
                    raise ProtocolError(f"an answer of {length} bytes; is this a Kafka broker?")
                if len(read) >= _LENGTH.size + length:
                    return self._answer()

    def close(self) -> None:
        self.socket.close()

    def _answer(self) -> bytes:
        (number,) = _LENGTH.unpack_from(self._read, _LENGTH.size)
        if number != self._number:
            raise ProtocolError(f"an answer to request {number} and not to {self._number}")
        answer = bytes(self._read[_HEAD_SIZE:])
        self._read.clear()
        return answer

    def _versions(self, address: str, security: Security) -> Mapping[int, int]:
        offered = parse_api_versions(self.ask(api_versions))
        try:
            return agreed(PRODUCING if security.sasl is None else PRODUCING + SASL, offered)
        except Unfit as unfit:
            raise Unfit(f"the broker {address} is of another release: {unfit}") from None

    # --- who we are -------------------------------------------------------------------------------

    def _authenticate(self, sasl: Sasl) -> None:
        mechanism, version = sasl.mechanism, self.versions[SASL_HANDSHAKE]
        answer = self.ask(partial(sasl_handshake, version=version, mechanism=mechanism))
        error, known = parse_sasl_handshake(answer)
        if error:
            reason = f"the broker takes {', '.join(known) or 'nothing'} and not {mechanism}"
            raise KafkaException(KafkaError(error, reason))
        if mechanism == PLAIN:
            self._say(f"\0{sasl.username}\0{sasl.password}".encode())
            return
        scram = ScramClient([mechanism], sasl.username, sasl.password)
        try:
            scram.set_server_first(self._say(scram.get_client_first().encode()).decode())
            scram.set_server_final(self._say(scram.get_client_final().encode()).decode())
        except (ValueError, LookupError, TypeError) as cause:
            raise ProtocolError(f"an answer that is not {mechanism}: {cause}") from cause

    def _say(self, message: bytes) -> bytes:
        version = self.versions[SASL_AUTHENTICATE]
        answer = self.ask(partial(sasl_authenticate, version=version, message=message))
        error, reason, said, lifetime_ms = parse_sasl_authenticate(answer, version)
        if error:
            raise KafkaException(KafkaError(error, reason or None))
        if lifetime_ms > 0:
            self._ends_at = monotonic() + lifetime_ms / 1000 * _SESSION_USED
        return said
