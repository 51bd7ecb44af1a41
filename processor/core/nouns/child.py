"""Children: runs that a run starts. Their ends are answers, and its own end may be theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from processor.checks import TEXT_BYTES_MAX
from processor.core.data.address import Address, Caller
from processor.core.data.bounds import check_caller, check_text
from processor.core.data.fields import Reason, RequestId, RunId
from processor.core.data.frozen import frozen
from processor.core.data.headers import Headers
from processor.core.event import Decision, Drafting, Event, Fact, Whose
from processor.core.nouns.call import Calls, caller_of, message_to, unfit
from processor.core.nouns.run import Summary, WorkflowCancelRequested, WorkflowTerminated
from processor.core.nouns.start import StartChild
from processor.core.nouns.stop import OutputSet, TerminateRun
from processor.core.operation import Operation, OperationOnRun
from processor.core.records.answers import Accepted, CallOutcome, Closed, Refused, ReplyBody
from processor.core.records.effects import Effect
from processor.errors import SchemaMismatch

__all__ = (
    "ChildCalled",
    "ChildCancelRequested",
    "ChildEnded",
    "ChildStarted",
    "Children",
    "ChildrenSpared",
    "EndChild",
    "OpenChild",
    "TerminateWith",
)

_WAYS: Final = ("terminate", "cancel")


@frozen
class OpenChild:
    """A child whose end is not known."""

    called: ChildCalled
    """How it was called."""
    run_id: str = ""
    """The run that it began with, once that is known."""
    cancelled: bool = False
    """Whether it was asked to cancel itself."""


@dataclass
class Children(Calls):
    """``children``: those that have not ended, by the ids of their calls."""

    children: dict[int, OpenChild] = field(default_factory=dict)

    def answered(self, call: int, outcome: CallOutcome) -> Fact | Refused | None:
        if call not in self.children:
            return Calls.answered(self, call, outcome)
        if isinstance(outcome, Accepted):
            return ChildStarted(call, outcome.run_id)
        if isinstance(outcome, Closed | Refused):
            return ChildEnded(call, outcome)
        return unfit(self, call, f"for child {self.children[call].called.workflow!r}", outcome)

    def left(self) -> Iterator[Effect]:
        for child in self.children.values():
            if child.called.parent_close != "abandon":
                reason = f"its parent, run {self.run_id} of {self.workflow_id!r}, has ended"
                yield child.called.end(self, child.called.parent_close, reason)
        yield from super().left()


@frozen
class ChildCalled(Decision):
    """The code started a workflow as a child of its run."""

    id: RequestId
    to: Address
    """The child."""
    start: StartChild
    """What it is started with."""
    parent_close: str
    """What becomes of it if the run ends before it: terminate, cancel, abandon. A string, so that
    a new way breaks no reader.
    """

    identity = ("id", "to", "workflow")
    payloads = ("arguments",)

    @property
    def workflow(self) -> str:
        return self.start.workflow

    @property
    def arguments(self) -> bytes | None:
        return self.start.arguments

    @property
    def headers(self) -> Headers:
        return self.start.headers

    def end(self, run: Whose, how: str, reason: str) -> Effect:
        """Return what ends the child, or asks it to cancel itself."""
        return message_to(self.to, EndChild(caller_of(run, self.id), how, reason))

    def apply(self, run: Children, now_ms: int) -> None:
        assert self.id not in run.children, f"child {self.id} is called once"
        run.children[self.id] = OpenChild(self)

    def effects(self, run: Children, now_ms: int) -> Sequence[Effect]:
        return (message_to(self.to, self.start, caller_of(run, self.id)),)


@frozen
class ChildStarted(Fact):
    """A child whose begin the code waits for has begun."""

    call: RequestId
    run_id: RunId

    def apply(self, run: Children, now_ms: int) -> None:
        run.children[self.call] = replace(run.children[self.call], run_id=self.run_id)


@frozen
class ChildEnded(Fact):
    """A child has ended, and the chain of its runs; or it could not be started."""

    id: RequestId
    outcome: Closed | Refused
    """How it ended, or why there is none."""

    def apply(self, run: Children, now_ms: int) -> None:
        assert self.id in run.children, f"child {self.id} is open"
        del run.children[self.id]


@frozen
class ChildCancelRequested(Decision):
    """The code asked a child to cancel itself."""

    id: RequestId
    reason: Reason

    identity = ("id",)

    def apply(self, run: Children, now_ms: int) -> None:
        run.children[self.id] = replace(run.children[self.id], cancelled=True)

    def effects(self, run: Children, now_ms: int) -> Sequence[Effect]:
        return (run.children[self.id].called.end(run, "cancel", self.reason),)


@frozen
class ChildrenSpared(Event):
    """The children go on, whatever becomes of the run."""

    wakes_code = False

    def apply(self, run: Children, now_ms: int) -> None:
        run.children.clear()


# --- what may be asked of a run -------------------------------------------------------------------


@frozen
class EndChild(OperationOnRun):
    """End a child, or ask it to cancel itself: its parent has ended, or wants it so. Only a run
    that the call of the parent has made is touched, never a stranger of the same workflow id.
    """

    caller: Caller
    """The call that has made the child."""
    how: str
    """What is to be done: terminate, cancel."""
    reason: Reason

    by_hand = False

    def check(self) -> None:
        check_caller(self.caller)
        check_text("reason", self.reason, TEXT_BYTES_MAX, least=0)
        if self.how not in _WAYS:
            raise SchemaMismatch(f"how: {self.how!r} is none of {', '.join(_WAYS)}")

    def which(self) -> tuple[str | None, str | None]:
        return None, None

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        if draft.run.caller != self.caller:
            return latest.accepted(created=False)
        if self.how == "terminate":
            draft.add(WorkflowTerminated(self.reason))
        elif draft.run.cancel_reason is None:
            draft.advance(WorkflowCancelRequested(self.reason))
        return None

    def not_found(self, workflow_id: str) -> ReplyBody:
        return Accepted("", created=False)


@frozen
class TerminateWith(TerminateRun):
    """End a run without running its code, with an output, or without its children."""

    recursive: bool = True
    """Whether its children end, too, as their parent_close says."""
    output: bytes | None = None
    """Encoded output, for those who wait for the end."""

    @property
    def plain(self) -> Operation:
        whole = self.recursive and self.output is None
        return TerminateRun(self.reason, *self.which()) if whole else self

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        if not self.recursive and draft.run.children:
            draft.add(ChildrenSpared())
        if self.output is not None:
            draft.add(OutputSet(self.output))
        return TerminateRun.decide(self, draft, latest)
