"""The workflow ids of entities: ``@Name@key``. Nothing else has an id that begins with ``@``."""

from __future__ import annotations

from typing import NamedTuple

from processor.checks import ENTITY_MARK

__all__ = ("EntityId", "entity_of", "is_entity_id")


class EntityId(NamedTuple):
    """An entity: the name of its class, which has no ``@``, and its key."""

    name: str
    key: str

    @property
    def workflow_id(self) -> str:
        """The id of the run that has its state."""
        return f"{ENTITY_MARK}{self.name}{ENTITY_MARK}{self.key}"


def entity_of(workflow_id: str) -> EntityId | None:
    """Return the entity that a workflow id names; None: it is none of an entity."""
    if not workflow_id.startswith(ENTITY_MARK):
        return None
    name, mark, key = workflow_id[1:].partition(ENTITY_MARK)
    return EntityId(name, key) if name and mark and key else None


def is_entity_id(workflow_id: str) -> bool:
    """Return whether an id begins as those of entities: no workflow may have it."""
    return workflow_id.startswith(ENTITY_MARK)
