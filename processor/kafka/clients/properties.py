"""Which of librdkafka's properties users may set: each one applies, or is refused with an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from processor import checks
from processor.errors import ProcessorError

__all__ = ("OF_CONSUMERS", "KafkaConfigInvalid", "check_properties", "check_servers", "protocol_of")

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

OF_CONSUMERS: Final = frozenset(
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
