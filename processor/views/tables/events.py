"""What happens to runs, as the functions of tables are told it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar, overload

from processor.attributes import Attributes
from processor.core.data.payloads import Payloads
from processor.policy import Status

__all__ = (
    "AttributesChanged",
    "CustomStatusChanged",
    "RunBegan",
    "RunEnded",
    "RunEvent",
    "ValueChanged",
)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """Something happened to a run at ``time``; ``started`` is when the run began.

    ``number`` is that of the event in its history. ``attributes`` are the run's search attributes
    after it. The run of an entity has the id ``@Name@key``, and the entity's name as workflow.
    """

    workflow_id: str
    run_id: str
    workflow: str
    number: int
    started: datetime
    time: datetime
    attributes: Attributes


@dataclass(frozen=True, kw_only=True)
class _WithValue(RunEvent):
    """An event with an encoded value."""

    payload: bytes | None = field(repr=False)
    payloads: Payloads = field(repr=False, compare=False)

    def _value(self, type: Any) -> Any:
        return self.payloads.decoder(type)(self.payload)


@dataclass(frozen=True, kw_only=True)
class RunBegan(_WithValue):
    """A run has begun, also as a retry, or as the next run of its chain."""

    def arguments(self) -> list[Any]:
        """Return the arguments, decoded as plain JSON. Raises ``SchemaMismatch``."""
        found: list[Any] | None = self._value(Any)
        return found or []


@dataclass(frozen=True, kw_only=True)
class RunEnded(_WithValue):
    """A run has ended. ``failure`` is the type of the error of a run that failed."""

    status: Status
    failure: str | None = None

    @overload
    def result(self, type: type[T]) -> T: ...

    @overload
    def result(self) -> Any: ...

    def result(self, type: Any = Any) -> Any:
        """Return the result of a completed run, decoded. Raises ``SchemaMismatch``."""
        return self._value(type)


@dataclass(frozen=True, kw_only=True)
class AttributesChanged(RunEvent):
    """The code has changed the search attributes; ``before`` are those until then."""

    before: Attributes


@dataclass(frozen=True, kw_only=True)
class CustomStatusChanged(_WithValue):
    """The code has set its custom status."""

    @overload
    def status(self, type: type[T]) -> T: ...

    @overload
    def status(self) -> Any: ...

    def status(self, type: Any = Any) -> Any:
        """Return the status, decoded. Raises ``SchemaMismatch``."""
        return self._value(type)


@dataclass(frozen=True, kw_only=True)
class ValueChanged(_WithValue):
    """The code has set a value that readers wait for, by its ``name``."""

    name: str

    @overload
    def value(self, type: type[T]) -> T: ...

    @overload
    def value(self) -> Any: ...

    def value(self, type: Any = Any) -> Any:
        """Return the value, decoded. Raises ``SchemaMismatch``."""
        return self._value(type)
