"""What a table is: rows that acknowledged records leave, over a store that has the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, TypeAlias

from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import Turn
from processor.shard.ports import Confirmed
from processor.store.keyvalue import Mutation

__all__ = ("TURNS", "Handler", "Projection")

Handler: TypeAlias = Callable[[Any, Confirmed], None]
"""Takes a record, or one of its events or effects, together with the record that it is part of."""

TURNS: Final = (Turn, Snapshot)
"""The records that have events. A tuple: ``Turn | Snapshot`` would be made anew for each record."""


class Projection(Protocol):
    """One table, of one column family or two, with the rows of a group that is not written yet."""

    families: ClassVar[tuple[str, ...]]

    def takes(self) -> Mapping[type, Handler]:
        """Return what the table takes, by the class of records, of events and of effects."""

    def mutations(self) -> Sequence[Mutation]:
        """Return the rows that the group changes, each once."""

    def written(self) -> None:
        """Forget the rows of the group: the store has them now, and the next group begins."""
