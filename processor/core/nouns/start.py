"""How a run is asked for."""

from __future__ import annotations

from types import MappingProxyType
from typing import TypeAlias

from processor.checks import ID_BYTES_MAX, why_reserved
from processor.core.data.address import Caller, RunRef
from processor.core.data.bounds import DURATION_MS_MAX, check_range, check_run_ref, check_text
from processor.core.data.frozen import frozen
from processor.core.data.headers import NO_HEADERS, Headers
from processor.core.entity_id import EntityId, entity_of
from processor.core.nouns.external import EventReceived, RaiseEvent
from processor.core.nouns.lineage import Carried, Lineage, Plan, UpdateOutcome
from processor.core.nouns.locks.granting import LockEntity
from processor.core.nouns.run import Summary
from processor.core.nouns.timer import RaiseEventAt
from processor.core.nouns.update import UpdateRun
from processor.core.operation import Operation
from processor.core.records.answers import Refused
from processor.errors import SchemaMismatch
from processor.policy import CONFLICT_POLICIES, REUSE_POLICIES, Status

__all__ = ("StartChild", "StartPlanned", "StartRun", "StartWith", "begins")


@frozen
class StartRun(Operation):
    """Start a workflow under the command's workflow id."""

    workflow: str
    """Name of the workflow."""
    arguments: bytes | None = None
    """Encoded list of arguments."""
    reuse: str = "allow"
    """When the id has a closed run: allow, allow-failed, reject, use-existing. A string: not all of
    these are Avro symbols, and a new policy breaks no reader.
    """
    conflict: str = "fail"
    """When the id has an open run: fail, use-existing, terminate. A string for the same reasons."""
    execution_timeout_ms: int | None = None
    """How long the run may take, in milliseconds; None: as long as its definition says."""
    memo: bytes | None = None
    """Encoded value for people and searches."""
    headers: Headers = NO_HEADERS
    result_within_ms: int | None = None
    """Reply with the end of the run instead of its start if it ends within so many milliseconds;
    None: reply with its start. Whoever asks again meanwhile is told that it has started.
    """

    word = "start"
    choices = MappingProxyType({"reuse": REUSE_POLICIES, "conflict": CONFLICT_POLICIES})
    not_by_hand = ("result_within_ms",)

    def check(self) -> None:
        check_text("name of the workflow", self.workflow, ID_BYTES_MAX)
        check_range("execution_timeout_ms", self.execution_timeout_ms, 1, DURATION_MS_MAX)
        check_range("result_within_ms", self.result_within_ms, 0, DURATION_MS_MAX)

    @property
    def asks_for(self) -> str:
        return self.workflow

    def lineage(self, caller: Caller | None) -> Lineage | None:
        """Return where the run comes from; None: a start of its own."""
        return None

    def refusal(self, workflow_id: str, latest: Summary | None) -> Refused | None:
        """Return why there can be no run, from what is known of the latest one of the id."""
        for field, choices in self.choices.items():
            if (given := getattr(self, field)) not in choices:
                words = f"{', '.join(choices[:-1])} or {choices[-1]}"
                reason = f"unknown id {field} policy {given!r}: it is {words}"
                return Refused("CommandRejected", reason)
        why = why_reserved(workflow_id, self.workflow)
        if why and not self._is_of_entity(workflow_id):
            return Refused(
                "CommandRejected", f"workflow {self.workflow!r} cannot be started: {why}"
            )
        if latest is None:
            return None
        which = f"run {latest.run_id} ({latest.status.value})"
        taken = f"workflow id {workflow_id!r} is taken by {which}"
        if latest.status.is_open:
            if self.conflict == "fail" and self.reuse != "use-existing":
                return Refused("WorkflowAlreadyStarted", f"{taken}; conflict policy is 'fail'")
        elif self.reuse == "reject":
            return Refused("WorkflowAlreadyStarted", f"{taken}; reuse policy is 'reject'")
        elif self.reuse == "allow-failed" and latest.status is Status.COMPLETED:
            return Refused("WorkflowAlreadyStarted", f"{taken}; reuse policy is 'allow-failed'")
        return None

    def _is_of_entity(self, workflow_id: str) -> bool:
        """Return whether it begins the entity that an id names: with its first operation."""
        return False

    def uses(self, latest: Summary) -> bool:
        """Return whether it is answered with the run that has the id, open or closed."""
        if not latest.status.is_open or self.conflict == "fail":
            return self.reuse == "use-existing"
        return self.conflict == "use-existing"


@frozen
class StartPlanned(StartRun):
    """Start a workflow with a plan for what is beyond the first turn of its first run."""

    plan: Plan | None = None
    """How its runs are to be run; what it does not say, the definition of the workflow does."""

    by_hand = False

    def check(self) -> None:
        StartRun.check(self)
        if self.plan is not None:
            self.plan.check()


FirstMessage: TypeAlias = RaiseEvent | UpdateRun | RaiseEventAt | LockEntity
"""What goes with a start."""


@frozen
class StartWith(StartPlanned):
    """Start a workflow unless it runs, and tell it something, at once: a run that begins has it
    before its code does.
    """

    first: FirstMessage | None = None
    """What it is told."""

    def check(self) -> None:
        StartPlanned.check(self)
        if self.first is None:
            raise SchemaMismatch("first: there is nothing that the workflow is told")
        self.first.check()

    @property
    def asks_for(self) -> str:
        assert self.first is not None, "checked where it was read"
        return f"{self.workflow} with {self.first.asks_for}"

    def lineage(self, caller: Caller | None) -> Lineage | None:
        first = self.first
        assert first is not None, "checked where it was read"
        if isinstance(first, RaiseEventAt | LockEntity):
            return None  # it is an event of its own
        if isinstance(first, RaiseEvent):
            event = EventReceived(first.name, first.payload, first.headers)
            return Lineage(carried=Carried((event,)))
        update = UpdateOutcome(first.id, first.name, first.arguments, over=False)
        return Lineage(carried=Carried(updates=(update,)))

    def _is_of_entity(self, workflow_id: str) -> bool:
        entity = entity_of(workflow_id)
        return entity is not None and entity.name == self.workflow


def begins(entity: EntityId, first: FirstMessage) -> StartWith:
    """Return what asks an entity for an operation, and begins it where it is not there."""
    return StartWith(entity.name, None, "allow", "use-existing", first=first)


@frozen
class StartChild(StartPlanned):
    """Start a workflow as the child of the run that asks."""

    root: RunRef | None = None
    """First ancestor of the run that asks; None: that run itself."""
    tells_start: bool = False
    """Whether the run that asks is told of the begin, before the end."""
    last_result: bytes | None = None
    """Encoded result that the child finds as its last one; None: it finds none."""

    def check(self) -> None:
        StartPlanned.check(self)
        check_run_ref("first ancestor", self.root)

    def lineage(self, caller: Caller | None) -> Lineage | None:
        if caller is None:
            return None
        parent = RunRef(caller.address.workflow_id, caller.run_id)
        last = self.last_result
        return Lineage(previous_result=last, parent=parent, root=self.root, caller=caller)
