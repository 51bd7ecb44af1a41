"""How clients and workflows name entities and their operations: by class and method, or as text."""

from __future__ import annotations

from typing import Any, NamedTuple

from processor import checks
from processor.checks import ENTITY_MARK
from processor.core.entity_id import EntityId
from processor.errors import InvalidArgument
from processor.workflow._entities.definition import DEFINED, OPERATION, Entity
from processor.workflow._signature import Signature

__all__ = (
    "NamedOperation",
    "entity_id",
    "entity_named",
    "is_entity",
    "operation_named",
)


class NamedOperation(NamedTuple):
    """An operation or a read, as somebody names it. ``function`` is None where only text does."""

    entity: str
    name: str
    result: Any
    signature: Signature | None
    is_read: bool


def is_entity(given: object) -> bool:
    """Return whether this is a class under ``@entity.define``."""
    return isinstance(given, type) and isinstance(vars(given).get(DEFINED), Entity)


def entity_named(given: Any, call: str) -> tuple[str, Entity | None]:
    """Return the name of an entity, and its definition where a class names it."""
    if isinstance(given, str):
        name = checks.name(given, f"{call}: entity")
        if ENTITY_MARK in name:
            raise InvalidArgument(
                f"{call}: entity: {name!r} has an {ENTITY_MARK}, and no entity has"
            )
        return name, None
    found = vars(given).get(DEFINED) if isinstance(given, type) else None
    if isinstance(found, Entity):
        return found.name, found
    shown = checks.shown(given)
    raise InvalidArgument(f"{call}: entity: {shown} is none: put @entity.define on the class")


def entity_id(name: str, key: Any, call: str) -> str:
    """Return the workflow id of an entity."""
    key = checks.workflow_id(key, f"{call}: key")
    return checks.workflow_id(EntityId(name, key).workflow_id, f"{call}: key")


def operation_named(given: Any, call: str, entity: Entity | str | None = None) -> NamedOperation:
    """Return what a method of an entity's class, or a text, names.

    ``entity`` is whose it is; without one, the text is "Name.operation".
    """
    if isinstance(given, str):
        return _by_text(given, call, entity)
    found = getattr(given, OPERATION, None)
    name = getattr(given, "__name__", "")
    if isinstance(entity, Entity) and callable(given):
        known = entity.operations.get(name)
        if known is not None and known.function is given:
            return _known(entity, name)
    elif found is not None and (entity is None or entity == found[0].name):
        return _known(*found)
    shown = checks.shown(given)
    whose = f" of entity {entity.name!r}" if isinstance(entity, Entity) else ""
    raise InvalidArgument(
        f"{call}: operation: {shown} is none{whose}: give a public method of a class under "
        "@entity.define, by way of the class (Account.deposit), or its name"
    )


def _by_text(given: str, call: str, entity: Entity | str | None) -> NamedOperation:
    text = checks.name(given, f"{call}: operation")
    if isinstance(entity, Entity):
        if text in entity.operations:
            return _known(entity, text)
        known = ", ".join(sorted(map(repr, entity.operations)))
        raise InvalidArgument(f"{call}: operation: {entity.name!r} has no {text!r}, but: {known}")
    if isinstance(entity, str):
        return NamedOperation(entity, text, Any, None, is_read=False)
    name, dot, operation = text.rpartition(".")
    if not name or not dot or not operation or ENTITY_MARK in name:
        raise InvalidArgument(f"{call}: operation: {text!r}: write Name.operation")
    return NamedOperation(name, operation, Any, None, is_read=False)


def _known(entity: Entity, name: str) -> NamedOperation:
    operation = entity.operations[name]
    signature = operation.signature
    return NamedOperation(entity.name, name, signature.result, signature, operation.is_read)
