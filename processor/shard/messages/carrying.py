"""The command that carries a message to another instance, and what becomes of one too large."""

from __future__ import annotations

from dataclasses import replace

from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.call import AnswerCall
from processor.core.records.answers import Refused
from processor.core.records.effects import Message

__all__ = ("message_command", "too_large_message", "too_large_to_tell")


def message_command(message: Message, origin: Origin | None) -> ClientCommand:
    """Return the command that carries a message to its instance."""
    return ClientCommand(message.workflow_id, message.body, origin, caller=message.caller)


def too_large_message(size: int, limit: str) -> str:
    """Return why a message of so many bytes is not sent."""
    return f"a message of {size:,} bytes to another instance; the limit is {limit}"


def too_large_to_tell(command: ClientCommand, reason: str) -> ClientCommand | None:
    """Return what a caller is told instead of an answer that is too large; None for all else."""
    body = command.body
    if not isinstance(body, AnswerCall) or isinstance(body.outcome, Refused):
        return None
    told = f"the answer is {reason}. It stands in the history of the workflow that was called"
    return replace(command, body=replace(body, outcome=Refused("PayloadTooLarge", told)))
