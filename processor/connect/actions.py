"""What a record may ask for: to start a workflow, to signal one, a business key, or an entity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar, TypeVarTuple, overload

from processor import checks
from processor.arguments import Seconds, named
from processor.attributes import Attributes, encoded
from processor.core.correlation import delivered, delivers, key_id
from processor.core.entity_id import EntityId, is_entity_id
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Plan
from processor.core.nouns.start import StartPlanned, StartRun, StartWith, begins
from processor.core.operation import Operation
from processor.errors import InvalidArgument
from processor.policy import CONFLICT_POLICIES, REUSE_POLICIES, ConflictPolicy, ReusePolicy
from processor.workflow._correlation import keep_ms
from processor.workflow._entities.naming import entity_id, operation_named
from processor.workflow._handlers import event_of, parts_of
from processor.workflow._signature import event_value

__all__ = (
    "Action",
    "Encode",
    "SignalCorrelated",
    "SignalEntity",
    "SignalWorkflow",
    "Start",
    "Wanted",
)

E = TypeVar("E")
Ts = TypeVarTuple("Ts")
Us = TypeVarTuple("Us")

Encode: TypeAlias = Callable[[str, Any], bytes | None]
"""Encodes a value of the user's; the text names it in errors."""


class Wanted(NamedTuple):
    """One operation, and the instance that it is asked of."""

    workflow_id: str
    operation: Operation


class Action(ABC):
    """One thing that a record asks for."""

    @abstractmethod
    def asked(self, encode: Encode) -> Wanted:
        """Return what is sent. Raises where a value cannot be encoded."""


@dataclass(init=False)
class Start(Action):
    """Start a workflow."""

    workflow: str
    args: tuple[Any, ...]
    id: str
    reuse: str
    conflict: str
    signal: tuple[str, Any] | None
    memo: Any
    attributes: bytes | None

    @overload
    def __init__(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, Any]],
        *args: *Ts,
        id: str,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy | None = None,
        signal: tuple[Callable[[*Us], Any], *Us] | tuple[str, *tuple[Any, ...]] | None = None,
        memo: Any = None,
        attributes: Attributes | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        workflow: str,
        *args: Any,
        id: str,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy | None = None,
        signal: tuple[Any, ...] | None = None,
        memo: Any = None,
        attributes: Attributes | None = None,
    ) -> None: ...

    def __init__(  # type: ignore[misc]  # mypy cannot match *Ts with the implementation's *Any
        self,
        workflow: Any,
        *args: Any,
        id: str,
        reuse: ReusePolicy = "allow",
        conflict: ConflictPolicy | None = None,
        signal: tuple[Any, ...] | None = None,
        memo: Any = None,
        attributes: Attributes | None = None,
    ) -> None:
        """``id`` is the workflow id; all but ``signal`` are as for a client.

        ``signal`` is a handler of the workflow's class, or its name, and the arguments: the run has
        it before its code begins, and one that runs already gets it (``conflict`` is then
        "use-existing" unless it is given). Raises ``InvalidArgument``.
        """
        self.workflow = named("Start", workflow)[0]
        self.args = args
        self.id = checks.id_for(self.workflow, id, "Start: id")
        self.reuse = checks.one_of(REUSE_POLICIES, reuse, "Start: reuse")
        usual = "fail" if signal is None else "use-existing"
        self.conflict = checks.one_of(
            CONFLICT_POLICIES, usual if conflict is None else conflict, "Start: conflict"
        )
        self.signal = None
        if signal is not None:
            handler, rest = parts_of(signal, "Start: signal")
            self.signal = event_of(handler, rest, "Start: signal")
        self.memo = memo
        self.attributes = encoded(attributes, "Start: attributes")

    def asked(self, encode: Encode) -> Wanted:
        arguments = encode(f"the arguments of workflow {self.workflow!r}", list(self.args))
        plan = None if self.attributes is None else Plan(attributes=self.attributes)
        how: dict[str, Any] = {
            "workflow": self.workflow,
            "arguments": arguments,
            "reuse": self.reuse,
            "conflict": self.conflict,
            "memo": encode("memo", self.memo),
        }
        if self.signal is not None:
            name, value = self.signal
            first = RaiseEvent(name, encode(f"signal {name!r}", value))
            return Wanted(self.id, StartWith(**how, plan=plan, first=first))
        return Wanted(self.id, StartRun(**how) if plan is None else StartPlanned(**how, plan=plan))


@dataclass(init=False)
class SignalWorkflow(Action):
    """Signal a workflow that runs, which is the same as to send it an external event."""

    id: str
    name: str
    value: Any

    @overload
    def __init__(self, id: str, signal: Callable[[*Ts], Any], /, *args: *Ts) -> None: ...

    @overload
    def __init__(self, id: str, signal: str, /, *args: Any) -> None: ...

    def __init__(self, id: str, signal: Any, /, *args: Any) -> None:  # type: ignore[misc]  # *Ts
        """``id`` is the workflow id, ``signal`` a handler of a class, or a name.

        Raises ``InvalidArgument``.
        """
        self.id = checks.workflow_id(id, "SignalWorkflow: id")
        if is_entity_id(self.id):
            raise InvalidArgument(
                f"SignalWorkflow: id: {checks.shown(id)} is the id of an entity: ask it by "
                "SignalEntity"
            )
        self.name, self.value = event_of(signal, args, "SignalWorkflow")

    def asked(self, encode: Encode) -> Wanted:
        return Wanted(self.id, RaiseEvent(self.name, encode(f"signal {self.name!r}", self.value)))


@dataclass(init=False)
class SignalCorrelated(Action):
    """Signal the workflow that holds a business key (``workflow.correlate``)."""

    name: str
    key: str
    signal: str
    value: Any
    keep_ms: int

    @overload
    def __init__(
        self,
        name: str,
        key: str,
        signal: Callable[[*Ts], Any],
        /,
        *args: *Ts,
        keep: Seconds | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self, name: str, key: str, signal: str, /, *args: Any, keep: Seconds | None = None
    ) -> None: ...

    def __init__(  # type: ignore[misc]  # *Ts
        self, name: str, key: str, signal: Any, /, *args: Any, keep: Seconds | None = None
    ) -> None:
        """``name`` and ``key`` are those of the business key: ("shipment", "S-7").

        ``signal`` is a handler of a class, or a name. While nobody holds the key, the signal is
        kept for ``keep`` (a ``timedelta`` or seconds; default: a day), and goes to the dead letters
        then. Raises ``InvalidArgument``.
        """
        key_id(name, key, "SignalCorrelated")
        self.name, self.key = name, key
        self.signal, self.value = event_of(signal, args, "SignalCorrelated")
        self.keep_ms = keep_ms(keep, "SignalCorrelated")

    def asked(self, encode: Encode) -> Wanted:
        told = delivered(self.signal, self.value, self.keep_ms)
        first = encode(f"signal {self.signal!r}", told)
        return Wanted(key_id(self.name, self.key, "SignalCorrelated"), delivers(first))


@dataclass(init=False)
class SignalEntity(Action):
    """Ask an entity for an operation."""

    entity: str
    key: str
    operation: str
    value: Any

    @overload
    def __init__(self, operation: Callable[[E, *Ts], Any], key: str, /, *args: *Ts) -> None: ...

    @overload
    def __init__(self, operation: str, key: str, /, *args: Any) -> None: ...

    def __init__(  # type: ignore[misc]  # *Ts
        self, operation: Any, key: str, /, *args: Any
    ) -> None:
        """``operation`` is a method of a class under ``@entity.define``, or "Name.operation".

        Raises ``InvalidArgument``.
        """
        found = operation_named(operation, "SignalEntity")
        if found.is_read:
            raise InvalidArgument(
                f"SignalEntity: operation: {found.name!r} is a read, and nobody would be told its "
                "answer: name an operation that changes something"
            )
        entity_id(found.entity, key, "SignalEntity")
        self.entity, self.operation, self.key = found.entity, found.name, key
        self.value = event_value(found.signature, args)

    def asked(self, encode: Encode) -> Wanted:
        payload = encode(f"operation {self.operation!r}", self.value)
        entity = EntityId(self.entity, self.key)
        return Wanted(entity.workflow_id, begins(entity, RaiseEvent(self.operation, payload)))
