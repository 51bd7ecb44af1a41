"""Entities: classes whose objects live under keys, one operation at a time, for ever.

The public methods of a class under ``define`` are its operations, and what the fields of an object
hold is its state. ``workflow.call_entity``, ``workflow.signal_entity`` and ``client.entity`` ask
for operations.
"""

from __future__ import annotations

from processor.core.entity_id import EntityId
from processor.workflow._entities.defining import define, migrate, read
from processor.workflow._entities.definition import EntityInfo
from processor.workflow._entities.locking import at
from processor.workflow._entities.verbs import delete, info

__all__ = ("EntityId", "EntityInfo", "at", "define", "delete", "info", "migrate", "read")
