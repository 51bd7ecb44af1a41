"""Clients that give their events idempotency keys, and use some of these for something else."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from processor.codec.payloads import JsonPayloads
from processor.core.data.cause import keyed
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.records.answers import Refused, ReplyBody

from .cases import Case

__all__ = ("misused", "refused_as_misused", "with_keys")

_PAYLOADS: Final = JsonPayloads()

_MISUSED: Final = 0.2
"""The share of the cases with keys in which one is used for something else, too."""


def with_keys(seed: int, case: Case) -> list[ClientCommand]:
    """Return the first events of a case, each with a key; none where the case has no keys."""
    random = Random(f"keys {seed} {case.workflow_id}")
    if random.random() >= 0.5:
        return []
    return [_keyed(case, name, value) for name, value in case.events[: random.randint(1, 3)]]


def misused(seed: int, command: ClientCommand) -> ClientCommand | None:
    """Return what uses the key of an event that has counted for another one, where anybody does."""
    if Random(f"misused {seed} {command.cause}").random() >= _MISUSED:
        return None
    body = command.body
    assert isinstance(body, RaiseEvent), "events have the keys"
    key = f"{body.name} {_PAYLOADS.decoder(object)(body.payload)}"
    cause = keyed("event", command.workflow_id, key, "another")
    return replace(command, body=replace(body, name="another"), cause=cause)


def refused_as_misused(reply: ReplyBody) -> None:
    is_refused = isinstance(reply, Refused) and reply.error == "KeyReused"
    assert is_refused, f"a key is for one thing: {reply}"


def _keyed(case: Case, name: str, value: object) -> ClientCommand:
    cause = keyed("event", case.workflow_id, f"{name} {value}", name)
    return ClientCommand(case.workflow_id, RaiseEvent(name, _PAYLOADS.encode(value)), cause)
