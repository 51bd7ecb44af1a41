"""Which adapters serve a server string: the only place, beside the worker, that chooses them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processor import checks
from processor.config import Settings
from processor.errors import InvalidArgument
from processor.gateway import Gateway

__all__ = ("EMBEDDED", "check_target", "embedded_path", "open_gateway")

EMBEDDED = "embedded:"
_BROKERS = ("bootstrap.servers", "metadata.broker.list")


def check_target(server: Any, namespace: Any, kafka: Any) -> None:
    """Refuse what neither a client nor a worker can use.

    Raises ``InvalidArgument``, and ``KafkaConfigInvalid`` for a property of Kafka's clients.

    Values of properties and servers with user information are not shown: they may be passwords.
    """
    if not isinstance(server, str) or not server.strip():
        given = checks.shown(server)
        raise InvalidArgument(
            "server: give Kafka's bootstrap servers ('localhost:9092') or 'embedded:PATH', not "
            f"{given}"
        )
    if server.startswith(EMBEDDED):
        if not server.removeprefix(EMBEDDED).strip():
            raise InvalidArgument("server: 'embedded:' needs a path: 'embedded:./state'")
    else:
        checks.servers(server, "server")
    checks.topic(namespace, "namespace")
    if not isinstance(kafka, Mapping):
        raise InvalidArgument(
            f"kafka: give a dictionary of librdkafka's properties, not a {type(kafka).__name__}"
        )
    for name, value in kafka.items():
        if not isinstance(name, str):
            raise InvalidArgument(f"kafka: properties have names (str), not {checks.shown(name)}")
        if name in _BROKERS:
            raise InvalidArgument(
                f"kafka: property {name} cannot be set, because the argument `server` names the "
                "brokers: leave it out"
            )
        if not isinstance(value, str | int | float) and not callable(value):
            raise InvalidArgument(
                f"kafka: property {name!r} is a {type(value).__name__}; give text (str)"
            )
    if kafka and not server.startswith(EMBEDDED):
        from processor.kafka.clients.properties import check_producer, check_properties

        check_properties(kafka)
        check_producer(kafka)


def embedded_path(server: str) -> Path | None:
    """Return the path of ``embedded:PATH``, None for Kafka's bootstrap servers."""
    return Path(server.removeprefix(EMBEDDED)) if server.startswith(EMBEDDED) else None


def open_gateway(
    server: str, namespace: str, settings: Settings, kafka: Mapping[str, str]
) -> Gateway:
    """Return the gateway to a server, not yet started. Raises ``InvalidArgument``."""
    check_target(server, namespace, kafka)
    path = embedded_path(server)
    if path is not None:
        if kafka:
            raise InvalidArgument(
                f"kafka: these properties have no effect with {server!r}: leave them out"
            )
        from processor.embedded.runtime import EmbeddedGateway

        return EmbeddedGateway(path, settings, namespace)
    from processor.kafka.clients.connection import KafkaSettings
    from processor.kafka.gateway import KafkaGateway

    return KafkaGateway(KafkaSettings(server, namespace, dict(kafka)), settings)
