"""Commands as JSON, so that any Kafka producer can start a workflow from a command line.

    echo 'order-1:{"type": "start", "workflow": "order", "arguments": ["order-1", 12]}' |
        kcat -P -b localhost -t default.commands -K:

A value that begins with ``{`` is JSON, also behind white space or a byte order mark, which editors
and shells put there; one that begins with C3 is an Avro record (``records``).
``decode_command`` reads both, so that a topic may hold both.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Annotated, Final, TypeAlias

import msgspec

from processor.checks import shown
from processor.core.cause import NamedRequest
from processor.core.headers import Headers
from processor.core.inputs import (
    CancelRun,
    ClientCommand,
    CommandBody,
    RaiseEvent,
    StartRun,
    TerminateRun,
)
from processor.errors import SchemaMismatch
from processor.policy import CONFLICT_POLICIES, REUSE_POLICIES, ConflictPolicy, ReusePolicy

__all__ = ("decode_json",)

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
Duration: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

_ABSENT: Final = msgspec.Raw()


class _Command(msgspec.Struct, forbid_unknown_fields=True, tag_field="type"):
    workflow_id: Name | None = None
    request_id: str = ""


class _Start(_Command, kw_only=True, tag="start"):
    workflow: Name
    arguments: msgspec.Raw = msgspec.Raw(b"[]")
    reuse: ReusePolicy = "allow"
    conflict: ConflictPolicy = "fail"
    execution_timeout_ms: Duration | None = None
    memo: msgspec.Raw = _ABSENT
    headers: dict[str, str] = {}


class _Event(_Command, kw_only=True, tag="event"):
    name: Name
    payload: msgspec.Raw = _ABSENT
    run_id: str | None = None
    first_run_id: str | None = None
    headers: dict[str, str] = {}


class _Cancel(_Command, kw_only=True, tag="cancel"):
    reason: str = ""
    run_id: str | None = None
    first_run_id: str | None = None


class _Terminate(_Command, kw_only=True, tag="terminate"):
    reason: str = ""
    run_id: str | None = None
    first_run_id: str | None = None


_CHOICES: Final = {
    "type": ("start", "event", "cancel", "terminate"),
    "reuse": REUSE_POLICIES,
    "conflict": CONFLICT_POLICIES,
}
_decoder: Final = msgspec.json.Decoder(_Start | _Event | _Cancel | _Terminate)


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
    cause = NamedRequest(parsed.request_id) if parsed.request_id else None
    return ClientCommand(_workflow_id(key, parsed), _body(parsed), cause)


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


def _body(command: _Start | _Event | _Cancel | _Terminate) -> CommandBody:
    match command:
        case _Start():
            arguments = bytes(command.arguments)
            if not arguments.startswith(b"["):
                raise SchemaMismatch("JSON command: Expected `array` - at `$.arguments`")
            return StartRun(
                command.workflow,
                arguments,
                command.reuse,
                command.conflict,
                command.execution_timeout_ms,
                _payload(command.memo),
                _headers(command.headers),
            )
        case _Event():
            return RaiseEvent(
                command.name,
                _payload(command.payload),
                command.run_id,
                command.first_run_id,
                _headers(command.headers),
            )
        case _Cancel():
            return CancelRun(command.reason, command.run_id, command.first_run_id)
        case _Terminate():
            return TerminateRun(command.reason, command.run_id, command.first_run_id)


def _payload(raw: msgspec.Raw) -> bytes | None:
    """Return what was given: nothing is None, and ``null`` is ``null``."""
    return bytes(raw) or None


def _headers(given: dict[str, str]) -> Headers:
    return tuple((name, value.encode()) for name, value in given.items())
