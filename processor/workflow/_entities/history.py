"""The last operations of an entity, kept for audit where its class says how many."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from processor.core.data.failure import Failure
from processor.core.nouns.update import OperationEnded, UpdateAccepted
from processor.errors import SchemaMismatch
from processor.workflow._engine.runtime import Runtime
from processor.workflow._entities.queue import Message

__all__ = ("HISTORY_MAX", "EntityHistory", "told")

HISTORY_MAX: Final = 100
"""So many operations may be kept."""

_BYTES_MAX: Final = 20_000
"""They take so many bytes at the most: the oldest go, since each turn writes all of them."""

_PAYLOAD_BYTES_MAX: Final = 1_000
_MESSAGE_CHARS_MAX: Final = 300
"""What is longer of one operation is left out, or cut."""


class EntityHistory:
    """``all`` are the operations that are kept, the oldest first: ``most`` of them at the most."""

    def __init__(self, most: int, kept: Sequence[OperationEnded]) -> None:
        self._most = most
        self.all = tuple(kept[-most:]) if most else ()

    def note(
        self, message: Message, now_ms: int, result: bytes | None, failure: Failure | None
    ) -> None:
        """Keep an operation that has ended now, and let the oldest ones go."""
        if not self._most:
            return
        is_call = isinstance(message, UpdateAccepted)
        given = message.arguments if isinstance(message, UpdateAccepted) else message.payload
        too_long = [len(each) for each in (given, result) if _is_too_long(each) and each]
        ended = OperationEnded(
            message.name,
            message.id if isinstance(message, UpdateAccepted) else "",
            now_ms,
            None if _is_too_long(given) else given,
            None if _is_too_long(result) or not is_call else result,
            None if failure is None else _shortened(failure),
            sum(too_long),
        )
        kept = [*self.all, ended][-self._most :]
        left = _BYTES_MAX - sum(each.size for each in kept)
        while left < 0 and len(kept) > 1:
            left += kept.pop(0).size
        self.all = tuple(kept)


def told(runtime: Runtime, kept: Sequence[OperationEnded]) -> list[dict[str, Any]]:
    """Return operations as people read them, with payloads as plain JSON.

    One that is none (a number out of range, by another client) is left out: the others are told.
    """
    decode = runtime.decoder(Any)
    found: list[dict[str, Any]] = []
    for each in kept:
        read: dict[str, Any] = {}
        left_out = each.bytes_left_out
        for name, payload in (("arguments", each.arguments), ("result", each.result)):
            try:
                read[name] = None if payload is None else runtime.decoded(decode, payload)
            except SchemaMismatch:
                read[name] = None
                left_out += len(payload or b"")
        found.append(
            {
                "operation": each.name,
                "id": each.id,
                "ended": datetime.fromtimestamp(each.ended_ms / 1000, UTC).isoformat(),
                **read,
                "failure": each.failure and f"{each.failure.type}: {each.failure.message}",
                "bytes_left_out": left_out,
            }
        )
    return found


def _is_too_long(payload: bytes | None) -> bool:
    return len(payload or b"") > _PAYLOAD_BYTES_MAX


def _shortened(failure: Failure) -> Failure:
    message, most = failure.message, _MESSAGE_CHARS_MAX
    return Failure(failure.kind, failure.type[:most], message[:most])
