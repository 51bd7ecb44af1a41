"""claims: log offset -> ClaimRow: claims that the log still holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from processor.shard.ports import ClaimRow
from processor.store.keyvalue import KeyValue, Mutation
from processor.store.projections.projection import Handler
from processor.store.rows import number_key, pack, reader

__all__ = ("Claims",)

_claim: Final = reader(ClaimRow)


class Claims:
    families = ("claims",)

    def __init__(self, store: KeyValue) -> None:
        self._store = store
        self._rows: dict[int, ClaimRow | None] = {}

    def takes(self) -> Mapping[type, Handler]:
        return {}

    def mutations(self) -> list[Mutation]:
        return [
            ("claims", number_key(offset), None if claim is None else pack(claim))
            for offset, claim in self._rows.items()
        ]

    def written(self) -> None:
        self._rows.clear()

    def change(self, claims: Mapping[int, ClaimRow | None]) -> None:
        self._rows.update(claims)

    def claims(self) -> Iterator[ClaimRow]:
        """Yield those that are written."""
        for _, value in self._store.scan("claims", b""):
            yield _claim(value)
