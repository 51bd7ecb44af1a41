"""Hands the records of a transaction over, and notes which of them are refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processor.codec.records import encode
from processor.core.records.effects import Publish, RunResult
from processor.kafka.clients.connection import KafkaSettings
from processor.kafka.clients.faults import (
    FENCED,
    FORBIDDEN,
    INVALID,
    MISSING,
    NOT_A_MEMBER,
    PURGED,
    TOO_LARGE,
    forbidding,
)
from processor.kafka.clients.sending import fitting
from processor.node.publishing.faults import Fault, Kind, Place, PublishingFailed, Refusal
from processor.node.publishing.outputs import Output
from processor.node.publishing.telling import told_beside
from processor.shard.messages.border import COMMANDS, Abroad
from processor.shard.ports import OutputRecord

__all__ = ("NAMESPACE_HEADER", "RESULT_HEADERS", "TOPIC_HEADER", "fault_of", "write")

TOPIC_HEADER: Final = "topic"
"""The header of a dead letter that has the full name of the topic that refused the record."""

NAMESPACE_HEADER: Final = "namespace"
"""The header of a dead letter whose record is a message to another namespace."""

RESULT_HEADERS: Final[list[tuple[str, str | bytes | None]]] = [("content-type", b"avro/binary")]

_FLUSH_S: Final = 5.0
_REASON_S: Final = 0.5
_NOT_ITS_OWN: Final = PURGED | FENCED | {KafkaError._INVALID_DIFFERENT_RECORD, KafkaError._STATE}

_KINDS: Final[tuple[tuple[frozenset[int], Kind], ...]] = (
    (MISSING, "missing"),
    (FORBIDDEN, "forbidden"),
    (TOO_LARGE, "too large"),
    (frozenset((KafkaError.INVALID_RECORD,)), "invalid record"),
    (INVALID, "invalid"),
    (FENCED, "fenced"),
    (NOT_A_MEMBER, "no member"),
    (frozenset((KafkaError._TIMED_OUT,)), "timed out"),
)


def fault_of(error: KafkaError) -> Fault:
    """Class an error. Those that forbid a topic quote its name."""
    code, text = error.code(), forbidding(error)
    kind: Kind = next((kind for codes, kind in _KINDS if code in codes), "other")
    topics = tuple(re.findall(r'"([^"]+)"', text)) if kind == "forbidden" else ()
    return Fault(kind, error.name(), text, topics, error.txn_requires_abort())


def write(
    producer: Producer,
    connection: KafkaSettings,
    partition: int,
    output: Output,
    refused: list[Refusal],
) -> None:
    """Hand one record of a shard over, to an open transaction.

    Raises ``PublishingFailed`` or ``KafkaException`` where it, or one before, was refused.
    """
    record, letter = output.record, output.letter
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]] = []
    beside: Publish | None = None
    if letter is not None:
        topic = connection.topic("dead-letters")
        value = encode(fitting(letter.dead_letter(), letter.bytes_max))
        key = f"events/{partition}/{output.place[0]}".encode()
        headers = [(TOPIC_HEADER, letter.topic.encode())]
        if isinstance(record, Abroad):
            headers.append((NAMESPACE_HEADER, record.namespace.encode()))
            beside = told_beside(letter, connection.topic(COMMANDS))
    elif isinstance(record, RunResult):
        topic, value = connection.topic("results"), encode(record)
        key, headers = record.workflow_id.encode(), RESULT_HEADERS
    else:
        topic, key, value = record.topic, record.key, record.value
    delivered = partial(_delivered, refused, output.place, record if letter is None else None)
    _produce(producer, refused, delivered, topic, value, key, headers)
    if beside is not None:
        _produce(producer, refused, delivered, beside.topic, beside.value, beside.key, [])
    if output.alone:
        producer.flush(_FLUSH_S)
        _abort_if(refused)


def _produce(
    producer: Producer,
    refused: list[Refusal],
    delivered: Callable[[KafkaError | None, Message | None], None],
    topic: str,
    value: bytes | None,
    key: bytes | None,
    headers: list[tuple[str, str | bytes | None]],
) -> None:
    """Hand one record over. Raises as ``write``."""
    while True:
        try:
            producer.produce(topic, value, key, on_delivery=delivered, headers=headers)
            return
        except BufferError:
            producer.poll(0.1)
        except KafkaException as error:
            delivered(error.args[0], None)
            if not refused:
                producer.poll(_REASON_S)  # what was refused before ended the transaction
            _abort_if(refused)
            raise


def _abort_if(refused: list[Refusal]) -> None:
    """Raise what was refused. The fault says that the transaction is to be aborted."""
    if refused:
        raise PublishingFailed(replace(refused[0].fault, aborts=True))


def _delivered(
    refused: list[Refusal],
    place: Place,
    record: OutputRecord | None,
    error: KafkaError | None,
    _message: Message | None,
) -> None:
    """Note an error that is the record's own, and not what became of all of them."""
    if error is not None and error.code() not in _NOT_ITS_OWN:
        refused.append(Refusal(place, record, fault_of(error)))
