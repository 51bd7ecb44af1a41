"""Asks whichever broker answers who leads what, and for a producer's id."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from scramp import ScramException

from processor.kafka.wire.link import Link
from processor.kafka.wire.machine import Search
from processor.kafka.wire.protocol import (
    Cluster,
    Identity,
    ProtocolError,
    Topic,
    init_producer_id,
    metadata,
    parse_init_producer_id,
    parse_metadata,
)
from processor.kafka.wire.security import Security
from processor.kafka.wire.versions import INIT_PRODUCER_ID, METADATA

__all__ = ("NO_ANSWER", "Address", "addresses_of", "ask", "refusal")

NO_ANSWER: Final = (OSError, KafkaException, ScramException)
"""What is raised where a broker cannot be reached, or does not let us in."""

_PORT: Final = 9092

_PASSWORD: Final = (
    "check sasl.mechanism, sasl.username and sasl.password, in kafka= or in the file of "
    "--kafka-config, against what the brokers have"
)
_REMEDIES: Final[Mapping[int, str]] = {
    KafkaError.SASL_AUTHENTICATION_FAILED: _PASSWORD,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: _PASSWORD,
    KafkaError.ILLEGAL_SASL_STATE: _PASSWORD,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "allow this user Write on the namespace's topics, or "
    "IdempotentWrite on the cluster (kafka-acls.sh --producer --idempotent)",
    KafkaError._SSL: "check ssl.ca.location, in kafka= or in the file of --kafka-config: it has to "
    "hold the authority that signed the brokers' certificates, which have to name their hosts",
}

Address = tuple[str, int]


def addresses_of(servers: str) -> Sequence[Address]:
    """Return host and port of each server of a list with commas."""
    found = []
    for server in servers.split(","):
        parts = urlsplit(f"//{server.strip().rpartition('://')[2]}")
        found.append((parts.hostname or "", parts.port or _PORT))
    return found


def ask(
    addresses: Sequence[Address], security: Security, client: str, search: Search
) -> tuple[Cluster, Identity | None]:
    """Return what the first broker to answer says of what is sought, and an id if wanted. Blocks.

    Raises one of ``NO_ANSWER`` if none answered: that we are not let in, or the last one's error;
    ``Unfit`` where one takes no version of what we write.
    """
    failure: Exception = OSError("no server is named")
    for host, port in addresses:
        try:
            link = Link(host, port, security, client)
            try:
                identity = _identity(link) if search.identify else None
                return _cluster(link, search.topics), identity
            finally:
                link.close()
        except NO_ANSWER as error:
            if refusal(failure) is None:
                failure = error
    raise failure


def refusal(error: Exception) -> KafkaError | None:
    """Return what to do about an error that trying again will not mend, None for any other."""
    match error:
        case KafkaException():
            code, why = error.args[0].code(), error.args[0].str()
        case ScramException():
            code, why = KafkaError.SASL_AUTHENTICATION_FAILED, str(error)
        case ssl.SSLCertVerificationError():
            code, why = KafkaError._SSL, str(error)
        case _:
            return None
    remedy = _REMEDIES.get(code)
    return None if remedy is None else KafkaError(code, f"no broker lets us in ({why}): {remedy}")


def _cluster(link: Link, topics: Sequence[str]) -> Cluster:
    """Ask for the leaders; a topic that is left out is one that the broker does not know."""
    version = link.versions[METADATA]
    cluster = parse_metadata(link.ask(partial(metadata, version=version, topics=topics)))
    unknown = dict.fromkeys(topics, Topic(KafkaError.UNKNOWN_TOPIC_OR_PART, {}))
    return cluster._replace(topics={**unknown, **cluster.topics})


def _identity(link: Link) -> Identity:
    version = link.versions[INIT_PRODUCER_ID]
    answer = link.ask(partial(init_producer_id, version=version))
    error, producer_id, epoch = parse_init_producer_id(answer)
    if error:
        raise KafkaException(KafkaError(error))
    if producer_id < 0 or epoch < 0:
        raise ProtocolError(f"the producer id {producer_id} with epoch {epoch} is none")
    return Identity(producer_id, epoch)
