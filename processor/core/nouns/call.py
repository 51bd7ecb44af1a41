"""What the code asks of other instances: messages, and calls that are answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from processor.checks import ID_BYTES_MAX
from processor.core.data.address import Address, Caller
from processor.core.data.bounds import NUMBER_MAX, check_failure, check_range, check_text
from processor.core.data.cause import CallRequest, RecordedCause, StartRequest
from processor.core.data.fields import RequestId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.entity_id import entity_of
from processor.core.event import Decision, Drafting, Event, Fact, Whose
from processor.core.nouns.awaited import AnswerAwaited, GiveUpCall
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.locks.granting import CallUnderLock, LockRequested
from processor.core.nouns.run import (
    Run,
    Summary,
    WorkflowStarted,
    WorkflowTerminated,
    accepted,
)
from processor.core.nouns.start import StartRun, StartWith, begins
from processor.core.nouns.stop import CancelRun, TerminateRun
from processor.core.nouns.timer import RaiseEventAt
from processor.core.nouns.update import UpdateRun
from processor.core.nouns.value import AwaitValue
from processor.core.operation import OperationOnRun, Request
from processor.core.questions import AwaitResult, QueryRun
from processor.core.records.answers import (
    Accepted,
    CallOutcome,
    Closed,
    QueryAnswered,
    Refused,
    ReplyBody,
    UpdateEnded,
    ValueIs,
)
from processor.core.records.effects import DeadLetter, Effect, Message
from processor.errors import SchemaMismatch
from processor.policy import Status

__all__ = (
    "AnswerCall",
    "CallAnswered",
    "CallGivenUp",
    "CallOperation",
    "CallSent",
    "Calls",
    "MessageDelayed",
    "MessageRejected",
    "MessageSent",
    "answer_to",
    "caller_of",
    "message_to",
    "taken",
    "unfit",
)


def unfit(run: Run, call: int, asked: str, outcome: CallOutcome) -> Refused:
    """Return why an outcome is no answer to a call of ``run`` that asked for something else."""
    assert not isinstance(outcome, Refused), "a refusal answers whatever is asked"
    return Refused(
        "CommandRejected",
        f"call {call} of run {run.run_id} of {run.workflow_id!r} asked {asked}, and "
        f"{type(outcome).__name__} is no answer to that: the run waits on",
    )


def caller_of(run: Whose, call: int) -> Caller:
    """Return a call of a run, as whoever is asked keeps it."""
    return Caller(Address(None, run.workflow_id), run.run_id, call)


def message_to(to: Address, body: Request, caller: Caller | None = None) -> Message:
    """Return what carries a command to an instance, in whichever namespace it is."""
    return Message(to.workflow_id, body, caller, to.namespace)


@dataclass
class Calls(Run):
    """``calls``: those without an answer, by their ids."""

    calls: dict[int, CallSent] = field(default_factory=dict)

    def answered(self, call: int, outcome: CallOutcome) -> Fact | Refused | None:
        """Return what an answer to a call is to the code, or why it is none.

        None where the code waits for none.
        """
        sent = self.calls.get(call)
        if sent is None:
            return None
        assert sent.id == call, f"call {sent.id} is kept under its own id"
        if not isinstance(outcome, (Refused, *_ANSWERS[type(sent.awaited)])):
            return unfit(self, call, " ".join(sent.what).strip(), outcome)
        return CallAnswered(call, outcome)

    def send(self, call: CallSent) -> None:
        """Note a call that waits for its answer."""
        self.calls[call.id] = call

    def settle(self, call: int, outcome: CallOutcome) -> None:
        """Note that a call has its answer."""
        del self.calls[call]

    def told(self, caller: Caller, outcome: CallOutcome) -> Effect:
        return _answer(caller, outcome)

    def left(self) -> Iterator[Effect]:
        for call in self.calls.values():
            yield from call.given_up(self)
        yield from super().left()


@frozen
class MessageSent(Decision):
    """The code sent a message to another instance, and waits for no answer."""

    to: Address
    """The target."""
    kind: str
    """What is sent: event, cancel, terminate, or entity (an event that begins an entity). A string,
    so that a new kind breaks no reader.
    """
    name: str
    """Name of the event, else empty."""
    reason: str
    """Reason of a cancellation or termination, for people."""
    payload: bytes | None
    """Encoded value of the event."""
    headers: Headers = NO_HEADERS

    identity = ("name", "kind", "to")
    payloads = ("payload",)

    @property
    def operation(self) -> RaiseEvent | CancelRun | TerminateRun | StartWith:
        """What the target is asked."""
        if self.kind == "terminate":
            return TerminateRun(self.reason)
        if self.kind == "cancel":
            return CancelRun(self.reason)
        event = RaiseEvent(self.name, self.payload, headers=self.headers)
        entity = entity_of(self.to.workflow_id) if self.kind == "entity" else None
        return event if entity is None else begins(entity, event)

    def apply(self, run: Run, now_ms: int) -> None:
        pass

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        return (message_to(self.to, self.operation),)


@frozen
class MessageDelayed(MessageSent):
    """The code sent an entity a signal that is due later, and waits for no answer."""

    due_ms: int = 0
    """When it is due, in milliseconds since the epoch."""

    @property
    def operation(self) -> StartWith:
        entity = entity_of(self.to.workflow_id)
        assert entity is not None, f"{self.to.workflow_id!r} is that of an entity"
        event = RaiseEventAt(self.name, self.payload, headers=self.headers, due_ms=self.due_ms)
        return begins(entity, event)


CallOperation: TypeAlias = (
    StartRun
    | RaiseEvent
    | CancelRun
    | UpdateRun
    | QueryRun
    | AwaitValue
    | AwaitResult
    | StartWith
    | TerminateRun
    | CallUnderLock
)
"""What is asked."""

_ANSWERS: Final[Mapping[type[CallOperation], tuple[type[CallOutcome], ...]]] = MappingProxyType(
    {
        StartRun: (Accepted, Closed),
        RaiseEvent: (Accepted,),
        CancelRun: (Accepted,),
        TerminateRun: (Accepted,),
        UpdateRun: (UpdateEnded,),
        CallUnderLock: (UpdateEnded,),
        QueryRun: (QueryAnswered,),
        AwaitValue: (ValueIs, Closed),
        AwaitResult: (Closed,),
        StartWith: (Accepted,),
    }
)
"""What may be the answer, where it is not refused."""

_WAITING: Final = (UpdateRun, AwaitValue, AwaitResult)
"""Whoever is asked this may have to wait until there is an answer."""

_QUESTIONS: Final = (QueryRun, AwaitValue, AwaitResult)
"""These change nothing."""

_WAITS: Final = (AnswerAwaited, LockRequested)
"""A turn that begins with one of these answers its sender later."""

_ENDS: Final = tuple(each.value for each in Status if not each.is_open)


@frozen
class CallSent(Decision):
    """The code asked something of another instance, and is answered exactly once."""

    id: RequestId
    to: Address
    """The target."""
    operation: CallOperation
    timeout_ms: int | None = None
    """None: a time limit is a timer of the code, which then gives the call up."""

    identity = ("id", "to", "what")
    payloads = ("payload",)

    @property
    def what(self) -> tuple[str, str]:
        """What is asked: the type of the operation, and the name of the event or workflow."""
        operation = self.operation
        match operation:
            case RaiseEvent() | UpdateRun() | QueryRun() | AwaitValue():
                name = operation.name
            case StartWith(first=UpdateRun() as first):
                name = f"{operation.workflow}.{first.name}"
            case StartRun():
                name = operation.workflow
            case CancelRun() | TerminateRun() | AwaitResult():
                name = ""
        return type(operation).__name__, name

    @property
    def payload(self) -> bytes | None:
        """The value of the user's that goes with it."""
        operation = self.operation
        match operation:
            case RaiseEvent():
                return operation.payload
            case StartWith(first=UpdateRun() as first):
                return first.arguments
            case StartRun() | UpdateRun() | QueryRun():
                return operation.arguments
            case CancelRun() | TerminateRun() | AwaitValue() | AwaitResult():
                return None

    @property
    def is_question(self) -> bool:
        return isinstance(self.operation, _QUESTIONS)

    @property
    def awaited(self) -> CallOperation:
        """What the answer is to: the update that goes with a start, or the operation itself."""
        operation = self.operation
        if isinstance(operation, StartWith) and isinstance(operation.first, UpdateRun):
            return operation.first
        return operation

    def given_up(self, run: Whose) -> Sequence[Effect]:
        """Return what lets whoever is asked know that nobody waits any more."""
        if not isinstance(self.awaited, _WAITING):
            return ()
        return (message_to(self.to, GiveUpCall(caller_of(run, self.id))),)

    def apply(self, run: Calls, now_ms: int) -> None:
        run.send(self)

    def effects(self, run: Calls, now_ms: int) -> Sequence[Effect]:
        return (message_to(self.to, self.operation, caller_of(run, self.id)),)


@frozen
class CallAnswered(Fact):
    """The answer to a call."""

    id: int
    """Number of the call."""
    outcome: CallOutcome

    def apply(self, run: Calls, now_ms: int) -> None:
        run.settle(self.id, self.outcome)


@frozen
class CallGivenUp(Decision):
    """The code waits no more for the answer to a call."""

    id: RequestId

    identity = ("id",)

    def apply(self, run: Calls, now_ms: int) -> None:
        assert self.id in run.calls, f"call {self.id} has no answer"
        del run.calls[self.id]

    def effects(self, run: Calls, now_ms: int) -> Sequence[Effect]:
        return run.calls[self.id].given_up(run)


@frozen
class MessageRejected(Decision):
    """A target refused a message when the code waited for the answer no more; it went to
    dead-letters.
    """

    id: RequestId
    to: Address
    """The target."""
    name: str
    """Name of the event; empty for a cancellation."""
    payload: bytes | None
    """Encoded value of the event."""
    reason: str
    """Why it was refused."""

    identity = ("id",)
    payloads = ("payload",)

    def apply(self, run: Run, now_ms: int) -> None:
        pass

    def effects(self, run: Run, now_ms: int) -> Sequence[Effect]:
        to = self.to.workflow_id
        what = f"event {self.name!r}" if self.name else "what was to end it"
        sender = f"run {run.run_id} of {run.workflow_id!r}"
        reason = f"{what} of {sender} to {self.to.shown}: {self.reason}"
        return (DeadLetter("commands", -1, -1, to.encode(), self.payload, reason),)


@frozen
class AnswerCall(OperationOnRun):
    """The answer to a call of this instance. One that nobody waits for is dropped, but for a
    refusal: what was sent is lost then, and has to be found among the dead letters. Of a question
    nothing is lost.
    """

    run_id: str
    """The run that called."""
    call: int
    """Number of the call."""
    outcome: CallOutcome

    def check(self) -> None:
        check_text("run id of the caller", self.run_id, ID_BYTES_MAX)
        check_range("number of the call", self.call, 0, NUMBER_MAX)
        if isinstance(self.outcome, Closed | QueryAnswered | UpdateEnded):
            check_failure(self.outcome.failure)
        if isinstance(self.outcome, Closed):
            _check_closed(self.outcome)

    def which(self) -> tuple[str | None, str | None]:
        return self.run_id, None

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        fact = draft.run.answered(self.call, self.outcome)
        if fact is None:
            unheard = self._unheard(latest.workflow_id, "waits no more")
            return unheard or latest.accepted(created=False)
        if isinstance(fact, Refused):
            return fact
        draft.advance(fact)
        return None

    def when_closed(self, latest: Summary) -> ReplyBody:
        return self.not_found(latest.workflow_id)

    def not_found(self, workflow_id: str) -> ReplyBody:
        return self._unheard(workflow_id, "has ended") or Accepted("", created=False)

    def _unheard(self, workflow_id: str, why: str) -> Refused | None:
        told = self.outcome
        if not isinstance(told, Refused):
            return None
        sender = f"run {self.run_id} of {workflow_id!r}, which sent it and waited for the answer"
        return Refused(told.error, f"{told.message}; {sender}, {why}")


def _check_closed(closed: Closed) -> None:
    """Refuse an end that no run has."""
    if closed.status not in _ENDS:
        known = ", ".join(_ENDS)
        raise SchemaMismatch(f"status: a run ends as one of {known}, not {closed.status!r}")
    if closed.status == Status.FAILED and closed.failure is None:
        raise SchemaMismatch("the end of a run that failed says no failure; give it one")
    if closed.status == Status.CONTINUED and not closed.reason:
        raise SchemaMismatch("reason: the end of a run that was continued names the one after it")


def answer_to(cause: RecordedCause | None, outcome: CallOutcome) -> Sequence[Message]:
    """Return the message that tells the caller the answer, where the cause is a call."""
    if not isinstance(cause, CallRequest):
        return ()
    return (_answer(cause.caller, outcome),)


def taken(cause: RecordedCause | None, run: Run, events: Sequence[Event]) -> Sequence[Message]:
    """Return the answer to the call that a turn of ``run`` took, where its cause is one.

    One that starts a child is answered with its end, and where it asks for that, with its begin:
    the end of the very first turn tells both. What has to be waited for is told later.
    """
    if not isinstance(cause, CallRequest) or isinstance(_first(events), _WAITS):
        return ()
    if run.events == len(events) and run.caller == cause.caller:
        ended = run.closed_ms is not None and run.successor is None
        if ended or not isinstance(cause, StartRequest):
            return ()
        return answer_to(cause, accepted(run))
    last = events[-1]
    if isinstance(last, WorkflowTerminated) and last.successor is not None:
        return ()  # it made room for the run that was asked for
    return answer_to(cause, accepted(run))


def _first(events: Sequence[Event]) -> Event:
    """Return what a turn begins with, but for the start of its run."""
    begins = isinstance(events[0], WorkflowStarted) and len(events) > 1
    return events[1] if begins else events[0]


def _answer(caller: Caller, outcome: CallOutcome) -> Message:
    return message_to(caller.address, AnswerCall(caller.run_id, caller.call, outcome))
