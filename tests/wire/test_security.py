"""Which of librdkafka's properties our producer understands."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme
from scramp import ScramException

from processor import Client, Worker, workflow
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.producers import which_producer
from processor.kafka.clients.properties import KafkaConfigInvalid, foreign
from processor.kafka.topics.upkeep import connect
from processor.kafka.wire import link
from processor.kafka.wire.asking import NO_ANSWER
from processor.kafka.wire.link import Link
from processor.kafka.wire.security import Sasl, Security, security_of
from tests.wire.scripted import KAFKA_4_3, versions_answer


@workflow.define
async def nothing() -> None:
    """Nothing."""


PASSWORD = {"sasl.username": "alice", "sasl.password": "secret"}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, Security()),
        ({"client.id": "mine"}, Security()),
        ({"session.timeout.ms": 9_000, "fetch.min.bytes": 1}, Security()),
        ({"security.protocol": "plaintext"}, Security()),
        (
            {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", **PASSWORD},
            Security(None, Sasl("PLAIN", "alice", "secret")),
        ),
        (
            {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "SCRAM-SHA-256", **PASSWORD},
            Security(None, Sasl("SCRAM-SHA-256", "alice", "secret")),
        ),
    ],
)
def test_properties(properties: dict[str, Any], expected: Security) -> None:
    assert foreign(properties) == []
    assert security_of(properties) == expected


@pytest.mark.parametrize(
    ("properties", "names"),
    [
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER"}, ["sasl.mechanism"]),
        ({"security.protocol": "SASL_SSL"}, ["sasl.mechanism"]),
        ({"security.protocol": "nonsense"}, ["security.protocol"]),
        ({"linger.ms": 5, "client.id": "mine"}, ["linger.ms"]),
        (
            {"security.protocol": "SASL_SSL", "sasl.kerberos.service.name": "kafka"},
            ["sasl.kerberos.service.name", "sasl.mechanism"],
        ),
        ({"security.protocol": "SSL", "ssl.key.location": "mine.key"}, ["ssl.key.location"]),
    ],
)
def test_what_only_librdkafka_understands(properties: dict[str, Any], names: list[str]) -> None:
    """It is refused, with what to do, where librdkafka's producer is not chosen by its name."""
    assert foreign(properties) == names
    for named in ({}, {"producer": "native"}):
        with pytest.raises(KafkaConfigInvalid, match=f"{names[0]}.*producer to librdkafka"):
            KafkaSettings("127.0.0.1:1", "none", {**properties, **named})
    chosen = KafkaSettings("127.0.0.1:1", "none", {**properties, "producer": "librdkafka"})
    assert properties.items() <= chosen.producer().items()
    assert "producer" not in chosen.producer() | chosen.consumer() | chosen.admin()


@pytest.mark.parametrize(
    ("properties", "host_checked", "verified"),
    [
        ({}, True, True),
        ({"ssl.ca.location": "probe"}, True, True),
        ({"ssl.endpoint.identification.algorithm": "none"}, False, True),
        ({"enable.ssl.certificate.verification": "f"}, False, False),
        ({"enable.ssl.certificate.verification": 0}, False, False),
        ({"enable.ssl.certificate.verification": False}, False, False),
        ({"enable.ssl.certificate.verification": "false"}, False, False),
    ],
)
def test_how_a_broker_is_checked(
    properties: dict[str, Any], host_checked: bool, verified: bool
) -> None:
    security = security_of({"security.protocol": "SSL", **properties})
    assert security.tls is not None and security.sasl is None
    assert security.tls.check_hostname is host_checked
    assert (security.tls.verify_mode == ssl.CERT_REQUIRED) is verified


def test_files_that_are_not_there_are_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        security_of({"security.protocol": "SSL", "ssl.ca.location": str(tmp_path / "none.pem")})


def test_own_certificates_and_authorities(tmp_path: Path) -> None:
    authority = trustme.CA()
    ours = authority.issue_cert("client")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ours.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client.pem"))
    security = security_of(
        {
            "security.protocol": "SSL",
            "ssl.ca.location": str(tmp_path / "ca.pem"),
            "ssl.certificate.location": str(tmp_path / "client.pem"),
        }
    )
    assert security.tls is not None
    assert len(security.tls.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("properties", "why"),
    [
        ({"acks": "1"}, "acks cannot be set, because records are written once and in order"),
        ({"enable.idempotence": "false"}, "enable.idempotence cannot be set"),
        ({"group.id": "mine"}, "group.id cannot be set"),
        ({"auto.offset.reset": "latest"}, "auto.offset.reset cannot be set"),
        ({"transactional.id": "mine"}, "transactional.id cannot be set"),
        ({"ssl.ca.location": "ca.pem"}, "ssl.ca.location does not apply .* set security.protocol"),
        ({"sasl.username": "me", "security.protocol": "SSL"}, "sasl.username does not apply"),
        (
            {
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "PLAIN",
                "sasl.mechanisms": "SCRAM-SHA-512",
            },
            "two names of one property",
        ),
    ],
)
def test_a_property_that_would_break_a_promise_or_not_apply_is_refused(
    properties: dict[str, Any], why: str
) -> None:
    with pytest.raises(KafkaConfigInvalid, match=why):
        KafkaSettings("127.0.0.1:1", "none", properties)
    with pytest.raises(KafkaConfigInvalid, match=why):
        connect("127.0.0.1:1", properties)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({}, "by the native producer: the property producer is not set"),
        ({"producer": "native"}, "by the native producer: the property producer names it (native)"),
        (
            {"producer": "librdkafka"},
            "by librdkafka's producer: the property producer names it (librdkafka)",
        ),
    ],
)
def test_the_log_says_which_producer_runs_and_why(properties: dict[str, Any], said: str) -> None:
    assert which_producer("127.0.0.1:1", properties) == f"records are sent {said}"


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"producer": "aiokafka"}, "names no producer: give native .* or librdkafka"),
        ({"produser": "native"}, r"property produser as it is set \(is producer meant\?\)"),
        ({"security.protcol": "SSL"}, r"\(is security.protocol meant\?\)"),
        ({"linger.ms": "5"}, "property linger.ms as it is set: set"),
        ({"acks": "1"}, "acks cannot be set"),
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda properties: KafkaSettings("127.0.0.1:1", "none", properties),
        lambda properties: Client("127.0.0.1:1", kafka=properties),
        lambda properties: Worker("127.0.0.1:1", workflows=[nothing], kafka=properties),
    ],
    ids=["settings", "client", "worker"],
)
def test_a_property_that_would_not_apply_is_refused_at_the_call(
    make: Callable[[dict[str, str]], object], properties: dict[str, str], said: str
) -> None:
    with pytest.raises(KafkaConfigInvalid, match=said):
        make(properties)


# --- authorities --------------------------------------------------------------------------------


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[tuple[int, trustme.CA]]:
    """A port of 127.0.0.1 behind TLS, which hangs up on whom it let in."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                connection.settimeout(5)
                with suppress(OSError), context.wrap_socket(connection, server_side=True) as inside:
                    inside.recv(1_000)
                    answer = versions_answer(KAFKA_4_3)
                    inside.sendall(struct.pack(">ii", 4 + len(answer), 1) + answer)

    Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1], authority
    with suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()


def test_authorities_in_a_folder_are_trusted(
    listener: tuple[int, trustme.CA], tmp_path: Path
) -> None:
    """Under any name, beside other files."""
    port, authority = listener
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "a.pem"))
    (tmp_path / "b.txt").write_text("no certificate")
    (tmp_path / "more").mkdir()
    properties = {"security.protocol": "SSL", "ssl.ca.location": str(tmp_path)}
    with pytest.raises(ssl.SSLCertVerificationError):
        Link("127.0.0.1", port, security_of(properties), "a test")
    authority.cert_pem.write_to_path(str(tmp_path / "c.crt"))
    Link("127.0.0.1", port, security_of(properties), "a test").close()


def test_a_folder_without_an_authority_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("none yet")
    properties = {"security.protocol": "SSL", "ssl.ca.location": str(tmp_path)}
    with pytest.raises(KafkaConfigInvalid, match="no file holds a certificate"):
        security_of(properties)


# --- the broker proves that it knows the password -----------------------------------------------


class Impostor:
    """A broker that lets anybody in by SCRAM; it ``knows`` the password, or it does not."""

    def __init__(self, knows: bool) -> None:
        self._knows = knows
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._thread.join(5)
        self._server.close()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        connection.settimeout(5)
        with suppress(OSError, struct.error), connection:
            number, _ = self._asked(connection)
            self._answer(connection, number, versions_answer(KAFKA_4_3))
            number, _ = self._asked(connection)
            name = b"SCRAM-SHA-256"
            handshake = struct.pack(f">hih{len(name)}s", 0, 1, len(name), name)
            self._answer(connection, number, handshake)
            number, first = self._asked(connection)
            bare = first.split(b",", 2)[2]
            nonce = bare.split(b"r=")[1] + b"broker"
            challenge = b"r=" + nonce + b",s=" + base64.b64encode(SALT) + b",i=" + ITERATIONS
            self._say(connection, number, challenge)
            number, final = self._asked(connection)
            said = b",".join((bare, challenge, final.rsplit(b",p=", 1)[0]))
            password = b"secret" if self._knows else b"guessed"
            salted = hashlib.pbkdf2_hmac("sha256", password, SALT, 4_096)
            key = hmac.digest(salted, b"Server Key", "sha256")
            signature = base64.b64encode(hmac.digest(key, said, "sha256"))
            self._say(connection, number, b"v=" + signature)
            connection.recv(1)

    def _asked(self, connection: socket.socket) -> tuple[int, bytes]:
        (length,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        request = connection.recv(length, socket.MSG_WAITALL)
        _, _, number, named = struct.unpack_from(">hhih", request)
        return number, request[14 + named :]

    def _say(self, connection: socket.socket, number: int, message: bytes) -> None:
        body = struct.pack(f">hhi{len(message)}sq", 0, -1, len(message), message, 0)
        self._answer(connection, number, body)

    def _answer(self, connection: socket.socket, number: int, body: bytes) -> None:
        connection.sendall(struct.pack(">ii", 4 + len(body), number) + body)


SALT = b"twelve bytes, or more"
ITERATIONS = b"4096"
SCRAM = Security(None, Sasl("SCRAM-SHA-256", "alice", "secret"))


@pytest.mark.parametrize("knows", [True, False])
def test_a_broker_that_does_not_know_the_password_is_not_believed(knows: bool) -> None:
    """Who sits between us and the brokers can let everybody in; only they can sign."""
    impostor = Impostor(knows)
    try:
        with nullcontext() if knows else pytest.raises(ScramException, match="signature"):
            Link("127.0.0.1", impostor.port, SCRAM, "a test").close()
    finally:
        impostor.close()


@pytest.mark.parametrize("iterations", [b"x", b"\xff\xfe", b"0"])
def test_a_broker_that_does_not_speak_scram_is_a_broker_that_does_not_answer(
    iterations: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.wire.test_security.ITERATIONS", iterations)
    impostor = Impostor(True)
    try:
        with pytest.raises(NO_ANSWER):
            Link("127.0.0.1", impostor.port, SCRAM, "a test").close()
    finally:
        impostor.close()


def test_a_broker_that_accepts_a_connection_and_says_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link, "_CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            Link("127.0.0.1", silent.getsockname()[1], SCRAM, "a test")
        assert time.monotonic() - begun < 3
