"""How a run is asked to end, or ended from outside."""

from __future__ import annotations

from processor.checks import TEXT_BYTES_MAX
from processor.core.data.bounds import check_text
from processor.core.data.fields import OnlyChain, OnlyRun, Reason
from processor.core.data.frozen import frozen
from processor.core.event import Drafting
from processor.core.nouns.run import Summary, WorkflowCancelRequested, WorkflowTerminated
from processor.core.operation import OperationOnRun
from processor.core.records.answers import ReplyBody

__all__ = ("CancelRun", "TerminateRun")


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
        if draft.run.cancel_reason is None:
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
