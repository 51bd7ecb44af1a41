"""How connections are secured, from librdkafka's properties."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from processor.kafka.clients.properties import KafkaConfigInvalid, protocol_of, sasl_mechanism

__all__ = ("Sasl", "Security", "security_of")

_PROBE: Final = "probe"
"""librdkafka's word for the authorities of the operating system."""

_FALSE: Final = ("false", "f", "0")


@dataclass(frozen=True, slots=True)
class Sasl:
    mechanism: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Security:
    tls: ssl.SSLContext | None = None
    sasl: Sasl | None = None


def security_of(properties: Mapping[str, Any]) -> Security:
    """Return what these properties mean, as far as the native producer knows them."""
    protocol, sasl = protocol_of(properties), None
    if protocol.startswith("SASL"):
        user, password = properties.get("sasl.username"), properties.get("sasl.password")
        sasl = Sasl(sasl_mechanism(properties), str(user or ""), str(password or ""))
    return Security(_tls(properties) if protocol.endswith("SSL") else None, sasl)


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
