"""Protections of messages that a shard hands over itself, switched off one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from processor.core.data.cause import Origin
from processor.core.records.effects import Message
from processor.shard.intake.handover import Handover
from processor.shard.intake.overflow import Overflow
from processor.shard.outbox import NEVER_OFFSET, Deliveries
from processor.simulation.hosts.ownership import Session

__all__: Sequence[str] = ()


def delivered_before_taken(patch: pytest.MonkeyPatch) -> None:
    """Call what waits to be handed over delivered, before a record has taken it."""
    told = property(lambda self: NEVER_OFFSET, _forget)
    patch.setattr(Deliveries, "handed_over", told, raising=False)


def _forget(deliveries: Deliveries, offset: int) -> None: ...


def handed_over_out_of_order(patch: pytest.MonkeyPatch) -> None:
    """Hand over the message first that was sent last."""
    take_in = Handover.take_in

    def backwards(self: Handover, most: int, take: Callable[..., None]) -> int:
        self.waiting.reverse()
        taken = take_in(self, most, take)
        self.waiting.reverse()
        return taken

    patch.setattr(Handover, "take_in", backwards)


def two_paths(patch: pytest.MonkeyPatch) -> None:
    """Send answers to the own shard through the topic, and all else without one."""
    send = Handover.send

    def sent(self: Handover, message: Message, token: int, origin: Origin, size: int = 0) -> bool:
        is_own = self._is_own
        if message.caller is None:
            self._is_own = lambda workflow_id: False
        try:
            return send(self, message, token, origin, size)
        finally:
            self._is_own = is_own

    patch.setattr(Handover, "send", sent)


def strangers_taken(patch: pytest.MonkeyPatch) -> None:
    """Take in what is for an instance of another shard."""
    patch.setattr(Session, "_is_own", lambda self, workflow_id: True)


def owed_are_not_handed_over(patch: pytest.MonkeyPatch) -> None:
    """Hand over nothing of what an owner before has not delivered."""
    send = Handover.send

    def sent(self: Any, message: Message, token: int, origin: Origin, size: int = 0) -> bool:
        if size or not self._is_own(message.workflow_id):
            return send(self, message, token, origin, size)
        return False

    patch.setattr(Handover, "send", sent)


def left_in_the_log(patch: pytest.MonkeyPatch) -> None:
    """Read nothing again of what was left in the log."""
    patch.setattr(Overflow, "read", lambda self: setattr(self, "first", self._end) or ())


def all_in_memory(patch: pytest.MonkeyPatch) -> None:
    """Leave nothing in the log, however much waits."""

    def sent(self: Any, message: Message, token: int, origin: Origin, size: int = 0) -> bool:
        if not self._is_own(message.workflow_id):
            self._outbox.send(message, token, origin)
            return True
        is_new = not (self.waiting and self.waiting[-1].token == token)
        self._keep(message, token, origin, size, is_new)
        return False

    patch.setattr(Handover, "send", sent)
