"""Commands as JSON, so that any Kafka producer can start a workflow from a command line.

    echo 'order-1:{"type": "start", "workflow": "order", "arguments": ["order-1", 12]}' |
        kcat -P -b localhost -t default.commands -K:

A value that begins with ``{`` is JSON, also behind white space or a byte order mark, which editors
and shells put there; one that begins with C3 is an Avro record (``records``).
``decode_command`` reads both, so that a topic may hold both.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import MISSING, Field
from dataclasses import fields as dataclass_fields
from typing import Annotated, Any, Final, Literal, Union, get_type_hints

import msgspec

from processor.attributes import decode, encode
from processor.checks import KEY_IDS, NAME_BYTES_MAX, SCHEDULE_IDS, shown
from processor.core.correlation import (
    ID_PREFIX,
    KEEP_MS,
    delivered,
    delivers,
    key_of,
)
from processor.core.data.bounds import DURATION_MS_MAX, check_range, check_text
from processor.core.data.cause import NamedRequest, keyed
from processor.core.data.headers import Headers
from processor.core.entity_id import entity_of
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.core.nouns.start import StartPlanned, StartRun, StartWith, begins
from processor.core.nouns.update import UpdateRun
from processor.core.operation import Operation
from processor.core.vocabulary import REQUESTS
from processor.errors import PayloadTooLarge, SchemaMismatch

__all__ = ("FORMS", "OPERATIONS", "decode_json")

_OURS: Final = (
    (KEY_IDS, "send an event to the id of the business key"),
    (SCHEDULE_IDS, "make a schedule with a client, or processor schedule create"),
)

_ABSENT: Final = msgspec.Raw()
_PLANNED: Final = ("retry", "start_at_ms", "cron", "attributes")
OPERATIONS: Final = {
    cls.word: cls for cls in REQUESTS if issubclass(cls, Operation) and cls.word and cls.by_hand
}


class _Retry(msgspec.Struct, forbid_unknown_fields=True):
    """When a run that failed is followed by another one: as ``RetryPolicy``, in milliseconds."""

    initial_interval_ms: int = 1_000
    coefficient: float = 2.0
    maximum_interval_ms: int | None = None
    maximum_attempts: int | None = None
    non_retryable: tuple[str, ...] = ()


class _Command(msgspec.Struct, forbid_unknown_fields=True, tag_field="type", kw_only=True):
    workflow_id: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    request_id: str = ""


def _struct_of(operation: type[Operation]) -> type[_Command]:
    """Return the JSON form of an operation: its fields, in the types that people write."""
    hints = get_type_hints(operation)
    fields = [
        (field.name, *_json_of(operation, field, hints[field.name]))
        for field in dataclass_fields(operation)  # type: ignore[arg-type]
        if field.name not in operation.not_by_hand
    ]
    if operation is StartRun:
        fields.append(("retry", _Retry | None, None))
        fields.append(("start_at_ms", Annotated[int, msgspec.Meta(ge=0)] | None, None))
        fields.append(("cron", str | None, None))
        fields.append(("attributes", msgspec.Raw, _ABSENT))
    if operation in (StartRun, RaiseEvent):
        fields.append(("key", Annotated[str, msgspec.Meta(min_length=1)] | None, None))
    if operation is RaiseEvent:
        fields.append(("keep_ms", Annotated[int, msgspec.Meta(ge=0)] | None, None))
    name, tag = operation.__name__, operation.word
    struct: Any = msgspec.defstruct(name, fields, bases=(_Command,), tag=tag)
    return struct  # type: ignore[no-any-return]


def _json_of(operation: type[Operation], field: Field[Any], hint: Any) -> tuple[Any, ...]:
    """Return the type of a field in JSON, and its default if it has one."""
    if hint == Headers:
        return dict[str, str], msgspec.field(default_factory=dict)
    if hint == bytes | None:
        return msgspec.Raw, _NO_ARGUMENTS if field.name == "arguments" else _ABSENT
    if choices := operation.choices.get(field.name):
        return Literal[choices], field.default
    if hint == int | None:
        return Annotated[int, msgspec.Meta(ge=1)] | None, None
    if field.default is MISSING:
        return (Annotated[str, msgspec.Meta(min_length=1)],)
    return hint, field.default


_NO_ARGUMENTS: Final = msgspec.Raw(b"[]")
_CHOICES: Final = {
    "type": tuple(OPERATIONS),
    **{field: found for each in OPERATIONS.values() for field, found in each.choices.items()},
}
FORMS: Final = {type: _struct_of(operation) for type, operation in OPERATIONS.items()}
"""The JSON form of each type of command."""

_decoder: Final = msgspec.json.Decoder(Union[tuple(FORMS.values())])  # noqa: UP007  # made here


def decode_json(key: bytes | None, value: bytes) -> ClientCommand:
    """Return the command of a record that holds JSON. ``SchemaMismatch`` says what is wrong."""
    value = value.removeprefix(BOM_UTF8).lstrip()
    if value[:1] != b"{":
        raise SchemaMismatch(
            f"not a command: it begins with {value[:4]!r}; send JSON that begins with {{ or an "
            "Avro record in single-object encoding (schemas/command.avsc)"
        )
    try:
        # Raw parts are passed on unread, and msgspec does not look at their encoding.
        value.decode()
        parsed = _decoder.decode(value)
    except UnicodeDecodeError as error:
        raise SchemaMismatch(f"JSON command: it is not UTF-8: {error}; send it as UTF-8") from error
    except msgspec.ValidationError as error:
        raise SchemaMismatch(f"JSON command: {error}{_choices(str(error))}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise SchemaMismatch(f"JSON command: it is not valid JSON: {error}") from error
    workflow_id, body, given = (
        _workflow_id(key, parsed),
        _body(parsed),
        getattr(parsed, "key", None),
    )
    if isinstance(body, StartRun):
        _check_not_ours(workflow_id, body.workflow)
    asked = body
    if isinstance(body, RaiseEvent):
        body = _addressed(workflow_id, body, parsed.keep_ms)
    if isinstance(body, RaiseEvent | UpdateRun):
        body = _of_entity(workflow_id, body)
    cause = NamedRequest(parsed.request_id) if parsed.request_id else None
    if given is not None:
        check_text("key", given, NAME_BYTES_MAX)
        if cause is not None:
            raise SchemaMismatch("JSON command: it has a key and a request_id; give one of them")
        said = asked if workflow_id.startswith(ID_PREFIX) else body
        cause = keyed(body.word, workflow_id, given, said.asks_for)
    if cause is None and isinstance(body, StartWith) and isinstance(body.first, UpdateRun):
        # The id of a call is its key, as that of ``EntityHandle.call``: the two count as one.
        cause = keyed(body.word, workflow_id, f"call/{body.first.id}", body.asks_for)
    return ClientCommand(workflow_id, body, cause)


def _check_not_ours(workflow_id: str, workflow: str) -> None:
    """Refuse a start of a workflow of ours, or in its place: with arguments that do not fit it,
    nobody would get the schedule, or the business key, that has the id.
    """
    for ids, instead in _OURS:
        if workflow == ids.workflow or workflow_id.startswith(ids.prefix):
            raise SchemaMismatch(
                f"JSON command: {shown(workflow)} cannot be started as {shown(workflow_id)}: "
                f"{ids.workflow} is a workflow of processor's, and ids that begin with "
                f"{ids.prefix} are those of its runs; {instead}"
            )


def _addressed(workflow_id: str, event: RaiseEvent, keep_ms: int | None) -> Operation:
    """Return what is asked by an event: that of a business key goes to whichever run holds it."""
    if not workflow_id.startswith(ID_PREFIX):
        if keep_ms is not None:
            raise SchemaMismatch(
                f"JSON command: keep_ms is for events to a business key, {ID_PREFIX}NAME=KEY - at "
                "`$.keep_ms`; leave it out"
            )
        return event
    if not all(key_of(workflow_id)):
        raise SchemaMismatch(
            f"JSON command: {shown(workflow_id)} is no business key; write {ID_PREFIX}NAME=KEY, "
            "both of one character or more"
        )
    if event.run_id is not None or event.first_run_id is not None:
        raise SchemaMismatch(
            f"JSON command: {shown(workflow_id)} is a business key, and an event for it is for "
            "whichever run holds it; leave run_id and first_run_id out"
        )
    check_range("keep_ms", keep_ms, 0, DURATION_MS_MAX)
    value = msgspec.Raw(event.payload or b"null")
    told = delivered(event.name, value, KEEP_MS if keep_ms is None else keep_ms)
    return delivers(msgspec.json.encode(told))


def _of_entity(workflow_id: str, asked: RaiseEvent | UpdateRun) -> Operation:
    """Return what asks for an operation, where the id is an entity's: it need not be there yet."""
    entity = entity_of(workflow_id)
    if entity is None or asked.run_id is not None or asked.first_run_id is not None:
        return asked
    return begins(entity, asked)


def _choices(message: str) -> str:
    """Return what a field may be, where the message is about a field with few choices."""
    for field, choices in _CHOICES.items():
        if message.endswith((f"`$.{field}`", f"field `{field}`")) and "unknown" not in message:
            return f"; it is one of {', '.join(choices)}"
    return ""


def _workflow_id(key: bytes | None, command: _Command) -> str:
    """Return the workflow id: the record's key, which the command may repeat.

    The key decides the partition, and with it the shard. A command with another workflow id than
    its key would be obeyed by a shard that does not own the workflow.
    """
    try:
        name = key.decode() if key else ""
    except UnicodeDecodeError as error:
        raise SchemaMismatch(
            f"JSON command: the record's key {shown(key)} is not UTF-8; the key is the workflow id"
        ) from error
    if not name and command.workflow_id is None:
        raise SchemaMismatch(
            "JSON command: no workflow id; give the record a key, which is the workflow id "
            "(kcat: -K:), or the command a field `workflow_id`"
        )
    if name and command.workflow_id not in (None, name):
        raise SchemaMismatch(
            f"JSON command: workflow_id {shown(command.workflow_id)} differs from the record's "
            f"key {shown(name)} - at `$.workflow_id`; make them equal, because the key decides "
            "the partition"
        )
    return name or command.workflow_id or ""


def _body(command: _Command) -> Operation:
    operation = OPERATIONS[type(command).__struct_config__.tag]  # type: ignore[index]
    given = {
        name: _value_of(name, getattr(command, name))
        for name in command.__struct_fields__
        if name not in (*_Command.__struct_fields__, "key", "keep_ms")
    }
    planned = {name: given.pop(name, None) for name in _PLANNED}
    if planned["attributes"] is not None:
        planned["attributes"] = _attributes(planned["attributes"])
    if not any(value is not None for value in planned.values()):
        return operation(**given).plain
    if planned["retry"] is not None:
        planned["retry"] = _options(planned["retry"])
    return StartPlanned(**given, plan=Plan(**planned))


def _attributes(given: bytes) -> bytes | None:
    try:
        return encode(decode(given), "attributes")
    except (SchemaMismatch, PayloadTooLarge) as error:
        raise SchemaMismatch(f"JSON command: {error} - at `$.attributes`") from error


def _options(retry: _Retry) -> RetryOptions:
    first_ms, longest_ms = retry.initial_interval_ms, retry.maximum_interval_ms
    return RetryOptions(
        first_ms,
        retry.coefficient,
        100 * first_ms if longest_ms is None else longest_ms,
        retry.maximum_attempts,
        retry.non_retryable,
    )


def _value_of(name: str, value: Any) -> Any:
    """Return the value of a field from what JSON has: nothing is None, ``null`` is ``null``."""
    if isinstance(value, dict):
        return tuple((key, text.encode()) for key, text in value.items())
    if not isinstance(value, msgspec.Raw):
        return value
    payload = bytes(value) or None
    if name == "arguments" and not (payload or b"").startswith(b"["):
        raise SchemaMismatch("JSON command: Expected `array` - at `$.arguments`")
    return payload
