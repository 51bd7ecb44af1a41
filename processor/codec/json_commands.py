"""Commands as JSON, so that any Kafka producer can start a workflow from a command line.

    echo 'order-1:{"type": "start", "workflow": "order", "arguments": ["order-1", 12]}' |
        kcat -P -b localhost -t default.commands -K:

A value that begins with ``{`` is JSON; one that begins with C3 is an Avro record (``records``).
Both are read by the same function, so that a topic may hold both.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias, get_args

import msgspec

from processor.codec.records import decode_as
from processor.codec.schemas import MAGIC
from processor.core.inputs import (
    CancelRun,
    ClientCommand,
    CommandBody,
    RaiseEvent,
    StartRun,
    TerminateRun,
)
from processor.errors import SchemaMismatch
from processor.policy import ConflictPolicy, ReusePolicy

__all__ = ("decode_command",)

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
Duration: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1 << 53)]


class _Command(msgspec.Struct, forbid_unknown_fields=True, tag_field="type"):
    workflow_id: Name | None = None
    request_id: str = ""


class _Start(_Command, kw_only=True, tag="start"):
    workflow: Name
    arguments: msgspec.Raw = msgspec.Raw(b"[]")
    reuse: ReusePolicy = "allow"
    conflict: ConflictPolicy = "fail"
    execution_timeout_ms: Duration | None = None
    memo: msgspec.Raw = msgspec.Raw(b"null")


class _Event(_Command, kw_only=True, tag="event"):
    name: Name
    payload: msgspec.Raw = msgspec.Raw(b"null")
    run_id: str | None = None


class _Cancel(_Command, kw_only=True, tag="cancel"):
    reason: str = ""
    run_id: str | None = None


class _Terminate(_Command, kw_only=True, tag="terminate"):
    reason: str = ""
    run_id: str | None = None


_CHOICES: Final = {
    "type": ("start", "event", "cancel", "terminate"),
    "reuse": get_args(ReusePolicy),
    "conflict": get_args(ConflictPolicy),
}
_decoder: Final = msgspec.json.Decoder(_Start | _Event | _Cancel | _Terminate)


def decode_command(key: bytes | None, value: bytes) -> ClientCommand:
    """Return the command of a record of ``commands``. ``SchemaMismatch`` says what is wrong."""
    if value[:1] == MAGIC[:1]:
        return decode_as(ClientCommand, value)
    if value[:1] != b"{":
        raise SchemaMismatch(
            f"not a command: it begins with {value[:4]!r}; send JSON that begins with {{ or an "
            "Avro record in single-object encoding (schemas/command.avsc)"
        )
    try:
        # Raw parts are passed on unread, and msgspec does not look at their encoding.
        value.decode()
        command = _decoder.decode(value)
    except UnicodeDecodeError as error:
        raise SchemaMismatch(f"JSON command: it is not UTF-8: {error}; send it as UTF-8") from error
    except msgspec.ValidationError as error:
        raise SchemaMismatch(f"JSON command: {error}{_choices(str(error))}") from error
    except msgspec.DecodeError as error:
        raise SchemaMismatch(f"JSON command: it is not valid JSON: {error}") from error
    return ClientCommand(_workflow_id(key, command), _body(command), command.request_id)


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
            f"JSON command: the record's key {key!r} is not UTF-8; the key is the workflow id"
        ) from error
    if not name and command.workflow_id is None:
        raise SchemaMismatch(
            "JSON command: no workflow id; give the record a key, which is the workflow id "
            "(kcat: -K:), or the command a field `workflow_id`"
        )
    if name and command.workflow_id not in (None, name):
        raise SchemaMismatch(
            f"JSON command: workflow_id {command.workflow_id!r} differs from the record's key "
            f"{name!r} - at `$.workflow_id`; make them equal, because the key decides the partition"
        )
    return name or command.workflow_id or ""


def _body(command: _Start | _Event | _Cancel | _Terminate) -> CommandBody:
    match command:
        case _Start():
            arguments = bytes(command.arguments)
            if not arguments.startswith(b"["):
                raise SchemaMismatch("JSON command: Expected `array` - at `$.arguments`")
            memo = bytes(command.memo)
            return StartRun(
                command.workflow,
                arguments,
                command.reuse,
                command.conflict,
                command.execution_timeout_ms,
                None if memo == b"null" else memo,
            )
        case _Event():
            return RaiseEvent(command.name, bytes(command.payload), command.run_id)
        case _Cancel():
            return CancelRun(command.reason, command.run_id)
        case _Terminate():
            return TerminateRun(command.reason, command.run_id)
