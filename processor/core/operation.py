"""What may be asked of an instance: operations, which may change it, and questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

from processor.core.records.answers import Accepted, Refused, ReplyBody

__all__ = ("Operation", "OperationOnRun", "Question", "Request")

_ANYTHING: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


class Request:
    """``word`` is what people call it: in commands that they write, and to interceptors.

    ``tells_start``: an instance that asks is told of the begin of a run, before its end.
    """

    __slots__ = ()

    word: ClassVar[str] = ""
    tells_start = False

    def check(self) -> None:
        """Raise ``SchemaMismatch`` where a value is out of its range."""


class Question(Request):
    """Changes nothing, and is answered from what is known."""

    __slots__ = ()


class Operation(Request):
    """May change something: it counts once, and leaves a record.

    ``by_hand``: people may write it themselves. ``choices`` are the values that a field may have
    there, ``not_by_hand`` the fields that are not written.
    """

    __slots__ = ()

    by_hand: ClassVar[bool] = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = _ANYTHING
    not_by_hand: ClassVar[tuple[str, ...]] = ()

    @property
    def asks_for(self) -> str:
        """Return what an idempotency key is used for with it; "" where it has none."""
        return ""

    @property
    def plain(self) -> Operation:
        """Return the operation of the lowest level that does the same."""
        return self


class OperationOnRun(Operation):
    """Asked of the latest run, of a run by its id, or of a chain by that of its first run."""

    __slots__ = ()

    def which(self) -> tuple[str | None, str | None]:
        """Return the ids of the run and of the first run of its chain that are meant."""
        return self.run_id, self.first_run_id  # type: ignore[attr-defined]

    def decide(self, draft: Any, latest: Any) -> ReplyBody | None:
        """Write what it does to an open run into a turn; return an answer other than the usual."""
        raise NotImplementedError(type(self).__name__)

    def refusal(self, workflow_id: str, caller: Any) -> Refused | None:
        """Return why nothing comes of it, whatever stands under that id; asked with a start."""
        return None

    def begins_with(self, caller: Any, now_ms: int) -> Sequence[Any]:
        """Return the events by which a run begins that a start begins for it, behind the first."""
        return ()

    def when_closed(self, latest: Any) -> ReplyBody:
        """Return what is told where the run is closed already."""
        answer: Accepted = latest.accepted(created=False)
        return answer

    def not_found(self, workflow_id: str) -> ReplyBody:
        """Return what is told where the run that is meant is not the latest one."""
        run_id, first_run_id = self.which()
        if run_id is not None:
            reason = f"run {run_id!r} is not the latest run of workflow id {workflow_id!r}"
        elif first_run_id is not None:
            which = f"the chain that began with run {first_run_id!r}"
            reason = f"the latest run of workflow id {workflow_id!r} is not of {which}"
        else:
            reason = f"no run of workflow id {workflow_id!r}"
        return Refused("WorkflowNotFound", reason)
