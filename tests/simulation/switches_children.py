"""Protections of parents and children, switched off one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from processor.core import draft, inputs
from processor.core.data.cause import Caller, CallRequest
from processor.core.nouns.call import Calls
from processor.core.nouns.child import Children, EndChild
from processor.core.nouns.lineage import Lineage
from processor.core.nouns.run import Run, Successor, WorkflowTerminated
from processor.core.nouns.start import StartChild
from processor.core.nouns.stop import OutputSet, TerminateRun
from processor.core.records.answers import ReplyBody
from processor.core.records.effects import Effect

from .families import TERMINATED

__all__: tuple[str, ...] = ()


def ends_not_told(patch: pytest.MonkeyPatch) -> None:
    """Let a child end, and tell nobody."""
    patch.setattr(Run, "caller", None)
    patch.setattr(EndChild, "decide", lambda self, draft, latest: None)


def begins_not_told(patch: pytest.MonkeyPatch) -> None:
    """Forget that who started a run waits for its begin."""
    patch.setattr(inputs, "StartRequest", CallRequest)


def callers_not_handed_on(patch: pytest.MonkeyPatch) -> None:
    """Let the first run of a child's chain answer, and the next ones nobody."""
    next_attempt = draft.next_attempt

    def alone(*args: Any) -> Successor | None:
        successor = next_attempt(*args)
        if successor is None or successor.started.lineage is None:
            return successor
        lineage = replace(successor.started.lineage, caller=None)
        return replace(successor, started=replace(successor.started, lineage=lineage))

    patch.setattr(draft, "next_attempt", alone)


def children_left_alone(patch: pytest.MonkeyPatch) -> None:
    """End a parent, and leave its children to themselves."""

    def left(self: Children) -> Iterator[Effect]:
        yield from Calls.left(self)

    patch.setattr(Children, "left", left)


def outputs_lost(patch: pytest.MonkeyPatch) -> None:
    """Record the output of a run that is terminated, and tell nobody."""
    patch.setattr(OutputSet, "apply", lambda self, run, now_ms: None)


def strangers_ended(patch: pytest.MonkeyPatch) -> None:
    """End whoever has the id of a child, whoever started it."""
    patch.setattr(
        EndChild, "decide", lambda self, draft, latest: draft.add(WorkflowTerminated(self.reason))
    )


def last_results_lost(patch: pytest.MonkeyPatch) -> None:
    """Start a child, and forget the result that its parent gave it as the last one."""
    lineage = StartChild.lineage

    def without(self: StartChild, caller: Caller | None) -> Lineage | None:
        return lineage(replace(self, last_result=None), caller)

    patch.setattr(StartChild, "lineage", without)


def told_to_end_and_goes_on(patch: pytest.MonkeyPatch) -> None:
    """Tell a workflow that it has ended its child, and end nothing."""
    decide = TerminateRun.decide

    def told(self: TerminateRun, draft: Any, latest: Any) -> ReplyBody | None:
        asks = self.reason == TERMINATED
        return latest.accepted(created=True) if asks else decide(self, draft, latest)

    patch.setattr(TerminateRun, "decide", told)
