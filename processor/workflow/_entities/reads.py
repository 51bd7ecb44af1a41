"""Reads of an entity: each has an object of its own, from the state after the last operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from processor.core.data.failure import Failure
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.update import OperationEnded
from processor.errors import QueryFailed, SchemaMismatch
from processor.workflow._definition import Workflow
from processor.workflow._engine.reading import reading
from processor.workflow._engine.runner import WorkflowRunner
from processor.workflow._engine.watchdog import watching
from processor.workflow._entities.definition import HISTORY, Entity, EntityInfo, Operating
from processor.workflow._nouns.handler import code_of

__all__ = ("EntityReads", "Make")

Make = Callable[[Workflow[..., object], WorkflowStarted], WorkflowRunner]
"""What makes the code of one operation, or of reads."""


class EntityReads:
    """``_code`` is made when it is first asked."""

    def __init__(self, entity: Entity, key: str, started: WorkflowStarted, make: Make) -> None:
        self._entity = entity
        self._info = EntityInfo(entity.name, key, "", "")
        self._started = started
        self._make = make
        self._code: WorkflowRunner | None = None

    def answer(
        self,
        name: str,
        arguments: bytes | None,
        state: bytes | None,
        now_ms: int,
        history: Sequence[OperationEnded],
        memo: bytes | None,
    ) -> bytes | Failure | None:
        """Answer a read, at the time of the last turn, and with the memo that the run has now."""
        code = self._code
        if code is None:
            code = self._code = self._make(self._entity.reading, self._started)
            code.read_arguments(now_ms, None)
        code.runtime.begin(now_ms, 0)
        code.runtime.started = replace(self._started, memo=memo)
        operating = Operating(self._entity, self._info, state)
        operating.history = history
        code_of(code.runtime).operating = operating
        watching(code.runtime, self._copy, code, name, state)
        return code.query(name, arguments)

    def close(self) -> None:
        code, self._code = self._code, None
        if code is not None:
            code.close()

    def _copy(self, code: WorkflowRunner, name: str, state: bytes | None) -> None:
        """Make the object that answers. Raises ``QueryFailed`` where the state does not fit."""
        runtime = code.runtime
        if name == HISTORY:  # that needs no state, which may not fit
            code_of(runtime).instance = code_of(runtime).operating
            return
        with reading(runtime, f"read {name!r}"):
            try:
                code_of(runtime).instance = self._entity.made(runtime, state)
            except SchemaMismatch as error:
                raise QueryFailed(str(error)) from error
