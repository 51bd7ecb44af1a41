"""How Faust's client is secured, from librdkafka's properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import faust
from faust.types.auth import CredentialsT

from processor.kafka.clients.properties import KafkaConfigInvalid, foreign
from processor.kafka.wire.security import security_of

__all__ = ("credentials_of",)


def credentials_of(properties: Mapping[str, Any]) -> CredentialsT | None:
    """Return Faust's credentials; None where nothing is secured.

    It knows what the native producer knows: TLS with files, SASL with PLAIN and SCRAM. Raises
    ``KafkaConfigInvalid`` for any other way to secure a connection.
    """
    unknown = [name for name in foreign(properties) if name.startswith(("sasl.", "ssl.", "secur"))]
    if unknown:
        raise KafkaConfigInvalid(
            f"views cannot be fed with {', '.join(unknown)}: they know TLS with certificates in "
            "files, and SASL with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512"
        )
    security = security_of(properties)
    if security.sasl is None:
        return None if security.tls is None else faust.SSLCredentials(context=security.tls)
    return faust.SASLCredentials(
        mechanism=security.sasl.mechanism,
        username=security.sasl.username,
        password=security.sasl.password,
        ssl_context=security.tls,
    )
