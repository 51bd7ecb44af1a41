"""Which adapters serve a server string, and what a user puts into clients and workers.

The only place, beside the worker, that chooses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from processor import checks
from processor.codec.coded import CodedPayloads, ConvertedPayloads
from processor.codec.payloads import JsonPayloads
from processor.config import Settings
from processor.core.data.payloads import Payloads
from processor.errors import InvalidArgument
from processor.gateway import Gateway
from processor.injection.interceptors import Injected, Interceptor
from processor.injection.payloads import NAME_BYTES_MAX, PayloadCodec, PayloadConverter

__all__ = ("EMBEDDED", "check_target", "embedded_path", "injected", "is_http", "open_gateway")

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
        if "\0" in server:
            raise InvalidArgument(f"server: no path can be {checks.shown(server)}: it has a NUL")
    elif is_http(server):
        _check_url(server)
    else:
        checks.servers(server, "server")
    checks.topic(namespace, "namespace")
    checks.namespace(namespace, "namespace")
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
    if kafka and not server.startswith(EMBEDDED) and not is_http(server):
        from processor.kafka.clients.properties import check_producer, check_properties

        check_properties(kafka)
        check_producer(kafka)


def is_http(server: str) -> bool:
    """Whether a server is the URL of an HTTP API."""
    return server.startswith(("http://", "https://"))


def _check_url(server: str) -> None:
    try:
        parts = urlsplit(server)
        is_url = bool(parts.hostname) and parts.port != 0 and server.isprintable()
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment or parts.username is not None:
        raise InvalidArgument(
            "server: the URL of an HTTP API is as 'http://localhost:8233', without a query and a "
            "password"
        )


def embedded_path(server: str) -> Path | None:
    """Return the path of ``embedded:PATH``, None for Kafka's bootstrap servers."""
    return Path(server.removeprefix(EMBEDDED)) if server.startswith(EMBEDDED) else None


def open_gateway(
    server: str,
    namespace: str,
    settings: Settings,
    kafka: Mapping[str, str],
    views_dir: Path | None = None,
    replies: Any = None,
) -> Gateway:
    """Return the gateway to a server, not yet started. Raises ``InvalidArgument``."""
    check_target(server, namespace, kafka)
    path = embedded_path(server)
    if kafka and (path is not None or is_http(server)):
        raise InvalidArgument(
            f"kafka: these properties have no effect with {server!r}: leave them out"
        )
    if views_dir is not None and (path is not None or is_http(server)):
        raise InvalidArgument(
            f"views_dir: {server!r} has a view of its own, or its server has: leave it out"
        )
    if replies is not None:
        if path is not None or is_http(server):
            raise InvalidArgument(
                f"replies: with {server!r} no answer is in a topic that this client names: leave "
                "it out"
            )
        replies = checks.replies(replies, "replies", namespace)
    if is_http(server):
        from processor.remote.gateway import HttpGateway

        return HttpGateway(server, namespace, settings)
    if path is not None:
        from processor.embedded.runtime import EmbeddedGateway

        return EmbeddedGateway(path, settings, namespace)
    from processor.kafka.clients.connection import KafkaSettings
    from processor.kafka.gateway import KafkaGateway

    connection = KafkaSettings(server, namespace, dict(kafka), replies)
    return KafkaGateway(connection, settings, views_dir)


def injected(payloads: Any, interceptors: Any, call: str) -> Injected:
    """Return what a client or a worker is given of its user's. Raises ``InvalidArgument``."""
    given = _listed(
        payloads, f"{call}: payloads", "[Encryption(key)]", (PayloadCodec, PayloadConverter)
    )
    around = _listed(interceptors, f"{call}: interceptors", "[Tracing()]", (Interceptor,))
    names = [_name(each, f"{call}: payloads") for each in given]
    if len(names) > len(set(names)):
        raise InvalidArgument(
            f"{call}: payloads: {', '.join(names)}: each has a name of its own, by which what it "
            "made is read again. Give one of them another name"
        )
    if any(isinstance(each, PayloadConverter) for each in given[1:]):
        raise InvalidArgument(
            f"{call}: payloads: a PayloadConverter comes first, and alone: it makes the bytes that "
            "codecs then take. Give [PayloadConverter, PayloadCodec, ...]"
        )
    values: Payloads = JsonPayloads()
    converter = ""
    if given and isinstance(given[0], PayloadConverter):
        values, converter, given = ConvertedPayloads(given[0]), names[0], given[1:]
    coded = CodedPayloads(values, given, converter) if given else values
    return Injected(coded, around)


def _listed(given: Any, what: str, example: str, kinds: tuple[type, ...]) -> tuple[Any, ...]:
    """Return what is one of these kinds, or several of them."""
    if given is None:
        return ()
    listed = (given,) if isinstance(given, kinds) or not isinstance(given, Iterable) else given
    found = tuple(listed)
    for each in found:
        if not isinstance(each, kinds):
            wanted = " or ".join(f"processor.{kind.__name__}" for kind in kinds)
            is_class = isinstance(each, type) and issubclass(each, kinds)
            hint = ": make one of this class" if is_class else ""
            raise InvalidArgument(
                f"{what}: give a list such as {example}, of objects of a class derived from "
                f"{wanted}, not {checks.shown(each)}{hint}"
            )
    return found


def _name(given: PayloadCodec | PayloadConverter, what: str) -> str:
    name: Any = getattr(given, "name", None)
    if isinstance(name, str) and 0 < len(name.encode(errors="replace")) <= NAME_BYTES_MAX:
        return name
    raise InvalidArgument(
        f"{what}: {type(given).__name__}.name: give a text of 1 to {NAME_BYTES_MAX} bytes, which "
        f"is recorded with each value, not {checks.shown(name)}"
    )
