"""Functions of records that are declared in text, for the command line.

A field is ``value.order.id``, ``value.lines[0]``, ``key``, ``headers.kind``, ``topic``,
``partition``, ``offset`` or ``timestamp``. A filter is a field, or one that is compared with a
value in JSON: ``value.amount >= 100``.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from processor.connect.actions import Action, SignalCorrelated, SignalEntity, SignalWorkflow, Start
from processor.connect.values import Record
from processor.errors import InvalidArgument
from processor.policy import ConflictPolicy, ReusePolicy

__all__ = (
    "field",
    "fields_of",
    "filter_of",
    "signals",
    "signals_correlated",
    "signals_entity",
    "starts",
)

Function: TypeAlias = Callable[[Record[Any]], Action | None]
Filter: TypeAlias = Callable[[Record[Any]], bool]

_ROOTS: Final = ("value", "key", "headers", "topic", "partition", "offset", "timestamp")
_FIELD: Final = re.compile(r"([a-z]+)((?:\.[^.\[\]\s]+|\[-?\d{1,9}\])*)")
_STEP: Final = re.compile(r"\.([^.\[\]\s]+)|\[(-?\d+)\]")
_FILTER: Final = re.compile(r"\s*([^\s=!<>]+)\s*(?:(==|!=|<=|>=|<|>)\s*(.+?))?\s*", re.DOTALL)
_COMPARED: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


_ANY_ID: Final = "any"


class _Missing:
    """What a field is that is not there."""

    def __repr__(self) -> str:
        return "nothing"


_MISSING: Final = _Missing()


def field(text: str, what: str) -> Callable[[Record[Any]], Any]:
    """Return what finds a field of a record. ``InvalidArgument`` says what no field is."""
    found = _FIELD.fullmatch(text)
    if found is None or found[1] not in _ROOTS:
        raise InvalidArgument(
            f"{what}: {text!r} is no field of a record: write value.order.id, value.lines[0], key, "
            f"headers.NAME, or another one of {', '.join(_ROOTS)}"
        )
    root, path = found.groups()
    if root == "headers" and path:
        return _header(path, f"{what}: {text!r}")
    steps = [name or int(number) for name, number in _STEP.findall(path)]
    if root != "value" and steps:
        raise InvalidArgument(f"{what}: {text!r}: {root} has no fields; write {root}")

    def find(record: Record[Any]) -> Any:
        at = _root(record, root)
        for step in steps:
            at = _at(at, step)
        return at

    return find


def _header(path: str, what: str) -> Callable[[Record[Any]], Any]:
    """Return what finds the last header of a name; the others need not be text."""
    name = path.removeprefix(".")
    if name == path or "[" in name:
        raise InvalidArgument(f"{what}: headers have names, and no numbers: write headers.NAME")

    def find(record: Record[Any]) -> Any:
        for each, value in reversed(record.headers):
            if each == name:
                return None if value is None else value.decode()
        return _MISSING

    return find


def _root(record: Record[Any], root: str) -> Any:
    if root == "key":
        return None if record.key is None else record.key.decode()
    if root == "headers":
        return {name: None if value is None else value.decode() for name, value in record.headers}
    if root == "timestamp":
        return None if record.timestamp is None else record.timestamp.isoformat()
    return getattr(record, root)


def _at(value: Any, step: str | int) -> Any:
    if isinstance(step, str):
        return value.get(step, _MISSING) if isinstance(value, Mapping) else _MISSING
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return value[step] if listed and -len(value) <= step < len(value) else _MISSING


def filter_of(text: str, what: str = "filter") -> Filter:
    """Return whether a record passes. A field alone has to be there, and not null or false.

    Values of different kinds are never equal, and none of them is less than the other.
    """
    found = _FILTER.fullmatch(text)
    if found is None:
        raise InvalidArgument(
            f"{what}: {text!r}: write a field, or a field, one of {' '.join(_COMPARED)}, and a "
            """value in JSON: value.kind == "order" """.rstrip()
        )
    name, compared, literal = found.groups()
    find = field(name, what)
    if compared is None:
        return lambda record: _is_there(find(record))
    try:
        wanted = json.loads(literal, parse_constant=_no_json)
    except ValueError as error:
        raise InvalidArgument(
            f"{what}: {literal} is no value in JSON ({error}): a text has its quotes, as in "
            f'{name} {compared} "order"'
        ) from None
    compare = _COMPARED[compared]

    def passes(record: Record[Any]) -> bool:
        value = find(record)
        if isinstance(value, bool) != isinstance(wanted, bool):  # to Python, True is 1
            return compared == "!="
        try:
            return bool(compare(value, wanted))
        except TypeError:
            return False

    return passes


def _is_there(value: Any) -> bool:
    return value is not _MISSING and value is not None and value is not False


def _no_json(text: str) -> None:
    raise ValueError(f"JSON has no {text}")


def fields_of(texts: Sequence[str], what: str) -> Callable[[Record[Any]], list[Any]]:
    """Return what finds the arguments of a record: its whole value, where no field is named."""
    if not texts:
        return lambda record: [record.value]
    finds = [(text, field(text, what)) for text in texts]

    def find_all(record: Record[Any]) -> list[Any]:
        return [_there(find(record), text) for text, find in finds]

    return find_all


def starts(
    workflow: str,
    id: str,
    arguments: Sequence[str] = (),
    filters: Sequence[str] = (),
    reuse: ReusePolicy = "allow",
    conflict: ConflictPolicy = "fail",
) -> Function:
    """Return a function that starts a workflow for each record; ``id`` is a field."""
    find, find_all, passes = _parts(id, arguments, filters)
    Start(workflow, id=_ANY_ID, reuse=reuse, conflict=conflict)  # refuses what no record can mend

    def start(record: Record[Any]) -> Action | None:
        if not passes(record):
            return None
        args = find_all(record)
        return Start(workflow, *args, id=find(record), reuse=reuse, conflict=conflict)

    return start


def signals(
    name: str, id: str, arguments: Sequence[str] = (), filters: Sequence[str] = ()
) -> Function:
    """Return a function that signals a workflow for each record; ``id`` is a field."""
    find, find_all, passes = _parts(id, arguments, filters)
    SignalWorkflow(_ANY_ID, name)  # as above

    def signal(record: Record[Any]) -> Action | None:
        return SignalWorkflow(find(record), name, *find_all(record)) if passes(record) else None

    return signal


def signals_correlated(
    name: str,
    correlated: str,
    arguments: Sequence[str] = (),
    filters: Sequence[str] = (),
    keep_s: float | None = None,
) -> Function:
    """Return a function that signals the holder of a business key for each record.

    ``correlated`` is the name of the key and the field that has it: ``shipment=value.id``.
    """
    kind, mark, key = correlated.partition("=")
    if not kind or not mark or not key:
        raise InvalidArgument(
            f"correlated: {correlated!r}: write the name of the key, =, and the field of a record "
            "that has it: shipment=value.id"
        )
    find, find_all, passes = _parts(key, arguments, filters)
    SignalCorrelated(kind, _ANY_ID, name, keep=keep_s)  # as above

    def signal(record: Record[Any]) -> Action | None:
        if not passes(record):
            return None
        return SignalCorrelated(kind, find(record), name, *find_all(record), keep=keep_s)

    return signal


def signals_entity(
    operation: str, key: str, arguments: Sequence[str] = (), filters: Sequence[str] = ()
) -> Function:
    """Return a function that signals an entity for each record; ``key`` is a field."""
    find, find_all, passes = _parts(key, arguments, filters)
    SignalEntity(operation, _ANY_ID)  # as above

    def signal(record: Record[Any]) -> Action | None:
        return SignalEntity(operation, find(record), *find_all(record)) if passes(record) else None

    return signal


def _parts(
    key: str, arguments: Sequence[str], filters: Sequence[str]
) -> tuple[Callable[[Record[Any]], str], Callable[[Record[Any]], list[Any]], Filter]:
    find = field(key, "key")
    each = [filter_of(text) for text in filters]

    def find_key(record: Record[Any]) -> str:
        return _text(_there(find(record), key), key)

    return find_key, fields_of(arguments, "argument"), lambda record: all(f(record) for f in each)


def _there(value: Any, text: str) -> Any:
    if value is _MISSING:
        raise InvalidArgument(f"the record has no {text}")
    return value


def _text(value: Any, text: str) -> str:
    """Return an id: a text, or a whole number as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        return value
    raise InvalidArgument(f"{text} is {value!r}, and no id: an id is a text or a whole number")
