"""What is taken up without an input: runs that an owner before owed, and parked ones."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from functools import partial

from processor.core.decide import succeed, unpark
from processor.core.nouns.run import StartSuccessor
from processor.core.replay import failed as code_failed
from processor.core.runner import CodeError
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
        self._parked = deque(parked)
        self._successors = deque(successors)
        self._deciding = deciding
        self._gate = gate
        self._deliveries = deliveries
        self._instances = instances
        self._writer = writer

    def __bool__(self) -> bool:
        return bool(self._parked or self._successors)

    def begin_successors(self) -> None:
        """Begin the runs that the owner before us owed."""
        while self._successors:
            effect, offset = self._successors.popleft()
            self._begin(effect).after.append(partial(self._deliveries.delivered, offset))

    def retry_parked(self, most: int) -> None:
        """Try the code of parked runs again: this process may have newer code."""
        for _ in range(min(len(self._parked), most)):
            self._retry(self._parked.popleft())

    def _begin(self, effect: StartSuccessor) -> RunRecord:
        """Write the start of a run that follows another one. If that fails twice, it parks."""
        try:
            begun = self._successor(effect)
        except Exception:
            try:
                begun = self._successor(effect)
            except Exception as error:
                begun = self._successor(effect, code_failed(error))
        self._follow(begun)
        return begun

    def _follow(self, closing: RunRecord) -> None:
        """Begin the run that follows the one which a record has ended, if there is one."""
        for effect in closing.effects:
            if isinstance(effect, StartSuccessor):
                self._begin(effect).after.append(partial(self._succeeded, closing))

    def _succeeded(self, closing: RunRecord) -> None:
        self._deliveries.delivered(closing.offset)

    def _successor(self, effect: StartSuccessor, broken: CodeError | None = None) -> RunRecord:
        entry = self._instances.entry(effect.workflow_id)
        context = self._deciding.now()
        try:
            which = effect.workflow_id, effect.run_id, effect.started
            draft = succeed(*which, context, broken)
            made = self._writer.made(draft, entry, "successor", self._gate.positions, None)
        except Exception:
            self._deciding.drop_begun()
            raise
        self._writer.append(draft, made)
        return made

    def _retry(self, workflow_id: str) -> None:
        entry = self._instances.entry(workflow_id)
        context = self._deciding.now()
        try:
            draft = None if entry.instance is None else unpark(entry.instance, context)
            if draft is not None:
                made = self._writer.write(draft, entry, "takeover", self._gate.positions, None)
                self._follow(made)
        except Exception as error:
            self._deciding.drop_begun()
            self._instances.drop(workflow_id)
            text = "shard %d: %r stays parked\n%s"
            _log.warning(text, self._partition, workflow_id, trace_of(error))
