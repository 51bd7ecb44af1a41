"""The runner of an entity: one operation at a time, each as a small run of code of its own.

What an operation is asked for with waits in a queue. A plain one begins and ends in one turn, and
several may in the same one. Where no operation runs after a turn, the entity goes on from its state
and its queue: so replay never meets an operation that has ended. An async operation therefore never
begins in a turn in which another one has ended: a timer that is due at once lets it begin.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from processor.config import Settings
from processor.core.data.bounds import size_of
from processor.core.data.failure import Failure
from processor.core.entity_id import EntityId
from processor.core.event import Decision, Event
from processor.core.nouns.chain import external_events
from processor.core.nouns.child import ChildStarted
from processor.core.nouns.external import EventReceived, EventRejected
from processor.core.nouns.run import (
    Closing,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
    WorkflowStarted,
)
from processor.core.nouns.timer import TimerStarted
from processor.core.nouns.update import UpdateAccepted, UpdateCompleted
from processor.core.nouns.value import MemoSet, SideEffectRecorded
from processor.core.runner import Asked, CodeError, EntityCode
from processor.errors import LockLost, ProcessorError, SchemaMismatch, UpdateRejected
from processor.readable import readable
from processor.registry import Registry
from processor.workflow._definition import Workflow
from processor.workflow._engine.runner import WorkflowRunner
from processor.workflow._entities.definition import Entity, EntityInfo, EntityMethod, Operating
from processor.workflow._entities.gate import LockGate
from processor.workflow._entities.history import EntityHistory
from processor.workflow._entities.plain import Codes, PlainRunner
from processor.workflow._entities.queue import Message, Queue
from processor.workflow._entities.reads import EntityReads
from processor.workflow._entities.turn import EntityTurn
from processor.workflow._nouns.handler import arguments_of, code_of

__all__ = ("EntityRunner",)

_log = logging.getLogger("processor.workflow")


@dataclass(slots=True)
class _Running:
    """The operation that runs. ``cancelled``: somebody has asked that, and once is enough."""

    message: Message
    operating: Operating
    code: WorkflowRunner
    cancelled: bool = False

    @property
    def method(self) -> EntityMethod:
        assert self.operating.operation is not None, "a read is no code that runs"
        return self.operating.operation


class EntityRunner:
    """An entity's code: the state after its last operation, its queue, and what runs."""

    def __init__(
        self,
        entity: Entity,
        id: EntityId,
        started: WorkflowStarted,
        workflow_id: str,
        run_id: str,
        registry: Registry,
        settings: Settings,
        kept: EntityCode,
    ) -> None:
        self._entity = entity
        self._id = id
        self._started = replace(started, arguments=None, lineage=None, plan=None)
        which = workflow_id, run_id, registry, settings
        make = partial(_made, WorkflowRunner, which)
        # What interceptors do around an operation may wait.
        plain = make if registry.around_runs else partial(_made, PlainRunner, which)
        self._codes = Codes(self._started, make, plain, registry.payloads)
        self._reads = EntityReads(entity, id.key, self._started, make)
        self._state = entity.migrated(kept.state, registry.payloads)
        self._queue = Queue(kept.queue)
        self._last_id = kept.last_id
        self._wake = kept.wake
        self._history = EntityHistory(entity.history, kept.history)
        self._gate = LockGate(id, kept, self._queue)
        self._now_ms = kept.at_ms
        self._running: _Running | None = None
        self._open: dict[int, Decision] = {}
        self._over = False

    # --- one activation -----------------------------------------------------------------------

    def activate(
        self,
        now_ms: int,
        number: int,
        facts: Sequence[Event],
        recorded: Sequence[Event] | None,
    ) -> list[Asked]:
        """Take operations in, let the one that runs see its facts, and begin what can begin."""
        if self._over:
            raise RuntimeError(f"the code of {self._id} is over: it takes no facts")
        turn = EntityTurn(now_ms, number, recorded, self._open)
        self._now_ms = now_ms
        self._queue.begin()
        try:
            mine = [fact for fact in facts if self._is_of_operation(fact)]
            if mine:
                self._feed(turn, mine)
            self._go(turn)
        except CodeError:
            self.undo(facts)
            raise
        return turn.asked

    def _is_of_operation(self, fact: Event) -> bool:
        """Take a fact in; return whether it is for the operation that runs."""
        match fact:
            case UpdateAccepted() | EventReceived():
                self._queue.put(fact)
            case WorkflowStarted():
                for event in external_events((fact,)):
                    self._queue.put(event)
                carried = None if fact.lineage is None else fact.lineage.carried
                for each in () if carried is None else carried.updates:
                    if not each.over:
                        self._queue.put(UpdateAccepted(each.id, each.name, each.payload, False))
            case ChildStarted():
                return fact.call in self._open
            case _ if self._gate.takes(fact):
                return False
            case WorkflowCancelRequested():
                running = self._running
                if running is not None and not running.cancelled:
                    running.cancelled = True
                    return True
            case _:
                id: Any = getattr(fact, "id", None)
                if id is not None and id == self._wake:
                    self._wake = None
                return self._open.pop(id, None) is not None
        return False

    def _go(self, turn: EntityTurn) -> None:
        """Begin the next operation, and those behind it that end in this turn."""
        while self._running is None and self._wake is None:
            first = self._gate.next(turn)
            if first is None:
                return
            next = self._entity.operations.get(first.name)
            waits = next is not None and next.is_async
            if turn.ended and (waits or turn.is_full):
                self._wake = self._last_id = self._last_id + 1
                turn.asked.append((TimerStarted(self._wake, turn.now_ms), ""))
                return
            self._queue.take()
            try:
                self._gate.check(first)
                self._begin(turn, first, self._entity.asked_for(first.name))
            except (UpdateRejected, LockLost) as error:
                self._refuse(turn, first, error)

    def _begin(self, turn: EntityTurn, message: Message, operation: EntityMethod) -> None:
        """Let an operation run. Raises ``UpdateRejected`` where its arguments do not fit."""
        place = f"{turn.number}/{turn.ended}".encode()
        key = self._started.seed
        seed = hashlib.blake2b(place, key=key, digest_size=16).digest()
        code = self._codes.made(operation, seed, message.headers)
        code.runtime.decisions.last_id = self._last_id
        id = message.id if isinstance(message, UpdateAccepted) else ""
        info = EntityInfo(self._entity.name, self._id.key, operation.name, id)
        try:
            if isinstance(message, UpdateAccepted):
                code.read_arguments(turn.now_ms, message.arguments)
            else:
                decode = partial(arguments_of, code.runtime, operation.signature)
                code.read_arguments(turn.now_ms, message.payload, decode)
        except SchemaMismatch as error:
            code.close()
            raise UpdateRejected(str(error)) from error
        operating = Operating(self._entity, info, self._state, operation)
        code_of(code.runtime).operating = operating
        if operation.is_read:
            code.runtime.decisions.refusal = f"read {operation.name!r}"
        self._running = _Running(message, operating, code)
        self._feed(turn, [code.runtime.started])

    def _feed(self, turn: EntityTurn, facts: Sequence[Event]) -> None:
        """Let the operation that runs see facts, and note what it asks for, or ends with."""
        running = self._running
        assert running is not None, "facts are of an operation that runs"
        asked = running.code.activate(turn.now_ms, turn.number, facts, turn.recorded)
        turn.bytes += running.code.runtime.decisions.sized
        if asked and isinstance(asked[-1][0], Closing):
            self._ended(turn, running, asked[:-1], asked[-1])
        else:
            self._note(turn, asked)

    def _note(self, turn: EntityTurn, asked: Sequence[Asked]) -> None:
        """Note what the operation asks for. The memo that it sets is that of the next ones, too."""
        turn.note(asked)
        for decision, _ in asked:
            if isinstance(decision, MemoSet):
                self._codes.memo = decision.memo

    def _ended(
        self, turn: EntityTurn, running: _Running, asked: Sequence[Asked], closing: Asked
    ) -> None:
        """Note what became of an operation: the state after it, and its outcome."""
        end, line = closing
        self._running, failure, result = None, None, None
        self._last_id = running.code.runtime.decisions.last_id
        if isinstance(end, WorkflowFailed):
            failure = end.failure
            if not running.method.is_async:
                asked = [each for each in asked if isinstance(each[0], SideEffectRecorded)]
        elif isinstance(end, WorkflowCancelled):
            why = f": {end.reason}" if end.reason else ""
            failure = self._codes.told(asyncio.CancelledError(f"the operation was cancelled{why}"))
        else:
            assert isinstance(end, WorkflowCompleted), f"an operation ends with {end}"
            result = end.result
            if not running.method.is_read:
                self._state = running.operating.after
        self._note(turn, asked)
        turn.leave(line)
        self._over_with(turn, running.message, line or running.method.place, result, failure)

    def _refuse(self, turn: EntityTurn, message: Message, why: ProcessorError) -> None:
        """End an operation that cannot begin. The state stays as it is."""
        if isinstance(message, UpdateAccepted):
            self._over_with(turn, message, "", None, self._codes.told(why))
        else:
            turn.ended += 1
            self._history.note(message, turn.now_ms, None, self._codes.told(why))
            turn.asked.append((EventRejected(message.name, message.payload, str(why)), ""))

    def _over_with(
        self,
        turn: EntityTurn,
        message: Message,
        line: str,
        result: bytes | None,
        failure: Failure | None,
    ) -> None:
        turn.ended += 1
        self._history.note(message, turn.now_ms, result, failure)
        turn.bytes += len(result or b"") + (0 if failure is None else size_of(failure))
        if isinstance(message, UpdateAccepted):
            turn.asked.append((UpdateCompleted(message.id, result, failure), line))
        elif failure is not None and turn.recorded is None:
            _tell_failed(self._id, message.name, failure, line)

    # --- what it goes on from, and what it is asked -------------------------------------------

    def snapshot(self) -> EntityCode | None:
        """Return the state and the queue; None while an operation runs."""
        if self._running is not None:
            return None
        code = self._state, self._queue.all, self._last_id, self._wake, self._now_ms
        return EntityCode(*code, self._gate.locked, self._gate.number, self._history.all)

    def accepts(self, name: str, arguments: bytes | None) -> bool:
        """Refuse an operation that the class does not have; arguments are read as it begins."""
        self._entity.asked_for(name)
        return False

    def query(self, name: str, arguments: bytes | None) -> bytes | Failure | None:
        """Answer a read from the state after the last operation, whatever runs."""
        code = self._state, self._now_ms, self._history.all, self._codes.memo
        return self._reads.answer(name, arguments, *code)

    def waiting(self) -> list[str]:
        """Return where the operation waits."""
        return [] if self._running is None else self._running.code.waiting()

    def unread(self) -> tuple[int, int]:
        """Return how many messages wait, and their bytes."""
        return len(self._queue), self._queue.bytes

    def left(self) -> Sequence[EventReceived]:
        """Return the signals that have not begun."""
        return self._queue.signals

    def undo(self, facts: Sequence[Event]) -> None:
        """Close it, with the queue as it was before its last activation."""
        self._queue.undo()
        self.close()

    def keep(self) -> None:
        """Keep what reads ask for: the state is there as long as this is."""

    def forget(self) -> None:
        self.close()

    def close(self) -> None:
        """Drop the code of the operation, without running any more of it."""
        self._over = True
        running, self._running = self._running, None
        if running is not None:
            running.code.close()
        self._reads.close()


def _tell_failed(id: EntityId, operation: str, failure: Failure, line: str) -> None:
    _log.warning(
        "entity %r %s: operation %r, which a signal asked for, failed: %s: %s%s",
        id.name,
        readable(id.key),
        operation,
        readable(failure.type),
        readable(failure.message),
        f" at {line}" if line else "",
    )


def _made(
    kind: type[WorkflowRunner],
    which: tuple[str, str, Registry, Settings],
    workflow: Workflow[..., Any],
    started: WorkflowStarted,
) -> WorkflowRunner:
    return kind(workflow, started, *which)
