"""Which request or message an input is, so that it counts once however often it arrives."""

from __future__ import annotations

from typing import TypeAlias

from processor.core.data.address import Caller
from processor.core.data.frozen import frozen

__all__ = ("Call", "Cause", "ClientRequest", "NamedRequest", "Origin", "RecordedCause")


@frozen
class Origin:
    """The record of another shard that sent a command, and which of its messages it is.

    ``log`` is the log id of the sender (16 bytes): two namespaces, and one that was made again,
    are different senders.
    """

    log: bytes
    shard: int
    offset: int
    index: int


@frozen
class ClientRequest:
    """A request of one of our clients, which numbers them for each shard: 1, 2, 3 ..."""

    client: str
    number: int


@frozen
class NamedRequest:
    """A request to which a stranger gave an id."""

    id: str


@frozen
class Call:
    """A message of another shard whose sender waits for the answer: which one, and who waits."""

    origin: Origin
    caller: Caller


Cause: TypeAlias = Origin | ClientRequest | NamedRequest
RecordedCause: TypeAlias = Cause | Call
"""What a record says of its cause: of a call also who waits, so that the answer can be owed."""
