"""The tables of one shard: each is one file here, and one line in ``Projections``."""

from __future__ import annotations

from typing import Final

from processor.shard.ports import Changes, Confirmed
from processor.store.keyvalue import KeyValue, Memory, Mutation
from processor.store.projections.attempts import Attempts
from processor.store.projections.claims import Claims
from processor.store.projections.history import History
from processor.store.projections.meta import Meta
from processor.store.projections.parked import Parked
from processor.store.projections.projection import TURNS, Handler, Projection
from processor.store.projections.purged import PurgedRows
from processor.store.projections.replaced import Replaced
from processor.store.projections.requests import RequestRows
from processor.store.projections.runs import Runs
from processor.store.projections.timers import TimerRows

__all__ = ("FAMILIES", "Projections")


class Projections:
    """What a group of records leaves in the tables, over a store that holds what was before.

    The next group begins once the rows of this one are ``written``.
    """

    def __init__(self, store: KeyValue) -> None:
        self.meta = Meta(store)
        self.runs = Runs(store)
        self.history = History(store)
        self.attempts = Attempts(store)
        self.timers = TimerRows(store)
        self.parked = Parked(store)
        self.requests = RequestRows(store)
        self.claims = Claims(store)
        self.replaced = Replaced(store, self.meta, self.history)
        self.purged = PurgedRows(store, self.runs, self.replaced)
        self.all: tuple[Projection, ...] = tuple(vars(self).values())
        self._handlers: dict[type, tuple[Handler, ...]] = {}
        for each in self.all:
            for kind, handler in each.takes().items():
                self._handlers[kind] = (*self._handlers.get(kind, ()), handler)

    def take(self, confirmed: Confirmed) -> None:
        """Give a record to all tables that take it, then its events, then its effects."""
        handlers, record = self._handlers, confirmed.record
        for handle in handlers.get(type(record), ()):
            handle(record, confirmed)
        if isinstance(record, TURNS):
            for event in record.events:
                for handle in handlers.get(type(event), ()):
                    handle(event, confirmed)
        for effect in confirmed.effects:
            for handle in handlers.get(type(effect), ()):
                handle(effect, confirmed)

    def change(self, changes: Changes) -> None:
        """Apply what changes beside the records."""
        self.requests.change(changes.requests)
        self.claims.change(changes.claims)
        self.replaced.change(changes)

    def mutations(self) -> list[Mutation]:
        return [row for each in self.all for row in each.mutations()]

    def written(self) -> None:
        for each in self.all:
            each.written()


FAMILIES: Final = tuple(family for each in Projections(Memory()).all for family in each.families)
