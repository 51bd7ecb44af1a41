"""The code of workflows, activities and entities that a worker has, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol, TypeVar

from processor.activity import Activity, ActivityDefinition, check_imported
from processor.checks import shown
from processor.core.correlation import CORRELATION
from processor.correlation.keys import CorrelationKey
from processor.errors import InvalidArgument
from processor.http import calling
from processor.injection.interceptors import Injected
from processor.schedules.running import Schedule
from processor.schedules.spec import SCHEDULE
from processor.workflow._alone import alone
from processor.workflow._definition import ALONE, Workflow, defined
from processor.workflow._entities.definition import Entity
from processor.workflow._entities.naming import entity_named, is_entity
from processor.workflow._nouns.http import HTTP
from processor.workflow._outbound import Outbound

__all__ = ("Registry",)


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...


N = TypeVar("N", bound=_Named)

_OURS: Final[Mapping[str, tuple[type[Any], str]]] = MappingProxyType(
    {SCHEDULE: (Schedule, "schedules"), CORRELATION: (CorrelationKey, "business keys")}
)
"""Workflows that each worker has, and what their runs are."""


class Registry:
    """Workflows and activities by name. A name that is used twice is refused at once.

    Annotations are resolved here too, and their decoders are built, so that a wrong one stops the
    worker at its start and not a run in its middle.
    """

    def __init__(
        self,
        workflows: Iterable[Workflow[..., Any] | type[Any]],
        activities: Iterable[Activity[..., Any]],
        injected: Injected,
        entities: Iterable[type[Any]] = (),
    ) -> None:
        self.injected = injected
        self.payloads = injected.payloads
        self.around_runs = injected.around("run_workflow")
        self.around_attempts = injected.around("run_activity")
        names = "call_activity", "signal", "call_child", "call_instance"
        outbound = Outbound(*map(injected.around, names))
        self.outbound = outbound if any(outbound) else None
        self.workflows = _by_name("workflow", [_workflow(each) for each in workflows])
        for name, (_, what) in _OURS.items():
            if name in self.workflows:
                raise InvalidArgument(
                    f"workflow {name!r} at {self.workflows[name].place} has the name of the "
                    f"workflow that {what} are: give it another one, @workflow.define(name=...)"
                )
        self.activities = _by_name("activity", [_activity(each) for each in activities])
        self.entities = _by_name("entity", [_entity(each) for each in entities])
        both: list[_Named] = [*self.workflows.values(), *self.entities.values()]
        _by_name("workflow or entity", both)
        for signature in (
            *(each.signature for each in self.workflows.values()),
            *(one.signature for each in self.workflows.values() for one in each.handlers.all),
            *(each.signature for each in self.activities.values()),
            *(one.signature for each in self.entities.values() for one in each.methods),
        ):
            signature.resolve()
            signature.check(self.payloads)
        for entity in self.entities.values():
            entity.check(self.payloads.decoder)

    def workflow_named(self, name: str) -> Workflow[..., Any] | None:
        """Return a workflow, None where this worker does not have it.

        Each worker has ours: what runs an activity alone, what schedules are, and business keys.
        """
        if (ours := _OURS.get(name)) is not None:
            return defined(ours[0])
        return alone if name.startswith(ALONE) else self.workflows.get(name)

    def activity_named(self, name: str) -> ActivityDefinition | None:
        """Return the definition of an activity, None where this worker does not have it.

        Each worker with httpx has that which calls HTTP services.
        """
        found = self.activities.get(name)
        if found is None and name == HTTP and (ours := calling.default()) is not None:
            return ours.definition
        return found

    def arguments_of(
        self, definition: ActivityDefinition, arguments: bytes | None
    ) -> tuple[Any, ...]:
        """Return an activity's arguments, typed. Raises ``SchemaMismatch`` if they do not fit."""
        return definition.signature.decode(arguments, self.payloads)


def _workflow(given: object) -> Workflow[..., Any]:
    workflow = defined(given)
    if workflow is None:
        raise InvalidArgument(
            f"{shown(given)} is no workflow: put @workflow.define on the function or class"
        )
    return workflow


def _activity(given: object) -> ActivityDefinition:
    if not isinstance(given, Activity):
        raise InvalidArgument(
            f"{shown(given)} is no activity: put @activity.define on the function"
        )
    if given.is_unbound:
        name = given.definition.function.__name__
        raise InvalidArgument(
            f"{shown(given)} is a method of a class: a worker needs it with its instance. Make "
            f"one, and register the method of that: activities=[instance.{name}]"
        )
    check_imported(given.definition)
    return given.definition


def _entity(given: object) -> Entity:
    entity = entity_named(given, "entities")[1] if is_entity(given) else None
    if entity is None:
        raise InvalidArgument(
            f"{shown(given)} is no entity: put @entity.define on the class, and give the class"
        )
    return entity


def _by_name(kind: str, definitions: Iterable[N]) -> dict[str, N]:
    found: dict[str, N] = {}
    for each in definitions:
        other = found.setdefault(each.name, each)
        if other is not each:
            raise InvalidArgument(
                f"two {kind} definitions have the name {each.name!r}: one at {other.place}, one "
                f"at {each.place}. Give one of them another name: @{kind}.define(name=...)"
            )
    return found
