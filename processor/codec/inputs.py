"""Inputs of a shard as they stand in its topics, read and checked.

Whoever writes an input checks its values, and so does whoever reads one: a record may come from
any producer. What is read here can be decided, written down, shown and sent on.
"""

from __future__ import annotations

from typing import Final

from processor.checks import DURATION_S_MAX, ID_BYTES_MAX, TEXT_BYTES_MAX
from processor.codec.json_commands import decode_json
from processor.codec.records import decode_as, read_envelope
from processor.codec.schemas import MAGIC
from processor.core.address import ReplyTo
from processor.core.cause import Cause, ClientRequest, NamedRequest, Origin
from processor.core.failure import Failure
from processor.core.inputs import (
    ActivityReport,
    AwaitResult,
    CancelRun,
    ClientCommand,
    CommandBody,
    Input,
    ListRuns,
    RaiseEvent,
    ReadHistory,
    ReadShard,
    StartRun,
    TerminateRun,
    TimerDue,
)
from processor.core.turn import Source
from processor.errors import SchemaMismatch

__all__ = ("decode_command", "decode_input", "reply_to_of")

DURATION_MS_MAX: Final = DURATION_S_MAX * 1_000
PAGE_MAX: Final = 10_000
CAUSES_MAX: Final = 50

_REQUEST_ID_MAX: Final = 255
_CLIENT_ID_MAX: Final = 64
_LOG_ID_BYTES: Final = 16
_NUMBER_MAX: Final = 1 << 62


def decode_input(source: Source, key: bytes | None, value: bytes) -> Input:
    """Return the input of a record. ``SchemaMismatch`` says what is wrong with it."""
    if source == "commands":
        return decode_command(key, value)
    if source == "timers":
        due = decode_as(TimerDue, value)
        _check_text("workflow id", due.workflow_id, ID_BYTES_MAX)
        return due
    report = decode_as(ActivityReport, value)
    _check_report(report)
    return report


def decode_command(key: bytes | None, value: bytes) -> ClientCommand:
    """Return the command of a record, which may be JSON. ``SchemaMismatch`` says what is wrong."""
    json = value[:1] != MAGIC[:1]
    command = decode_json(key, value) if json else decode_as(ClientCommand, value)
    of_the_shard = isinstance(command.body, ListRuns | ReadShard)
    _check_text("workflow id", command.workflow_id, ID_BYTES_MAX, least=0 if of_the_shard else 1)
    _check_cause(command.cause)
    _check_reply_to(command.reply_to)
    _check_body(command.body)
    return command


def reply_to_of(key: bytes | None, value: bytes) -> ReplyTo | None:
    """Return who waits for the answer to a command that only a later release can read.

    All that is needed for an answer stands before the body, in every level. Something else that
    looks like that does not name its key as its workflow.
    """
    try:
        envelope = read_envelope(value)
        _check_reply_to(envelope.reply_to)
    except SchemaMismatch:
        return None
    return envelope.reply_to if envelope.workflow_id.encode() == key else None


def _check_body(body: CommandBody) -> None:
    match body:
        case StartRun():
            _check_text("name of the workflow", body.workflow, ID_BYTES_MAX)
            _check_range("execution_timeout_ms", body.execution_timeout_ms, 1, DURATION_MS_MAX)
            _check_range("result_within_ms", body.result_within_ms, 0, DURATION_MS_MAX)
        case RaiseEvent():
            _check_text("name of the event", body.name, ID_BYTES_MAX)
        case CancelRun() | TerminateRun():
            _check_text("reason", body.reason, TEXT_BYTES_MAX, least=0)
        case AwaitResult():
            _check_range("timeout_ms", body.timeout_ms, 0, DURATION_MS_MAX)
        case ReadHistory():
            _check_range("first", body.first, 0, _NUMBER_MAX)
        case ListRuns():
            _check_range("limit", body.limit, 1, PAGE_MAX)
        case _:
            pass


def _check_report(report: ActivityReport) -> None:
    _check_text("workflow id", report.workflow_id, ID_BYTES_MAX)
    _check_text("worker", report.worker, ID_BYTES_MAX, least=0)
    _check_reply_to(report.reply_to)
    if report.kind == "failed" and report.failure is None:
        raise SchemaMismatch("a report of a failure says no failure; give it one")
    causes, failure = 0, report.failure
    while failure is not None:
        _check_failure(failure)
        failure = failure.cause
        causes += failure is not None
        if causes > CAUSES_MAX:
            raise SchemaMismatch(
                f"a failure has more than {CAUSES_MAX} causes, one behind the other; give it fewer"
            )


def _check_failure(failure: Failure) -> None:
    _check_range("next_delay_ms", failure.next_delay_ms, 0, DURATION_MS_MAX)


def _check_cause(cause: Cause | None) -> None:
    """Refuse identities that are too large to be remembered by the thousand."""
    match cause:
        case NamedRequest():
            _check_text("request id", cause.id, _REQUEST_ID_MAX)
        case ClientRequest():
            _check_text("client id", cause.client, _CLIENT_ID_MAX)
            _check_range("number of the request", cause.number, 1, _NUMBER_MAX)
        case Origin():
            if len(cause.log) != _LOG_ID_BYTES:
                size = f"{len(cause.log):,} bytes, and not {_LOG_ID_BYTES}"
                raise SchemaMismatch(f"the log id of its origin has {size}")
            _check_range("shard of its origin", cause.shard, 0, _NUMBER_MAX)
            _check_range("offset of its origin", cause.offset, 0, _NUMBER_MAX)
            _check_range("index of its origin", cause.index, 0, _NUMBER_MAX)
        case None:
            pass


def _check_reply_to(to: ReplyTo | None) -> None:
    if to is not None:
        _check_text("client id of its reply address", to.client, _CLIENT_ID_MAX)
        _check_range("partition of its reply address", to.partition, 0, _NUMBER_MAX)


def _check_text(what: str, text: str, most: int, *, least: int = 1) -> None:
    size = len(text) if text.isascii() else len(text.encode())
    if not least <= size <= most:
        raise SchemaMismatch(
            f"the {what} has {size:,} bytes; it may have {least} to {most:,}. Give it another one"
        )


def _check_range(what: str, number: int | None, least: int, most: int) -> None:
    if number is not None and not least <= number <= most:
        raise SchemaMismatch(f"the {what} is {number}; it may be {least} to {most}")
