"""Which topics a shard's state belongs to: a topic that is deleted and made again has another id.

Offsets do not tell: a new topic that holds more than was read of the old one looks like the old
one. So the ids are kept beside what depends on them, in two places that are not lost together:
in the state directory, and in the metadata of the publisher's committed offsets.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from time import monotonic

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, TopicDescription

from processor.errors import LogTruncated, TopicsNotReady
from processor.kafka.clients.bounded import silence
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import MISSING

__all__ = (
    "CO_PARTITIONED",
    "check_ids",
    "describe",
    "describe_existing",
    "describe_shard_topics",
    "ids_text",
    "log_id",
)

CO_PARTITIONED = ("events", "commands", "activity-results", "timers")
_CALL_S = 10.0
_TRY_S = 2.0


def describe_shard_topics(
    admin: AdminClient, connection: KafkaSettings
) -> tuple[Mapping[str, str], int]:
    """Return the ids of the log and of the inputs, and how many partitions they have. Blocks."""
    described = describe_existing(admin, connection, CO_PARTITIONED)
    ids = {name: str(each.topic_id) for name, each in described.items()}
    return ids, len(described["events"].partitions)


def describe_existing(
    admin: AdminClient, connection: KafkaSettings, names: Sequence[str]
) -> Mapping[str, TopicDescription]:
    """Return what Kafka says of topics of the namespace. Blocks.

    Raises ``TopicsNotReady`` where one does not exist.
    """
    topics = {name: connection.topic(name) for name in names}
    described = describe(admin, list(topics.values()))
    for topic in topics.values():
        if topic not in described:
            raise TopicsNotReady(
                f"topic {topic} does not exist: run `processor topics apply --namespace "
                f"{connection.namespace}`"
            )
    return {name: described[topic] for name, topic in topics.items()}


def describe(admin: AdminClient, topics: list[str]) -> dict[str, TopicDescription]:
    """Return what Kafka says of those of the topics that exist. Blocks.

    The client asks the controller that it heard of last. When that broker is gone, it asks nobody
    else, and burns a core until its time is up (measured with librdkafka 2.16). So it has to hear
    first who is there; a broker that died just now may still be named, and is not waited for long.
    """
    if not topics:
        return {}
    deadline = monotonic() + _CALL_S
    while True:
        admin.list_topics(topics[0], _CALL_S)
        try:
            return _described(admin, topics)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._TIMED_OUT or monotonic() > deadline:
                raise


def _described(admin: AdminClient, topics: list[str]) -> dict[str, TopicDescription]:
    found = {}
    futures = admin.describe_topics(TopicCollection(topics), request_timeout=_TRY_S)
    for topic, future in futures.items():
        try:
            found[topic] = future.result(_CALL_S)
        except TimeoutError:
            raise silence(f"nobody said what topic {topic} is within {_CALL_S:g} s") from None
        except KafkaException as error:
            if error.args[0].code() not in MISSING:
                raise
    return found


def ids_text(ids: Mapping[str, str]) -> str:
    """Return the ids as they are stored."""
    return ",".join(f"{name}={id}" for name, id in ids.items())


def log_id(ids: str) -> bytes:
    """Return the log id, which is the topic id of ``events``, from ids as they are stored."""
    held = dict(each.partition("=")[::2] for each in ids.split(","))
    return urlsafe_b64decode(held["events"] + "==")


def check_ids(connection: KafkaSettings, held: str, now: str, holder: str) -> None:
    """Raise ``LogTruncated`` where ``holder`` belongs to other topics than there are now."""
    before = dict(each.partition("=")[::2] for each in held.split(","))
    for each in now.split(","):
        name, _, id = each.partition("=")
        if name in before and before[name] != id:
            raise LogTruncated(
                f"{connection.topic(name)} was deleted and made again: {holder} belongs to topic "
                f"id {before[name]}, and the topic's is {id}. What the old one held is gone from "
                "Kafka, and nothing was skipped or read again. If that is intended, begin again "
                "in a new namespace"
            )
