"""Search attributes: typed values by name, by which runs are found.

Each value has its type with it, so that a namespace needs no list of names. They are never
encrypted: what finds runs has to read them. Encoded, they are one JSON object; a date is
``{"datetime": "2027-01-31T09:00:00+00:00"}``, and all else is what JSON has.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from processor import checks
from processor.errors import InvalidArgument, PayloadTooLarge, SchemaMismatch

__all__ = (
    "BYTES_MAX",
    "COUNT_MAX",
    "FIELDS",
    "VALUE_BYTES_MAX",
    "AttributeValue",
    "Attributes",
    "changed",
    "check_encoded",
    "decode",
    "encode",
    "encoded",
    "of_plain",
    "to_plain",
)

AttributeValue: TypeAlias = bool | int | float | str | datetime | list[str]
Attributes: TypeAlias = Mapping[str, AttributeValue]

COUNT_MAX: Final = 100
VALUE_BYTES_MAX: Final = 2_000
BYTES_MAX: Final = 40_000
"""So many a run has, so many bytes of JSON each, and all of them together."""

FIELDS: Final[Mapping[str, str]] = {
    "workflow_id": "WorkflowId",
    "run_id": "RunId",
    "first_run_id": "FirstRunId",
    "workflow": "WorkflowType",
    "status": "ExecutionStatus",
    "started": "StartTime",
    "begins": "ExecutionTime",
    "closed": "CloseTime",
    "duration": "ExecutionDuration",
    "events": "HistoryLength",
    "attempt": "Attempt",
    "parent_workflow_id": "ParentWorkflowId",
    "parent_run_id": "ParentRunId",
    "root_workflow_id": "RootWorkflowId",
    "root_run_id": "RootRunId",
    "shard": "Shard",
    "problem": "TemporalReportedProblems",
}
"""What a run has by itself, and Temporal's names for it: no attribute has one of these names."""

_RESERVED: Final = {*FIELDS, *FIELDS.values()}
_NAME: Final = re.compile(r"[^\W\d][\w.-]{0,99}")
_INT_MAX: Final = (1 << 63) - 1
_DATE: Final = "datetime"


def changed(before: Attributes, given: Any, what: str) -> dict[str, AttributeValue]:
    """Return attributes with changes: None, or an empty list, takes a name out.

    ``what`` names the argument in errors: ``InvalidArgument`` for what is none, ``PayloadTooLarge``
    where a value or all together have too many bytes.
    """
    if not isinstance(given, Mapping):
        raise InvalidArgument(
            f'{what}: give names and values, {{"customer": "ada"}}, not {checks.shown(given)}'
        )
    both = dict(before)
    for name, value in given.items():
        found = _value(value, _named(name, what))
        if found is None:
            both.pop(name, None)
        else:
            both[name] = found
    if len(both) > COUNT_MAX:
        raise InvalidArgument(
            f"{what}: there would be {len(both)}, and a run has {COUNT_MAX} at the most: take some "
            "out, or keep in the memo what nobody searches for"
        )
    return both


def encoded(given: Any, what: str) -> bytes | None:
    """Return the attributes that a start is given; None where it is given none. As ``changed``."""
    return None if given is None else encode(changed({}, given, what), what)


def encode(attributes: Attributes, what: str) -> bytes | None:
    """Return attributes as bytes; None for none. Raises ``PayloadTooLarge``."""
    if not attributes:
        return None
    parts = []
    for name in sorted(attributes):
        part = _json(_plain(attributes[name]))
        if len(part) > VALUE_BYTES_MAX:
            raise PayloadTooLarge(
                f"{what}: {name!r} has {len(part):,} bytes, and {VALUE_BYTES_MAX:,} are the most: "
                "keep it in the memo, and here what runs are searched by"
            )
        parts.append(b"%b:%b" % (_json(name), part))
    made = b"{%b}" % b",".join(parts)
    if len(made) > BYTES_MAX:
        raise PayloadTooLarge(
            f"{what}: all of them have {len(made):,} bytes, and {BYTES_MAX:,} are the most: take "
            "some out, or keep in the memo what nobody searches for"
        )
    return made


def decode(payload: bytes | None) -> dict[str, AttributeValue]:
    """Return the attributes of these bytes. ``SchemaMismatch`` for what are none."""
    if payload is None:
        return {}
    try:
        plain = json.loads(payload, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise SchemaMismatch(f"attributes: they are no JSON that can be read ({error})") from error
    return of_plain(plain)


def of_plain(plain: Any) -> dict[str, AttributeValue]:
    """Return the attributes that JSON says. ``SchemaMismatch`` for what are none."""
    if not isinstance(plain, dict):
        raise SchemaMismatch(f"attributes: give names and values, not {checks.shown(plain)}")
    try:
        found = {name: _read(value, name) for name, value in plain.items()}
        return changed({}, found, "attributes")
    except InvalidArgument as error:
        raise SchemaMismatch(str(error)) from error


def to_plain(attributes: Attributes) -> dict[str, Any]:
    """Return attributes as the JSON that says them."""
    return {name: _plain(value) for name, value in attributes.items()}


def check_encoded(payload: bytes) -> None:
    """Refuse bytes that are no attributes, or too many. Raises ``SchemaMismatch``."""
    if len(payload) > BYTES_MAX:
        raise SchemaMismatch(f"attributes: {len(payload):,} bytes; {BYTES_MAX:,} are the most")
    try:
        encode(decode(payload), "attributes")
    except PayloadTooLarge as error:
        raise SchemaMismatch(str(error)) from error


def _named(name: Any, what: str) -> str:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise InvalidArgument(
            f"{what}: {checks.shown(name)} is no name: it begins with a letter or _, and has up to "
            "100 letters, digits, '_', '.' and '-'"
        )
    if name in _RESERVED:
        raise InvalidArgument(
            f"{what}: {name!r} is what every run has by itself: give the attribute another name"
        )
    return f"{what}: {name!r}"


def _value(value: Any, what: str) -> AttributeValue | None:
    match value:
        case None | [] | ():
            return None
        case bool():
            return value
        case int():
            if not -_INT_MAX - 1 <= value <= _INT_MAX:
                raise InvalidArgument(f"{what}: {checks.shown(value)} has more than 64 bits")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise InvalidArgument(f"{what}: {value} cannot be compared: give a finite number")
            return float(value)
        case str():
            return _text(value, what)
        case datetime():
            return _date(value, what)
        case list() | tuple() if all(isinstance(each, str) for each in value):
            return [_text(each, what) for each in value]
        case _:
            raise InvalidArgument(
                f"{what}: give a bool, int, float, str, datetime or list[str], not "
                f"{checks.shown(value)}"
            )


def _text(value: str, what: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what}: {checks.shown(value)} is no text of Unicode") from error
    return str.__str__(value)


def _date(value: datetime, what: str) -> datetime:
    if value.utcoffset() is None:
        raise InvalidArgument(
            f"{what}: {value} has no time zone: give an aware datetime, tzinfo=UTC for example"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise InvalidArgument(f"{what}: {value} is out of range in UTC") from error


def _plain(value: AttributeValue) -> Any:
    return {_DATE: value.isoformat()} if isinstance(value, datetime) else value


def _read(value: Any, name: str) -> Any:
    match value:
        case {"datetime": str(text)} if len(value) == 1:
            try:
                return datetime.fromisoformat(text)
            except ValueError as error:
                raise SchemaMismatch(f"attributes: {name!r}: {error}") from error
        case _:
            return value


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON")
