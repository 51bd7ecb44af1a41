"""How connections are secured, from librdkafka's properties."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ("PLAIN", "SCRAM", "Sasl", "Security", "foreign", "security_of")

PLAIN: Final = "PLAIN"
SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")

_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_KNOWN: Final = frozenset(
    (
        "client.id",
        "enable.ssl.certificate.verification",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.password",
        "sasl.username",
        "security.protocol",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.endpoint.identification.algorithm",
        "ssl.key.location",
        "ssl.key.password",
    )
)


@dataclass(frozen=True, slots=True)
class Sasl:
    mechanism: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Security:
    tls: ssl.SSLContext | None = None
    sasl: Sasl | None = None


def foreign(properties: Mapping[str, Any]) -> Sequence[str]:
    """Return the properties that only librdkafka understands.

    Ours are TLS with files, and SASL with PLAIN and SCRAM.
    """
    found = [name for name in properties if name not in _KNOWN]
    if (protocol := _protocol(properties)) not in _PROTOCOLS:
        found.append("security.protocol")
    elif protocol.startswith("SASL") and _mechanism(properties) not in (PLAIN, *SCRAM):
        found.append("sasl.mechanism")
    return found


def security_of(properties: Mapping[str, Any]) -> Security:
    """Return what these properties mean, none of which is ``foreign``."""
    protocol, sasl = _protocol(properties), None
    if protocol.startswith("SASL"):
        user, password = properties.get("sasl.username"), properties.get("sasl.password")
        sasl = Sasl(_mechanism(properties), str(user or ""), str(password or ""))
    return Security(_tls(properties) if protocol.endswith("SSL") else None, sasl)


def _protocol(properties: Mapping[str, Any]) -> str:
    return str(properties.get("security.protocol", _PROTOCOLS[0])).upper()


def _mechanism(properties: Mapping[str, Any]) -> str:
    return str(properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "GSSAPI")))


def _tls(properties: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=properties.get("ssl.ca.location"))
    if properties.get("ssl.endpoint.identification.algorithm") == "none":
        context.check_hostname = False
    if str(properties.get("enable.ssl.certificate.verification", True)).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate := properties.get("ssl.certificate.location"):
        key, password = properties.get("ssl.key.location"), properties.get("ssl.key.password")
        context.load_cert_chain(certificate, key, password)
    return context
