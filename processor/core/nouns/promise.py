"""Promises: what the code waits for until somebody outside resolves or rejects it, by its id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from processor.checks import ID_BYTES_MAX, TEXT_BYTES_MAX, shown
from processor.core.data.bounds import check_text
from processor.core.data.failure import Failure
from processor.core.data.fields import RequestId
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.data.opaque import opaque, parts_of_opaque
from processor.core.event import Decision, Drafting, Fact
from processor.core.nouns.run import Run, Summary
from processor.core.operation import OperationOnRun
from processor.core.records.answers import Refused, ReplyBody
from processor.errors import InvalidArgument, SchemaMismatch

__all__ = (
    "PromiseId",
    "PromiseMade",
    "PromiseSettled",
    "Promises",
    "RejectPromise",
    "ResolvePromise",
    "promise_named",
)

_TEXT_BYTES_MAX: Final = 2 * ID_BYTES_MAX
"""So long may the text of an id be: that of the longest workflow id is shorter."""


class PromiseId(NamedTuple):
    """What names a promise: a run, and the number of the request among all requests of it."""

    workflow_id: str
    run_id: str
    number: int

    @property
    def text(self) -> str:
        """Letters, digits, ``-`` and ``_``."""
        return opaque(self.number, self.run_id, self.workflow_id)

    @classmethod
    def read(cls, text: str) -> PromiseId:
        """Return what a text names. Raises ``ValueError`` where that is nothing."""
        number, run_id, workflow_id = parts_of_opaque(text, 3)
        found = cls(workflow_id, run_id, int(number))
        if not workflow_id or not run_id or found.number < 1 or found.text != text:
            raise ValueError(f"{text!r} is no id of a promise")
        return found


def promise_named(id: object, what: str) -> PromiseId:
    """Return what the id of a promise names. Raises ``InvalidArgument``; ``what`` says where."""
    try:
        return PromiseId.read(str.__str__(id) if isinstance(id, str) else "")
    except ValueError:
        raise InvalidArgument(
            f"{what}: give the id of a workflow.promise() as it is, not {shown(id)}; describe "
            "shows those that are open"
        ) from None


@dataclass
class Promises(Run):
    """``promises``: those that nobody has settled, each with when it was made."""

    promises: dict[int, int] = field(default_factory=dict)


# --- events -----------------------------------------------------------------------------------


@frozen
class PromiseMade(Decision):
    """The code made a promise, which somebody outside resolves or rejects."""

    id: RequestId

    identity = ("id",)

    def apply(self, run: Promises, now_ms: int) -> None:
        run.promises[self.id] = now_ms


@frozen
class PromiseSettled(Fact):
    """A promise was resolved or rejected."""

    id: RequestId
    value: bytes | None = None
    """Encoded value; None where it has none, or was rejected."""
    failure: Failure | None = None
    """Why it was rejected; None where it was resolved."""
    headers: Headers = NO_HEADERS

    def apply(self, run: Promises, now_ms: int) -> None:
        del run.promises[self.id]


# --- what may be asked ------------------------------------------------------------------------


class _SettlesPromise(OperationOnRun):
    """The first one counts. Each later one is refused, but for a copy of the same request."""

    __slots__ = ()

    promise: str

    def fact(self, id: int) -> PromiseSettled:
        """Return what becomes of the promise."""
        raise NotImplementedError(type(self).__name__)

    def named(self) -> PromiseId:
        return PromiseId.read(self.promise)

    def check(self) -> None:
        check_text("id of the promise", self.promise, _TEXT_BYTES_MAX)
        try:
            promise_named(self.promise, "promise")
        except InvalidArgument as error:
            raise SchemaMismatch(str(error)) from error

    def which(self) -> tuple[str | None, str | None]:
        return self.named().run_id, None

    def decide(self, draft: Drafting, latest: Summary) -> ReplyBody | None:
        number = self.named().number
        run: Promises = draft.run
        if number not in run.promises:
            return self._refused("it is settled already, or there never was one")
        draft.advance(self.fact(number))
        return None

    def when_closed(self, latest: Summary) -> ReplyBody:
        return self._refused(f"the run is {latest.status.value}")

    def not_found(self, workflow_id: str) -> ReplyBody:
        named = self.named().workflow_id
        if workflow_id != named:
            return self._refused(
                f"its command was sent to {workflow_id!r}; the key of the record is {named!r}"
            )
        return self._refused("the run has ended, or never was")

    def _refused(self, why: str) -> Refused:
        workflow_id, run_id, number = self.named()
        which = f"promise {number} of run {run_id} of {workflow_id!r}"
        return Refused("PromiseNotOpen", f"{which} is not open: {why}")


@frozen
class ResolvePromise(_SettlesPromise):
    """Give a promise its value."""

    promise: str
    """Id of the promise: the text that its workflow's code has handed out."""
    value: bytes | None = None
    """Encoded value."""
    headers: Headers = NO_HEADERS

    word = "resolve"

    def fact(self, id: int) -> PromiseSettled:
        return PromiseSettled(id, self.value, headers=self.headers)


@frozen
class RejectPromise(_SettlesPromise):
    """Let whoever awaits a promise get an error."""

    promise: str
    """Id of the promise: the text that its workflow's code has handed out."""
    message: str
    """Text of the error."""
    error_type: str = "ApplicationError"
    """Kind of the error, for whoever catches it."""
    details: bytes | None = None
    """Encoded value that the error carries."""
    headers: Headers = NO_HEADERS

    word = "reject"

    def check(self) -> None:
        _SettlesPromise.check(self)
        check_text("message", self.message, TEXT_BYTES_MAX, least=0)
        check_text("error_type", self.error_type, ID_BYTES_MAX)

    def fact(self, id: int) -> PromiseSettled:
        failure = Failure("application", self.error_type, self.message, self.details)
        return PromiseSettled(id, failure=failure, headers=self.headers)
