"""Which request or message an input is, so that it counts once however often it arrives."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, TypeAlias, TypeGuard

from processor.core.data.address import Caller
from processor.core.data.fields import Int32
from processor.core.data.frozen import frozen

__all__ = (
    "CallRequest",
    "Cause",
    "ClientRequest",
    "NamedRequest",
    "Origin",
    "RecordedCause",
    "StartRequest",
    "identity",
    "is_keyed",
    "keyed",
    "keyed_for",
)

_KEYED: Final = "key/"
_KEYED_BYTES: Final = 24
_KEYED_SIZE: Final = len(_KEYED) + 2 * _KEYED_BYTES
_WHAT_BYTES: Final = 200
"""So much of a keyed request's id says what was asked: an id has 255 bytes at the most."""

_DIGEST_BYTES: Final = 12


@frozen
class Origin:
    """The record of another shard that sent a command, and which of its messages it is: the target
    drops what it has seen. Two namespaces, and a topic that was made again, have different log ids.
    """

    log: bytes
    """Log id: the 16 bytes of the topic id of the sender's events topic (embedded: of the store's
    id).
    """
    shard: Int32
    """Partition of the sender."""
    offset: int
    """Offset of the sender's record in its events partition."""
    index: Int32
    """Number of the message among those of that record."""


@frozen
class ClientRequest:
    """A request of one of our clients. A client numbers what may change something, for each shard,
    in the order in which it sends.
    """

    client: str
    """Id that the client made up when it connected."""
    number: int
    """1, 2, 3, ... for each shard."""


@frozen
class NamedRequest:
    """A request of a stranger who gave it an id: it counts once, however often it is sent."""

    id: str
    """Any text."""


def keyed(word: str, workflow_id: str, key: str, what: str) -> NamedRequest:
    """Return the identity of a request that its user gave an idempotency key.

    The key is one of the workflow id, and of the kind of request (``word``). ``what`` is asked with
    it: the name of an event, for example.
    """
    text = "\0".join((word, str(len(workflow_id)), workflow_id, key))
    digest = blake2b(text.encode(), digest_size=_KEYED_BYTES).hexdigest()
    return NamedRequest(f"{_KEYED}{digest}/{_told_apart(what)}")


def _told_apart(what: str) -> str:
    """Return what was asked; of one that is too long its begin, and a digest of all of it."""
    data = what.encode()
    if len(data) <= _WHAT_BYTES:
        return what
    digest = f"~{blake2b(data, digest_size=_DIGEST_BYTES).hexdigest()}"
    return data[: _WHAT_BYTES - len(digest)].decode(errors="ignore") + digest


def is_keyed(cause: object) -> TypeGuard[NamedRequest]:
    """Return whether a request has a key. What is refused does not use the key up."""
    if not isinstance(cause, NamedRequest):
        return False
    text = cause.id  # a stranger's own id may begin as ours do
    return text.startswith(_KEYED) and text[_KEYED_SIZE : _KEYED_SIZE + 1] == "/"


def identity(request: NamedRequest) -> str:
    """Return what a request counts once by: of one with a key, what was asked is no part of it."""
    return request.id[:_KEYED_SIZE] if is_keyed(request) else request.id


def keyed_for(request: NamedRequest) -> str:
    """Return what was asked with a key."""
    assert is_keyed(request), f"{request.id!r} has a key"
    return request.id[_KEYED_SIZE + 1 :]


@frozen
class CallRequest:
    """A message of another shard whose sender waits for the answer."""

    origin: Origin
    """Which message it is."""
    caller: Caller
    """Who waits."""


@frozen
class StartRequest(CallRequest):
    """A message of another shard that starts a run: its sender is told when it has begun, too."""


Cause: TypeAlias = Origin | ClientRequest | NamedRequest
"""Which message or request the input was; None for inputs without such an identity."""

RecordedCause: TypeAlias = Cause | CallRequest | StartRequest
"""Which message or request the input was; None for inputs without such an identity."""
