"""Values that the code records: side effects, the status that it shows, values by name, the memo
and the search attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from processor.checks import ID_BYTES_MAX
from processor.core.data.bounds import DURATION_MS_MAX, NUMBER_MAX, check_range, check_text
from processor.core.data.fields import OnlyChain, OnlyRun, RequestId
from processor.core.data.frozen import frozen
from processor.core.event import Decision
from processor.core.nouns.lineage import Plan
from processor.core.nouns.run import Run, Summary, WorkflowStarted
from processor.core.operation import Question
from processor.core.records.answers import Refused, ValueIs
from processor.core.records.effects import Effect, RunResult
from processor.policy import Status

__all__ = (
    "AttributesSet",
    "AwaitValue",
    "MemoSet",
    "SideEffectRecorded",
    "StatusSet",
    "ValueSet",
    "ValueShown",
    "Values",
    "not_set",
    "with_attributes",
)


@dataclass
class Values(Run):
    """``values``: those that are set, by their names, each with the number of its event."""

    custom_status: bytes | None = None
    values: dict[str, tuple[int, bytes | None]] = field(default_factory=dict)


def not_set(
    run: Summary | RunResult, name: str, after: int, searched: int | None = None
) -> Refused:
    """Return what whoever waits for a value is told when its run ends without it.

    ``searched``: only so many of the last events of a long history were.
    """
    which = f"run {run.run_id} of {run.workflow_id!r} is {Status(run.status).value}"
    again = " again" if after >= 0 else ""
    where = ""
    if searched is not None:
        where = f" in its last {searched:,} events; older ones are not searched"
    return Refused("ValueNotSet", f"{which}, and has not set the value {name!r}{again}{where}")


@frozen
class SideEffectRecorded(Decision):
    """The code recorded a value that replay must not compute again."""

    id: RequestId
    value: bytes | None
    """Encoded value."""

    identity = ("id",)

    def apply(self, run: Values, now_ms: int) -> None:
        pass


@frozen
class StatusSet(Decision):
    """The code published its status for queries."""

    value: bytes | None
    """Encoded value."""

    payloads = ("value",)

    def apply(self, run: Values, now_ms: int) -> None:
        run.custom_status = self.value


@frozen
class MemoSet(Decision):
    """The code changed the memo of its run."""

    memo: bytes | None
    """Encoded memo, with all that it holds from now on."""

    payloads = ("memo",)

    def apply(self, run: Values, now_ms: int) -> None:
        run.memo = self.memo


def with_attributes(started: WorkflowStarted, attributes: bytes | None) -> WorkflowStarted:
    """Return how a run began, with the search attributes that it has now."""
    return replace(started, plan=replace(started.plan or Plan(), attributes=attributes))


@frozen
class AttributesSet(Decision):
    """The code changed the search attributes of its run."""

    attributes: bytes | None
    """Encoded search attributes, with all that there are from now on."""

    payloads = ("attributes",)

    def apply(self, run: Run, now_ms: int) -> None:
        assert run.started is not None, "a run begins with its start"
        run.started = with_attributes(run.started, self.attributes)


@frozen
class ValueShown(Effect):
    """Whoever waits for a value of this name is told it."""

    name: str
    told: ValueIs


@frozen
class ValueSet(Decision):
    """The code set a value that readers wait for."""

    name: str
    """Name of the value."""
    value: bytes | None
    """Encoded value."""

    identity = ("name",)
    payloads = ("value",)

    def apply(self, run: Values, now_ms: int) -> None:
        assert run.events > 0, "a run begins with its start"
        run.values[self.name] = run.events - 1, self.value
        run.have_heard("value", self.name)

    def effects(self, run: Values, now_ms: int) -> Sequence[Effect]:
        told = ValueIs(run.run_id, run.events, self.value)
        return (ValueShown(self.name, told), *run.tell("value", self.name, told))


@frozen
class AwaitValue(Question):
    """Reply with a value of a run, once it is set."""

    name: str
    """Name of the value."""
    after: int = -1
    """Only one that was set by a later event than this."""
    of_run: OnlyRun = None
    """Run of that event; any value of another run is a later one."""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None
    timeout_ms: int = 30_000
    """After how many milliseconds the shard forgets the waiter."""

    word = "value"

    def after_in(self, run_id: str) -> int:
        """Return the event of a run after which the value has to be set."""
        return self.after if self.of_run in (None, run_id) else -1

    def known(self, run: Values) -> ValueIs | None:
        """Return what an open run has set; None where that has to be waited for."""
        number, value = run.values.get(self.name, (-1, None))
        return ValueIs(run.run_id, number, value) if number > self.after_in(run.run_id) else None

    def check(self) -> None:
        check_text("name of the value", self.name, ID_BYTES_MAX)
        check_range("after", self.after, -1, NUMBER_MAX)
        check_range("timeout_ms", self.timeout_ms, 0, DURATION_MS_MAX)
