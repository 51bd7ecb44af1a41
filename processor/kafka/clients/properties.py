"""Which of librdkafka's properties users may set: each one applies, or is refused with an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from processor import checks
from processor.errors import ProcessorError

__all__ = (
    "LIBRDKAFKA",
    "NATIVE",
    "PLAIN",
    "PRODUCER",
    "KafkaConfigInvalid",
    "check_producer",
    "check_properties",
    "check_servers",
    "foreign",
    "of_librdkafka",
    "protocol_of",
    "sasl_mechanism",
)

PRODUCER: Final = "producer"
"""The one property that is not librdkafka's: which producer sends records."""

NATIVE: Final = "native"
LIBRDKAFKA: Final = "librdkafka"

PLAIN: Final = "PLAIN"
_MECHANISMS: Final = (PLAIN, "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

_ONCE = "records are written once and in order, and none is given up"
_OWN_PLACE = "positions are kept in the log, and not by the consumer group"
_WHO = "it tells the members of the namespace's groups, and their transactions, apart"

_OURS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "acks",
            "delivery.timeout.ms",
            "enable.gapless.guarantee",
            "enable.idempotence",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "message.send.max.retries",
            "message.timeout.ms",
            "request.required.acks",
            "retries",
        ),
        _ONCE,
    ),
    **dict.fromkeys(("partitioner", "msg_order_cmp"), "a workflow id has one partition for ever"),
    **dict.fromkeys(
        (
            "auto.commit.enable",
            "auto.offset.reset",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "enable.partition.eof",
            "isolation.level",
        ),
        _OWN_PLACE,
    ),
    **dict.fromkeys(("group.id", "group.instance.id", "transactional.id"), _WHO),
    **dict.fromkeys(
        ("group.protocol", "partition.assignment.strategy"),
        "the partitions of one shard have to have one owner",
    ),
    **dict.fromkeys(
        ("bootstrap.servers", "metadata.broker.list"), "the argument `server` (--server) names them"
    ),
    "allow.auto.create.topics": "topics are made by `processor topics apply` alone",
}
"""What the engine rests on, and why."""

_OF_CONSUMERS: Final = frozenset(
    (
        "auto.commit.interval.ms",
        "check.crcs",
        "client.rack",
        "consume.callback.max.messages",
        "coordinator.query.interval.ms",
        "fetch.error.backoff.ms",
        "fetch.max.bytes",
        "fetch.message.max.bytes",
        "fetch.min.bytes",
        "fetch.queue.backoff.ms",
        "fetch.wait.max.ms",
        "group.protocol.type",
        "heartbeat.interval.ms",
        "max.partition.fetch.bytes",
        "max.poll.interval.ms",
        "offset.store.method",
        "queued.max.messages.kbytes",
        "queued.min.messages",
        "session.timeout.ms",
    )
)
"""They say nothing to a producer."""

_OF_NATIVE: Final = _OF_CONSUMERS.union(
    (
        PRODUCER,
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
"""What applies where the native producer sends."""

_SECURED: Final = {"sasl.": "SASL", "ssl.": "SSL"}


class KafkaConfigInvalid(ProcessorError):
    """The Kafka client refused a property that it was given."""


def check_servers(servers: str) -> None:
    """Refuse what can be no Kafka brokers, with ``KafkaConfigInvalid`` or ``InvalidArgument``."""
    if servers.startswith("embedded:"):
        raise KafkaConfigInvalid(
            f"{servers} is a folder on this machine, without topics: there is nothing to plan, "
            "check or send again. What a workflow rejected is in its run's history: processor "
            f"history ID --server {servers} --module MODULE"
        )
    checks.servers(servers, "server")


def protocol_of(properties: Mapping[str, Any]) -> str:
    """Return the security protocol, in capitals."""
    return str(properties.get("security.protocol", "PLAINTEXT")).upper()


def sasl_mechanism(properties: Mapping[str, Any]) -> str:
    return str(properties.get("sasl.mechanism", properties.get("sasl.mechanisms", "GSSAPI")))


def of_librdkafka(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return what librdkafka's clients are given of these properties."""
    return {name: value for name, value in properties.items() if name != PRODUCER}


def foreign(properties: Mapping[str, Any]) -> Sequence[str]:
    """Return the properties that the native producer does not know.

    It knows TLS with files, and SASL with PLAIN and SCRAM.
    """
    found = [name for name in properties if name not in _OF_NATIVE]
    if (protocol := protocol_of(properties)) not in _PROTOCOLS:
        found.append("security.protocol")
    elif protocol.startswith("SASL") and sasl_mechanism(properties) not in _MECHANISMS:
        found.append("sasl.mechanism")
    if "ssl.key.location" in properties and "ssl.certificate.location" not in properties:
        found.append("ssl.key.location")
    return found


def check_properties(properties: Mapping[str, Any]) -> None:
    """Raise ``KafkaConfigInvalid`` where one would break a promise, or would not apply."""
    protocol = protocol_of(properties)
    for name in properties:
        if why := _OURS.get(name):
            raise KafkaConfigInvalid(
                f"the Kafka property {name} cannot be set, because {why}: leave it out"
            )
        for prefix, needed in _SECURED.items():
            if name.startswith(prefix) and needed not in protocol:
                raise KafkaConfigInvalid(
                    f"the Kafka property {name} does not apply while security.protocol is "
                    f"{protocol}: set security.protocol to SASL_SSL, SASL_PLAINTEXT or SSL, as the "
                    "brokers want it, or leave the property out"
                )
    both = [
        properties[name] for name in ("sasl.mechanism", "sasl.mechanisms") if name in properties
    ]
    if len(set(map(str, both))) > 1:
        raise KafkaConfigInvalid(
            f"sasl.mechanism is {both[0]} and sasl.mechanisms is {both[1]}, which are two names of "
            "one property: leave one of them out"
        )
    if producer_of(properties) not in (NATIVE, LIBRDKAFKA):
        raise KafkaConfigInvalid(
            f"the property {PRODUCER} names no producer: give {NATIVE} (as is the default) or "
            f"{LIBRDKAFKA}"
        )


def producer_of(properties: Mapping[str, Any]) -> str:
    """Return the name of the producer that is chosen."""
    return str(properties.get(PRODUCER, NATIVE))


def check_producer(properties: Mapping[str, Any]) -> None:
    """Raise ``KafkaConfigInvalid`` where the producer that is chosen would leave one out."""
    if producer_of(properties) == NATIVE and (names := foreign(properties)):
        unknown = [name for name in names if name not in _OF_NATIVE]
        meant = {each for name in unknown for each in get_close_matches(name, _OF_NATIVE, 1, 0.8)}
        told = f" (is {', '.join(sorted(meant))} meant?)" if meant else ""
        raise KafkaConfigInvalid(
            f"the native producer does not know the Kafka property {', '.join(names)} as it is "
            f"set{told}: set the property {PRODUCER} to {LIBRDKAFKA}, so that librdkafka's "
            "producer sends the records, or leave the property out"
        )
