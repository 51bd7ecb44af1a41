"""What a class is as a record: its fields in the order of the log, and the classes in them."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

from processor.core.data.fields import LAST
from processor.core.event import Event
from processor.core.inputs import ActivityReport, ClientCommand, TimerDue
from processor.core.operation import Request
from processor.core.records.effects import ActivityTask, DeadLetter, Reply, RunResult
from processor.core.records.marks import Answered, Mark
from processor.core.records.snapshot import EntityDelta, EntitySnapshot, Snapshot
from processor.core.records.turn import AttemptRecord, Claim, Purged, Turn
from processor.core.vocabulary import EVENTS, REQUESTS

__all__ = ("RECORDS", "Shape", "branches_of", "classes_in", "shapes_of")

_OPEN: Final[dict[Any, tuple[type, ...]]] = {Event: EVENTS, Request: REQUESTS}
"""Types that stand for all classes that are derived from them, in the order of their branches."""


RECORDS: Final[dict[str, type]] = {
    "command": ClientCommand,
    "turn": Turn,
    "attempt": AttemptRecord,
    "snapshot": Snapshot,
    "entity_snapshot": EntitySnapshot,
    "entity_delta": EntityDelta,
    "purged": Purged,
    "mark": Mark,
    "answered": Answered,
    "claim": Claim,
    "activity_task": ActivityTask,
    "activity_report": ActivityReport,
    "timer_due": TimerDue,
    "run_result": RunResult,
    "reply": Reply,
    "dead_letter": DeadLetter,
}
"""The class of each schema file."""


class Shape(NamedTuple):
    """One field of a record. ``default`` is ``MISSING`` where it has none."""

    name: str
    type: Any
    default: Any


@cache
def shapes_of(cls: Any) -> tuple[Shape, ...]:
    """Return the fields of a class in the order in which they are written."""
    if not dataclasses.is_dataclass(cls):
        hints = get_type_hints(cls, include_extras=True)
        given = cls._field_defaults
        return tuple(Shape(name, hints[name], given.get(name, MISSING)) for name in hints)
    shapes = [
        Shape(each.name, _evaluated(str(each.type), _module_of(cls, each.name)), each.default)
        for each in dataclasses.fields(cls)
    ]
    return tuple(sorted(shapes, key=lambda each: LAST in getattr(each.type, "__metadata__", ())))


def _module_of(cls: Any, field: str) -> str:
    """Return the module of the class that a field comes from."""
    mro: tuple[type, ...] = cls.__mro__
    return next(each.__module__ for each in mro if field in inspect.get_annotations(each))


@cache
def _evaluated(annotation: str, module: str) -> Any:
    """Return a type. ``get_type_hints`` takes twice as long, and every process waits for it."""
    return eval(annotation, vars(sys.modules[module]))


def branches_of(type: Any) -> tuple[Any, ...]:
    """Return the types of a union, None as ``NoneType`` first; nothing where it is none."""
    if type in _OPEN:
        return _OPEN[type]
    if get_origin(type) not in (Union, UnionType):
        return ()
    return tuple(sorted(get_args(type), key=lambda each: each is not NoneType))


def classes_in(cls: type) -> Iterator[tuple[str, type]]:
    """Yield a class, and each class of a record within it, with the field that it stands in."""
    seen = {cls}
    found: list[tuple[str, Any]] = [(cls.__name__, cls)]
    for where, each in found:
        yield where, each
        for shape in shapes_of(each):
            for record in _records(shape.type):
                if record not in seen:
                    seen.add(record)
                    found.append((f"{each.__name__}.{shape.name}", record))


@cache
def _records(type: Any) -> tuple[Any, ...]:
    if dataclasses.is_dataclass(type) or hasattr(type, "_fields"):
        return (type,)
    if get_origin(type) in (Annotated, tuple):
        return _records(get_args(type)[0])
    return tuple(record for branch in branches_of(type) for record in _records(branch))
