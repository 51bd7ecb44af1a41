"""What is taken up without an input: runs that an owner before owed, and parked ones."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from functools import partial

from processor.core.decide import unpark
from processor.core.draft import Draft
from processor.core.nouns.run import StartSuccessor
from processor.failures import trace_of
from processor.shard.flight import RunRecord
from processor.shard.gate import Gate
from processor.shard.outbox import Deliveries
from processor.shard.turns.deciding import Deciding
from processor.shard.turns.instances import Instances
from processor.shard.turns.writer import Writer

__all__ = ("Resuming",)

_log = logging.getLogger("processor.shard")


class Resuming:
    """``parked`` are workflow ids; ``successors`` begin before any input is read."""

    def __init__(
        self,
        partition: int,
        parked: Iterable[str],
        successors: Iterable[tuple[StartSuccessor, int]],
        deciding: Deciding,
        gate: Gate,
        deliveries: Deliveries,
        instances: Instances,
        writer: Writer,
    ) -> None:
        self._partition = partition
        self.parked = deque(parked)
        self._successors = deque(successors)
        self._deciding = deciding
        self._gate = gate
        self._deliveries = deliveries
        self._instances = instances
        self._writer = writer

    def begin_successors(self) -> None:
        """Begin the runs that the owner before us owed."""
        while self._successors:
            effect, offset = self._successors.popleft()
            begun = self._deciding.begin(effect, self._gate.positions)
            begun.after.append(partial(self._deliveries.delivered, offset))

    def retry_parked(self, most: int) -> None:
        """Try the code of parked runs again: this process may have newer code."""
        for _ in range(min(len(self.parked), most)):
            self._retry(self.parked.popleft())

    def _retry(self, workflow_id: str) -> None:
        """Try once, and once more where deciding fails, as for any input."""
        try:
            made = self._unparked(workflow_id)
        except Exception:
            self._drop(workflow_id)
            try:
                made = self._unparked(workflow_id)
            except Exception as error:
                self._drop(workflow_id)
                text = "shard %d: %r stays parked\n%s"
                _log.warning(text, self._partition, workflow_id, trace_of(error))
                return
        if made is not None:
            self._writer.append(*made)
            self._deciding.follow(made[1])

    def _unparked(self, workflow_id: str) -> tuple[Draft, RunRecord] | None:
        """Return the turn in which a run goes on, if it does."""
        entry = self._instances.entry(workflow_id)
        if entry.instance is None:
            return None
        draft = unpark(entry.instance, self._deciding.now())
        if draft is None:
            return None
        made = self._writer.made(draft, entry, "takeover", self._gate.positions, None)
        return draft, made

    def _drop(self, workflow_id: str) -> None:
        self._deciding.drop_begun()
        self._instances.drop(workflow_id)
