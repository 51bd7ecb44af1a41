"""How connections are secured, from librdkafka's properties."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from processor.kafka.clients.properties import OF_CONSUMERS, KafkaConfigInvalid, protocol_of

__all__ = ("PLAIN", "SCRAM", "Sasl", "Security", "foreign", "security_of")

PLAIN: Final = "PLAIN"
SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")

_PROBE: Final = "probe"
"""librdkafka's word for the authorities of the operating system."""

_FALSE: Final = ("false", "f", "0")
_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_KNOWN: Final = OF_CONSUMERS.union(
    (
        "bootstrap.servers",
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
    if (protocol := protocol_of(properties)) not in _PROTOCOLS:
        found.append("security.protocol")
    elif protocol.startswith("SASL") and _mechanism(properties) not in (PLAIN, *SCRAM):
        found.append("sasl.mechanism")
    if "ssl.key.location" in properties and "ssl.certificate.location" not in properties:
        found.append("ssl.key.location")
    return found


def security_of(properties: Mapping[str, Any]) -> Security:
    """Return what these properties mean, none of which is ``foreign``."""
    protocol, sasl = protocol_of(properties), None
    if protocol.startswith("SASL"):
        user, password = properties.get("sasl.username"), properties.get("sasl.password")
        sasl = Sasl(_mechanism(properties), str(user or ""), str(password or ""))
    return Security(_tls(properties) if protocol.endswith("SSL") else None, sasl)


def _mechanism(properties: Mapping[str, Any]) -> str:
    return str(properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "GSSAPI")))


def _tls(properties: Mapping[str, Any]) -> ssl.SSLContext:
    context = _trusting(str(properties.get("ssl.ca.location") or _PROBE))
    if str(properties.get("ssl.endpoint.identification.algorithm", "")).lower() == "none":
        context.check_hostname = False
    if str(properties.get("enable.ssl.certificate.verification", True)).lower() in _FALSE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate := properties.get("ssl.certificate.location"):
        key, password = properties.get("ssl.key.location"), properties.get("ssl.key.password")
        context.load_cert_chain(certificate, key, password)
    return context


def _trusting(authorities: str) -> ssl.SSLContext:
    """Return a context that trusts those of a file, or of all files of a folder."""
    if authorities == _PROBE:
        return ssl.create_default_context()
    if not (folder := Path(authorities)).is_dir():
        return ssl.create_default_context(cafile=authorities)
    context = ssl.create_default_context(capath=authorities)
    for file in sorted(folder.iterdir()):
        with suppress(ssl.SSLError, IsADirectoryError):  # keys, notes and lists lie there as well
            context.load_verify_locations(file)
    if not context.cert_store_stats()["x509_ca"]:
        raise KafkaConfigInvalid(
            f"ssl.ca.location names the folder {authorities}, in which no file holds a certificate "
            "of an authority (PEM): put one there, or name the file"
        )
    return context
