"""How a run is asked to end, or ended from outside."""

from __future__ import annotations

from processor.checks import TEXT_BYTES_MAX
from processor.core.data.bounds import check_text
from processor.core.data.fields import OnlyChain, OnlyRun, Reason
from processor.core.data.frozen import frozen
from processor.core.entity_id import is_entity_id
from processor.core.event import Drafting, Event
from processor.core.nouns.run import Run, Summary, WorkflowCancelRequested, WorkflowTerminated
from processor.core.operation import OperationOnRun
from processor.core.records.answers import ReplyBody

__all__ = ("CancelRun", "OutputSet", "TerminateRun")


@frozen
class OutputSet(Event):
    """Whoever terminates the run gave an output, for those who wait for its end."""

    output: bytes | None
    """Encoded output."""

    wakes_code = False

    def apply(self, run: Run, now_ms: int) -> None:
        run.result = self.output


@frozen
class CancelRun(OperationOnRun):
    """Ask a run to cancel itself."""

    reason: Reason = ""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None

    word = "cancel"

    def check(self) -> None:
        check_text("reason", self.reason, TEXT_BYTES_MAX, least=0)

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        if is_entity_id(latest.workflow_id):
            if draft.is_idle:
                return latest.accepted(created=False)
            draft.advance(WorkflowCancelRequested(self.reason))
        elif draft.run.cancel_reason is None:
            draft.advance(WorkflowCancelRequested(self.reason))
        return None


@frozen
class TerminateRun(OperationOnRun):
    """End a run without running its code."""

    reason: Reason = ""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None

    word = "terminate"

    def check(self) -> None:
        check_text("reason", self.reason, TEXT_BYTES_MAX, least=0)

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        draft.add(WorkflowTerminated(self.reason))
        return None
