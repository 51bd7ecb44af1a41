"""Messages to other namespaces: how they leave, and what comes of them where none can be reached.

They are published, as results are: in a transaction with the position in the log, so exactly once,
and in the order of the log. What is for the sender's own namespace by name is a message like any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from processor.codec.records import decode_as, encode
from processor.core.data.address import Caller
from processor.core.data.cause import Origin
from processor.core.data.frozen import frozen
from processor.core.inputs import ClientCommand
from processor.core.nouns.awaited import GiveUpCall
from processor.core.nouns.call import AnswerCall
from processor.core.nouns.child import EndChild
from processor.core.records.answers import Refused
from processor.core.records.effects import DeadLetter, Message, Publish
from processor.shard.messages.carrying import message_command

__all__ = ("COMMANDS", "Abroad", "Border", "refusal_to")

COMMANDS: Final = "commands"
"""The topic of a namespace that takes messages to its instances."""


@frozen
class Abroad(Publish):
    """A message to an instance of another namespace: a record on a topic that no user writes to.

    ``run_id`` is empty where the message does not say which run sent it.
    """

    namespace: str = ""

    @property
    def command(self) -> ClientCommand:
        assert self.value is not None, "a message has a body"
        return decode_as(ClientCommand, self.value)


@dataclass(frozen=True, slots=True)
class Border:
    """``namespace`` is the shard's own. ``is_open``: whether others can be reached."""

    namespace: str = "default"
    is_open: bool = True

    def crosses(self, message: Message) -> bool:
        """Return whether a message is published to another namespace."""
        return self.is_open and self._is_foreign(message)

    def within(self, message: Message) -> Message | DeadLetter:
        """Return what is sent of a message that does not cross.

        Where no other namespace can be reached, whoever waits for the answer is told so; what
        nobody waits for is a dead letter.
        """
        if not self._is_foreign(message):
            return message
        to, namespace = message.workflow_id, message.namespace
        reason = (
            f"nothing was sent to {to!r} of namespace {namespace!r}: this runtime holds namespace "
            f"{self.namespace!r} alone. Workers of a Kafka reach its other namespaces"
        )
        if message.caller is not None:
            return refusal_to(message.caller, "NamespaceNotFound", reason)
        value = encode(message_command(message, None))
        return DeadLetter(f"{namespace}.{COMMANDS}", -1, -1, to.encode(), value, reason)

    def record(self, message: Message, origin: Origin) -> Abroad:
        """Return the record by which a message leaves. It names this namespace as the caller's."""
        assert message.namespace is not None, "it is for another namespace"
        command, body = message_command(message, origin), message.body
        sender = message.caller
        if isinstance(body, EndChild | GiveUpCall):
            sender = body.caller
            command = replace(command, body=replace(body, caller=self._from_here(sender)))
        if message.caller is not None:
            command = replace(command, caller=self._from_here(message.caller))
        return Abroad(
            f"{message.namespace}.{COMMANDS}",
            message.workflow_id.encode(),
            encode(command),
            workflow_id="" if sender is None else sender.address.workflow_id,
            run_id="" if sender is None else sender.run_id,
            namespace=message.namespace,
        )

    def _is_foreign(self, message: Message) -> bool:
        return message.namespace is not None and message.namespace != self.namespace

    def _from_here(self, caller: Caller) -> Caller:
        return replace(caller, address=replace(caller.address, namespace=self.namespace))


def refusal_to(caller: Caller, error: str, reason: str) -> Message:
    """Return what tells a run of this namespace that its call came to nothing."""
    answer = AnswerCall(caller.run_id, caller.call, Refused(error, reason))
    return Message(caller.address.workflow_id, answer)
