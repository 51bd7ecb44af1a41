"""Which adapters serve a server string: the only place, beside the worker, that chooses them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from processor.config import Settings
from processor.gateway import Gateway

__all__ = ("EMBEDDED", "embedded_path", "open_gateway")

EMBEDDED = "embedded:"


def embedded_path(server: str) -> Path | None:
    """Return the path of ``embedded:PATH``, None for Kafka's bootstrap servers."""
    if not server.startswith(EMBEDDED):
        return None
    path = server.removeprefix(EMBEDDED)
    if not path:
        raise ValueError("server 'embedded:' needs a path, for example 'embedded:./state'")
    return Path(path)


def open_gateway(
    server: str, namespace: str, settings: Settings, kafka: Mapping[str, str]
) -> Gateway:
    """Return the gateway to a server, not yet started."""
    path = embedded_path(server)
    if path is not None:
        from processor.embedded.runtime import EmbeddedGateway

        return EmbeddedGateway(path, settings)
    from processor.kafka.connection import KafkaSettings
    from processor.kafka.gateway import KafkaGateway

    return KafkaGateway(KafkaSettings(server, namespace, dict(kafka)), settings)
