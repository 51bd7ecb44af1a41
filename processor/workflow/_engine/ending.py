"""The end of a run: what its code came to is a decision, or the error that parks it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from processor.config import Settings
from processor.core.data.bounds import size_of
from processor.core.data.failure import writable
from processor.core.data.headers import NO_HEADERS
from processor.core.data.shown import is_a, shown
from processor.core.event import Event
from processor.core.nouns.chain import Reserved, external_events
from processor.core.nouns.run import (
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowFailed,
)
from processor.core.nouns.update import CARRIED_BYTES
from processor.core.runner import CodeError
from processor.errors import PayloadCodecError, PayloadTooLarge
from processor.failures import bases_of, failure_of
from processor.workflow._definition import Workflow
from processor.workflow._engine.failing import fails
from processor.workflow._engine.runtime import Runtime
from processor.workflow._frames import innermost, is_ours, where_of
from processor.workflow._guard.signals import is_signal
from processor.workflow._nouns.chain import GoesOn, going_on
from processor.workflow._nouns.external import ExternalEvents
from processor.workflow._nouns.handler import tell_unfinished

__all__ = ("Ending",)

_SURELY_FITS: Final = 500_000
"""So much fits into the record of a last turn beside what the turn began with."""


class Ending:
    """``followed``: whether another run may follow; ``goes_on``: whether another one does."""

    __slots__ = ("_followed", "_runtime", "_settings", "_start_bytes", "_workflow", "goes_on")

    def __init__(
        self, runtime: Runtime, workflow: Workflow[..., Any], settings: Settings, followed: bool
    ) -> None:
        self._runtime = runtime
        self._workflow = workflow
        self._settings = settings
        self._followed = followed
        self.goes_on = False
        started, self._start_bytes = runtime.started, 0
        if followed:
            told = None if started.lineage is None else started.lineage.previous_result
            size = size_of(replace(started, lineage=None)) + len(told or b"")
            self._start_bytes = size + CARRIED_BYTES

    def reserved(self, facts: Sequence[Event]) -> Reserved:
        """Return what the record has beside what the code asks for, if this turn ends the run.

        The turn was given these facts. Those of a parked run come together, and stand in earlier
        records.
        """
        came = size_of(facts[0]) if len(facts) == 1 else 0
        if not self._followed:
            return Reserved(0, 0, came)
        return Reserved(self._start_bytes, self._unread_bytes(facts), came)

    def _unread_bytes(self, facts: Sequence[Event]) -> int:
        came = sum(event.size for event in external_events(facts))
        return came + self._runtime.part(ExternalEvents).unread_bytes

    def decide(self, interrupted: BaseException | None, facts: Sequence[Event]) -> CodeError | None:
        """Add the decision that ends the run, or return why it parks.

        ``interrupted`` is what came out of the loop, if anything did.
        """
        runtime, loop = self._runtime, self._runtime.loop
        if interrupted is not None and is_signal(interrupted):
            raise interrupted
        if loop.violation is not None:
            violation, where = loop.violation
            error = _code_error("nondeterminism", violation)
            error.where = error.where or writable(where)
            return error
        broken = interrupted if runtime.broken is None else runtime.broken
        if broken is not None:
            return _code_error("bug", broken)
        main, failed = runtime.main, runtime.code.failed
        if main is None and failed is None:
            assert runtime.cancel_reason is not None, "what never began was cancelled"
            runtime.decisions.end(WorkflowCancelled(runtime.cancel_reason))
            return None
        try:
            if failed is not None:
                raise failed
            assert main is not None, "the code began"
            self._complete(main.result(), facts)
        except asyncio.CancelledError as error:
            if runtime.cancel_reason is None:
                return _code_error("bug", error, "cancelled, but nobody asked for that: ")
            runtime.decisions.end(WorkflowCancelled(runtime.cancel_reason))
        except BaseException as error:
            if is_signal(error):
                raise
            if asked := going_on(error):
                self._go_on(asked, facts)
            elif not fails(error, self._workflow.failure_exception_types):
                return _code_error("bug", error)
            else:
                self._fail(error, facts)
        return None

    def _go_on(self, asked: GoesOn, facts: Sequence[Event]) -> None:
        """Let the run go on as another one, unless somebody has asked to cancel it meanwhile."""
        decisions, following = self._runtime.decisions, asked.decision.successor.started
        if self._runtime.cancel_reason is None:
            for fact in facts:
                if isinstance(fact, WorkflowCancelRequested):
                    decisions.end(WorkflowCancelled(fact.reason))
                    return
        what = f"the start of the run of {following.workflow!r} that goes on"
        kept = Reserved(0, self._unread_bytes(facts), self.reserved(facts).facts)
        try:
            decisions.check_result(size_of(following) + CARRIED_BYTES, what, kept)
        except PayloadTooLarge as error:
            self._fail(error, facts)
            return
        tell_unfinished(self._runtime)
        self.goes_on = True
        decisions.end(asked.decision, asked.line)

    def _complete(self, result: Any, facts: Sequence[Event]) -> None:
        what = f"the result of workflow {self._workflow.name!r}"
        payload = self._runtime.decisions.encode(result, what)
        plan, size = self._runtime.started.plan, len(payload or b"")
        size *= 1 if plan is None or plan.cron is None else 2  # the next run is told it, too
        if self._followed or self._runtime.decisions.sized + size > _SURELY_FITS:
            self._runtime.decisions.check_result(size, what, self.reserved(facts))
        tell_unfinished(self._runtime)
        self._runtime.decisions.end(WorkflowCompleted(payload))

    def _fail(self, error: BaseException, facts: Sequence[Event]) -> None:
        place = innermost(error)
        line = "" if place is None else f"{place[0].f_code.co_filename}:{place[1]}"
        left = self._runtime.decisions.left(self.reserved(facts)) // 2  # it may be there twice
        limit = min(self._settings.payload_bytes_max, left)
        failure = failure_of(error, self._runtime.payloads, limit)
        headers = bases_of(error) if self._followed else NO_HEADERS
        self._runtime.decisions.end(WorkflowFailed(failure, headers), line)


def _code_error(kind: str, error: BaseException, prefix: str = "") -> CodeError:
    if is_a(error, PayloadCodecError):
        kind = "not_registered"
    told = shown(error, is_ours)
    text = told.message if kind == "nondeterminism" else told.words
    return CodeError(kind, prefix + text, _place_of(error), told.traceback)


def _place_of(error: BaseException) -> str:
    place = innermost(error)
    try:
        return "" if place is None else where_of(*place)
    except Exception:  # a source that cannot be read
        return ""
