"""What is told beside a dead letter that stands in for a message to another namespace."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from processor.codec.records import encode
from processor.core.records.effects import Publish
from processor.node.publishing.faults import Kind
from processor.node.publishing.undeliverable import Letter
from processor.shard.messages.border import Abroad, refusal_to
from processor.shard.messages.carrying import message_command, too_large_to_tell

__all__ = ("told_beside",)

_ERRORS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "missing": "NamespaceNotFound",
        "forbidden": "NamespaceForbidden",
        "too large": "PayloadTooLarge",
        "invalid": "CommandRejected",
        "invalid record": "CommandRejected",
    }
)
"""The error of whoever waits; where nobody knows why, no shard was there in time."""


def told_beside(letter: Letter, commands: str) -> Publish | None:
    """Return the record that goes with a letter in one transaction; None: nobody waits.

    The run that waits for the answer is told why there is none, by ``commands``, the topic of its
    own namespace. A run of the other namespace is told that its answer is too large.
    """
    record, reason = letter.record, letter.reason
    if not isinstance(record, Abroad):
        return None
    command = record.command
    if letter.kind == "too large" and (shorter := too_large_to_tell(command, reason)) is not None:
        return Publish(record.topic, record.key, encode(shorter))
    if command.caller is None:
        return None
    refusal = refusal_to(command.caller, _ERRORS.get(letter.kind, "ShardUnavailable"), reason)
    return Publish(commands, refusal.workflow_id.encode(), encode(message_command(refusal, None)))
