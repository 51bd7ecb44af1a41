"""Leaves a consumer group at once, also as a static member."""

from __future__ import annotations

from time import monotonic
from typing import Final

from confluent_kafka import Consumer

__all__ = ("LEAVE_S", "leave")

LEAVE_S: Final = 3.0
_POLL_S = 0.01
_LAST_POLL_S = 0.1


def leave(consumer: Consumer) -> None:
    """Give back what is assigned, and leave; ``close`` alone lets it wait for the time-out.

    librdkafka sends no LeaveGroup for a static member that terminates, but does for one that
    unsubscribes (``rd_kafka_cgrp_leave_maybe``). From the thread that polls; blocks shortly.
    """
    consumer.unsubscribe()
    deadline = monotonic() + LEAVE_S
    while consumer.assignment() and monotonic() < deadline:
        consumer.poll(_POLL_S)
    consumer.poll(_LAST_POLL_S)
