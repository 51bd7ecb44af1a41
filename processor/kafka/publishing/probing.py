"""Finds the topic for which a transaction fails, where the error names none.

Each topic of the transaction gets one record in a transaction of its own, which is aborted: whoever
reads committed records never sees it.
"""

from __future__ import annotations

import logging
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from processor.core.records.effects import Publish

__all__ = ("probed",)

_log = logging.getLogger("processor.kafka")


_DELIVERED_S: Final = 5.0
_CALL_S: Final = 3.0


def probed(producer: Producer, record: Publish) -> KafkaError | None:
    """Return why a topic takes nothing in a transaction; the producer is of no use then. Blocks."""
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            refused.append(error)

    try:
        producer.begin_transaction()
        producer.produce(record.topic, record.value, record.key, on_delivery=delivered)
        if producer.flush(_DELIVERED_S):
            return KafkaError(KafkaError._TIMED_OUT, f"it took nothing for {_DELIVERED_S:g} s")
        if refused:
            producer.commit_transaction(_CALL_S)  # it cannot be, and says why
        producer.abort_transaction(_CALL_S)
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        return cause
    return refused[0] if refused else None
