"""Run ids: what made a run, hashed, so that whoever meets the same request names the same run.

An input that is read again, and a request that is sent again, give the same id. Two namespaces,
two clusters and a namespace that was made again give different ones, because the log id is part of
it: a run id is an idempotency key that nobody else has.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import blake2b
from typing import Final

from processor.core.data.cause import Cause, ClientRequest, NamedRequest, Origin, identity

__all__ = ("RUN_ID_CHARS", "run_id_of", "successor_id")

RUN_ID_CHARS: Final = 16
"""Base64 of 96 bits, in which ``x`` and ``y`` stand for ``+`` and ``/`` too: 95 bits are left."""


def run_id_of(
    log_id: bytes, workflow_id: str, cause: Cause | None, partition: int, offset: int
) -> str:
    """Return the id of the run that a start makes.

    ``partition`` and ``offset`` are its place in ``commands``: that alone tells what a start is
    which nobody gave an identity.
    """
    match cause:
        case ClientRequest():
            what = f"client/{cause.client}/{cause.number}"
        case NamedRequest():
            what = f"request/{identity(cause)}"
        case Origin():
            what = f"origin/{cause.log.hex()}/{cause.shard}/{cause.offset}/{cause.index}"
        case None:
            what = f"commands/{partition}/{offset}"
    return _hashed(log_id, workflow_id, what)


def successor_id(log_id: bytes, workflow_id: str, run_id: str) -> str:
    """Return the id of the run that follows a run of the same chain."""
    assert run_id, f"a run of {workflow_id!r} has an id"
    return _hashed(log_id, workflow_id, f"after/{run_id}")


def _hashed(log_id: bytes, workflow_id: str, what: str) -> str:
    assert len(log_id) == 16, f"a log id has 16 bytes, not {len(log_id)}"
    text = workflow_id.encode()
    size = len(text).to_bytes(4, "big")
    digest = blake2b(log_id + size + text + what.encode(), digest_size=12).digest()
    return b64encode(digest, b"xy").decode()
