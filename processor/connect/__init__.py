"""Connections: records of a Kafka topic of the user's become starts, signals and operations.

A function under ``define`` says what a record asks for. A worker, or ``processor connect``, reads
the topic and asks for that, once for each record, and in their order.
"""

from __future__ import annotations

from processor.connect.actions import Action, SignalCorrelated, SignalEntity, SignalWorkflow, Start
from processor.connect.connection import Connection, define
from processor.connect.values import Avro, Record

__all__ = (
    "Action",
    "Avro",
    "Connection",
    "Record",
    "SignalCorrelated",
    "SignalEntity",
    "SignalWorkflow",
    "Start",
    "define",
)
