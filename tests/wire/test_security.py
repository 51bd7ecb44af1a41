"""Which of librdkafka's properties our producer understands."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from processor.kafka.wire.security import Sasl, Security, foreign, security_of

PASSWORD = {"sasl.username": "alice", "sasl.password": "secret"}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, Security()),
        ({"client.id": "mine"}, Security()),
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
        ({"sasl.kerberos.service.name": "kafka"}, ["sasl.kerberos.service.name"]),
    ],
)
def test_what_only_librdkafka_understands(properties: dict[str, Any], names: list[str]) -> None:
    assert foreign(properties) == names


@pytest.mark.parametrize(
    ("properties", "host_checked", "verified"),
    [
        ({}, True, True),
        ({"ssl.endpoint.identification.algorithm": "none"}, False, True),
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
