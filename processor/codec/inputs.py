"""Inputs of a shard as they stand in its topics, read and checked.

Whoever writes an input checks its values, and so does whoever reads one: a record may come from
any producer. What is read here can be decided, written down, shown and sent on.
"""

from __future__ import annotations

from typing import Final

from processor.checks import ID_BYTES_MAX, TIME_MS_MAX, is_topic, shown
from processor.codec.json_commands import decode_json
from processor.codec.records import Envelope, decode_as, read_envelope
from processor.codec.schemas.files import MAGIC
from processor.core.data.address import ReplyTo, ReplyToTopic
from processor.core.data.bounds import (
    DURATION_MS_MAX,
    NUMBER_MAX,
    check_caller,
    check_failure,
    check_range,
    check_text,
)
from processor.core.data.cause import Cause, ClientRequest, NamedRequest, Origin
from processor.core.inputs import ActivityReport, ClientCommand, Input, TimerDue
from processor.core.questions import ListRuns, ReadShard
from processor.core.records.effects import ActivityTask
from processor.core.records.turn import Source
from processor.errors import SchemaMismatch

__all__ = ("decode_command", "decode_input", "decode_task", "envelope_of")

_REQUEST_ID_MAX: Final = 255
_CLIENT_ID_MAX: Final = 64
_LOG_ID_BYTES: Final = 16


def decode_input(source: Source, key: bytes | None, value: bytes) -> Input:
    """Return the input of a record. ``SchemaMismatch`` says what is wrong with it."""
    if source == "commands":
        return decode_command(key, value)
    if source == "timers":
        due = decode_as(TimerDue, value)
        check_text("workflow id", due.workflow_id, ID_BYTES_MAX)
        return due
    report = decode_as(ActivityReport, value)
    _check_report(report)
    return report


def decode_task(value: bytes) -> ActivityTask:
    """Return the task of a record. ``SchemaMismatch`` says what is wrong with it."""
    task = decode_as(ActivityTask, value)
    if task.eager:  # it would take a slot that nobody gives back
        raise SchemaMismatch("an eager task runs where its shard is, and not from a queue")
    for what in ("workflow_id", "run_id", "workflow", "name", "queue"):
        check_text(f"{what} of the task", getattr(task, what), ID_BYTES_MAX)
    check_range("number of the activity", task.id, 0, NUMBER_MAX)
    check_range("number of the attempt", task.attempt, 1, NUMBER_MAX)
    for what in ("scheduled_ms", "deadline_ms"):
        check_range(f"{what} of the task", getattr(task, what), 0, TIME_MS_MAX)
    for what in ("start_to_close_ms", "heartbeat_ms"):
        check_range(f"{what} of the task", getattr(task, what), 1, DURATION_MS_MAX)
    return task


def decode_command(key: bytes | None, value: bytes) -> ClientCommand:
    """Return the command of a record, which may be JSON. ``SchemaMismatch`` says what is wrong."""
    json = value[:1] != MAGIC[:1]
    command = decode_json(key, value) if json else decode_as(ClientCommand, value)
    of_the_shard = isinstance(command.body, ListRuns | ReadShard)
    check_text("workflow id", command.workflow_id, ID_BYTES_MAX, least=0 if of_the_shard else 1)
    _check_cause(command.cause)
    _check_reply_to(command.reply_to)
    check_caller(command.caller)
    command.body.check()
    return command


def envelope_of(key: bytes | None, value: bytes) -> Envelope | None:
    """Return what says who waits for the answer to a command that cannot be taken; None: nobody.

    All that is needed for an answer stands before the body, in every level. Something else that
    looks like that does not name its key as its workflow. Of a command in JSON nothing is said.
    """
    try:
        envelope = read_envelope(value)
        check_text("workflow id", envelope.workflow_id, ID_BYTES_MAX)
        _check_cause(envelope.cause)
        _check_reply_to(envelope.reply_to)
        check_caller(envelope.caller)
    except SchemaMismatch:
        return None
    return envelope if envelope.workflow_id.encode() == key else None


def _check_report(report: ActivityReport) -> None:
    check_text("workflow id", report.workflow_id, ID_BYTES_MAX)
    check_text("worker", report.worker, ID_BYTES_MAX, least=0)
    _check_reply_to(report.reply_to)
    if report.kind == "failed" and report.failure is None:
        raise SchemaMismatch("a report of a failure says no failure; give it one")
    check_failure(report.failure)


def _check_cause(cause: Cause | None) -> None:
    """Refuse identities that are too large to be remembered by the thousand."""
    match cause:
        case NamedRequest():
            check_text("request id", cause.id, _REQUEST_ID_MAX)
        case ClientRequest():
            check_text("client id", cause.client, _CLIENT_ID_MAX)
            check_range("number of the request", cause.number, 1, NUMBER_MAX)
        case Origin():
            if len(cause.log) != _LOG_ID_BYTES:
                size = f"{len(cause.log):,} bytes, and not {_LOG_ID_BYTES}"
                raise SchemaMismatch(f"the log id of its origin has {size}")
            check_range("shard of its origin", cause.shard, 0, NUMBER_MAX)
            check_range("offset of its origin", cause.offset, 0, NUMBER_MAX)
            check_range("index of its origin", cause.index, 0, NUMBER_MAX)
        case None:
            pass


def _check_reply_to(to: ReplyTo | None) -> None:
    if to is not None:
        check_text("client id of its reply address", to.client, _CLIENT_ID_MAX)
        check_range("partition of its reply address", to.partition, 0, NUMBER_MAX)
    if isinstance(to, ReplyToTopic):
        check_text("topic of its reply address", to.name, ID_BYTES_MAX)
        if not is_topic(to.topic):
            raise SchemaMismatch(
                f"the topic of its reply address ends with {shown(to.name)}, which is not of the "
                "characters a-z, A-Z, 0-9, '.', '_' and '-', or is too long"
            )
