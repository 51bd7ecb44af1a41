"""What the record of a turn has beside what the code asks for, if that turn ends the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from processor.core.data.bounds import size_of
from processor.core.event import Event
from processor.core.nouns.chain import Reserved, external_events
from processor.workflow._engine.runtime import Runtime
from processor.workflow._nouns.external import ExternalEvents

__all__ = ("Margins",)


class Margins:
    """``followed``: whether another run may follow, so that the record has its start."""

    __slots__ = ("_followed", "_runtime", "_start")

    def __init__(self, runtime: Runtime, followed: bool) -> None:
        self._runtime = runtime
        self._followed = followed
        self._start = size_of(replace(runtime.started, lineage=None)) if followed else 0

    def reserved(self, facts: Sequence[Event]) -> Reserved:
        """Return it for the turn that was given these facts.

        Facts of a parked run come together, and stand in earlier records.
        """
        came = size_of(facts[0]) if len(facts) == 1 else 0
        if not self._followed:
            return Reserved(0, 0, came)
        unread = sum(event.size for event in external_events(facts))
        unread += self._runtime.part(ExternalEvents).unread_bytes
        return Reserved(self._start, unread, came)
