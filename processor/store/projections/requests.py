"""requests: name -> what has counted: see ``shard.dedup``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from processor.core.data.cause import ClientRequest, NamedRequest
from processor.core.records.answers import Accepted, Refused
from processor.core.records.marks import ClientWindow, KnownAnswer, NamedWindow, SourceWindow
from processor.shard.dedup import Known, Row
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import Handler
from processor.store.rows import pack, reader

__all__ = ("RequestRows",)


class _AnswerRow(msgspec.Struct, omit_defaults=True):
    """A ``KnownAnswer``: MessagePack has no names for the classes of a union."""

    heard_at: int
    client: str = ""
    number: int = 0
    request_id: str = ""
    error: str = ""
    message: str = ""
    run_id: str = ""
    created: bool = False
    first_run_id: str | None = None


_KNOWN: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "s": reader(SourceWindow),
    "c": reader(ClientWindow),
    "n": reader(NamedWindow),
    "a": reader(_AnswerRow),
}


class RequestRows:
    families = ("requests",)

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._rows: dict[str, Known | None] = {}

    def takes(self) -> Mapping[type, Handler]:
        return {}

    def mutations(self) -> list[Mutation]:
        return [
            ("requests", name.encode(), None if known is None else _packed_known(known))
            for name, known in self._rows.items()
        ]

    def written(self) -> None:
        self._rows.clear()

    def change(self, rows: Sequence[Row]) -> None:
        self._rows.update(rows)

    def known(self) -> Iterator[Known]:
        """Yield those that are written."""
        for name, value in self._store.scan("requests", b""):
            yield _known_of(name, value)


def _known_of(name: bytes, value: bytes) -> Known:
    """Return what a row of ``requests`` holds."""
    held: Any = _KNOWN[name[:1].decode()](value)
    if not isinstance(held, _AnswerRow):
        known: Known = held
        return known
    named = bool(held.request_id)
    cause = NamedRequest(held.request_id) if named else ClientRequest(held.client, held.number)
    if held.error:
        return KnownAnswer(cause, Refused(held.error, held.message), held.heard_at)
    accepted = Accepted(held.run_id, held.created, held.first_run_id)
    return KnownAnswer(cause, accepted, held.heard_at)


def _packed_known(known: Known) -> bytes:
    if not isinstance(known, KnownAnswer):
        return pack(known)
    row, cause, answer = _AnswerRow(known.heard_at), known.cause, known.answer
    if isinstance(cause, ClientRequest):
        row.client, row.number = cause.client, cause.number
    else:
        row.request_id = cause.id
    if isinstance(answer, Refused):
        row.error, row.message = answer.error, answer.message
    else:
        row.run_id, row.created = answer.run_id, answer.created
        row.first_run_id = answer.first_run_id
    return pack(row)
