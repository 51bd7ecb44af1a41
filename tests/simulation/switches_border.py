"""Protections of messages to another namespace, switched off one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from processor.core.data.cause import Origin
from processor.core.nouns.awaited import GiveUpCall
from processor.core.nouns.child import EndChild
from processor.core.records.effects import Message
from processor.node.publishing.steps import Transact
from processor.node.publishing.telling import told_beside
from processor.shard.messages.border import Abroad, Border
from processor.shard.recovery.owed import Owed, Owing
from processor.simulation.hosts import publisher
from processor.simulation.hosts.publisher import Publisher
from processor.simulation.mirror import OWN_COMMANDS

__all__: Sequence[str] = ()


def callers_without_namespace(patch: pytest.MonkeyPatch) -> None:
    """Send calls abroad whose callers say no namespace."""
    from_here = Border._from_here
    record = Border.record

    def plain(self: Border, message: Message, origin: Origin) -> Abroad:
        is_call = not isinstance(message.body, EndChild | GiveUpCall)
        with patch.context() as within:
            within.setattr(
                Border, "_from_here", (lambda self, caller: caller) if is_call else from_here
            )
            return record(self, message, origin)

    patch.setattr(Border, "record", plain)


def ends_without_namespace(patch: pytest.MonkeyPatch) -> None:
    """Send what ends a child, or gives a call up, without the namespace of the caller."""
    record = Border.record

    def plain(self: Border, message: Message, origin: Origin) -> Abroad:
        if not isinstance(message.body, EndChild | GiveUpCall):
            return record(self, message, origin)
        with patch.context() as within:
            within.setattr(Border, "_from_here", lambda self, caller: caller)
            return record(self, message, origin)

    patch.setattr(Border, "record", plain)


def owed_by_delivered(patch: pytest.MonkeyPatch) -> None:
    """Take a message abroad for delivered once those of the namespace itself are."""
    undelivered = Owing._undelivered

    def by_delivered(self: Owing, owed: Owed) -> bool:
        if isinstance(owed.effect, Message):
            return owed.offset >= self.delivered
        return undelivered(self, owed)

    patch.setattr(Owing, "_undelivered", by_delivered)


def refused_before_commit(patch: pytest.MonkeyPatch) -> None:
    """Tell callers that their messages cannot be delivered, whatever becomes of the transaction."""
    transact, messages = Publisher._transact, publisher._messages

    def told_at_once(self: Publisher, step: Transact, flow: Any) -> None:
        for batch in step.batches:
            for output in batch.shard.outputs(batch):
                told = None if output.letter is None else told_beside(output.letter, OWN_COMMANDS)
                if told is not None:
                    self._broker.message(told)
        transact(self, step, flow)

    patch.setattr(Publisher, "_transact", told_at_once)
    patch.setattr(
        publisher, "_messages", lambda it: [m for m in messages(it) if isinstance(m, Abroad)]
    )
