"""Another namespace, which is the world itself as it looks from there.

What a shard publishes to it arrives in the world's own inputs, under another log id, and its
callers are of the other namespace. So the answers cross the border as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from processor.core.data.address import Caller
from processor.core.data.cause import Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.awaited import GiveUpCall
from processor.core.nouns.child import EndChild
from processor.shard.messages.border import COMMANDS, Border

__all__ = ("ELSEWHERE", "LOG_ID", "MIRRORED", "OWN_COMMANDS", "mirrored")

MIRRORED: Final = Border()
"""The border of a world whose other side it is itself."""

ELSEWHERE: Final = "elsewhere"
LOG_ID: Final = b"a log elsewhere."
OWN_COMMANDS: Final = f"{MIRRORED.namespace}.{COMMANDS}"


def mirrored(command: ClientCommand) -> ClientCommand:
    """Return what a command that crosses the border is on the other side."""
    assert isinstance(command.cause, Origin), "a message says where it is from"
    body = command.body
    if isinstance(body, EndChild | GiveUpCall):
        body = replace(body, caller=_elsewhere(body.caller))
    caller = None if command.caller is None else _elsewhere(command.caller)
    return replace(command, body=body, caller=caller, cause=replace(command.cause, log=LOG_ID))


def _elsewhere(caller: Caller) -> Caller:
    assert caller.address.namespace == MIRRORED.namespace, "a caller names its namespace abroad"
    return replace(caller, address=replace(caller.address, namespace=ELSEWHERE))
