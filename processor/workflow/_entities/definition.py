"""An entity's class: its public methods are operations, and its objects' fields are state.

What stands in the log of a state is the fields by name. So fields come and go with releases: one
that the state lacks has the default of the class, and one that the class lacks stays.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, TypedDict, get_origin, get_type_hints

from processor import checks
from processor.core.data.payloads import Payloads
from processor.core.nouns.update import OperationEnded
from processor.errors import (
    ApplicationError,
    InvalidArgument,
    PayloadCodecError,
    QueryFailed,
    SchemaMismatch,
    UpdateRejected,
)
from processor.workflow._context import current
from processor.workflow._definition import Workflow
from processor.workflow._engine.runtime import Runtime
from processor.workflow._entities.history import told
from processor.workflow._handlers import HandlerTable, QueryHandler
from processor.workflow._signature import Signature, is_async

__all__ = (
    "DEFINED",
    "HISTORY",
    "MIGRATE",
    "OPERATION",
    "READ",
    "STATE",
    "Entity",
    "EntityInfo",
    "EntityMethod",
    "Operating",
)

STATE: Final = "@state"
"""The read that answers with the whole state."""

HISTORY: Final = "@history"
"""The read that answers with the operations that are kept."""

DEFINED: Final = "__processor_entity__"
OPERATION: Final = "__processor_operation__"
READ: Final = "__processor_read__"
MIGRATE: Final = "__processor_migrate__"
"""Attributes of classes and their functions that say what these are to an entity."""

_FIELDS: Final = dict[str, Any]
"""What the fields of a state are read as, before any annotation: plain JSON by their names."""

_COPIED: Final = (list, dict, set, bytearray)
"""Defaults of classes that are copied for each object, beside those of annotated fields."""


class EntityInfo(NamedTuple):
    """Which operation of which entity this is. ``id`` is that of a call; "" for what is no call."""

    name: str
    key: str
    operation: str
    id: str


class Operating:
    """One operation while it runs, or a read: the state before it, and after it.

    ``history`` is what a read may tell of the operations before.
    """

    __slots__ = ("after", "before", "deleted", "entity", "history", "info", "operation")

    def __init__(
        self,
        entity: Entity,
        info: EntityInfo,
        before: bytes | None,
        operation: EntityMethod | None = None,
    ) -> None:
        self.entity = entity
        self.operation = operation
        self.info = info
        self.before = before
        self.history: Sequence[OperationEnded] = ()
        self.after: bytes | None = None
        self.deleted = False

    def begin(self, runtime: Runtime) -> Any:
        """Return the object, as the state before says. What does not fit parks the entity."""
        try:
            return self.entity.made(runtime, self.before)
        except SchemaMismatch as error:
            runtime.breaks(error)
            raise

    def end(self, runtime: Runtime, made: Any) -> None:
        """Note the state after the operation."""
        self.after = None if self.deleted else self.entity.encoded(runtime, made, self.info.key)


class EntityMethod:
    """A method that may change the state. ``workflow`` is the code that runs it, once.

    ``is_read``: it may not; it is called in line by whoever has no more than its name.
    """

    def __init__(
        self,
        entity: str,
        function: Callable[..., Any],
        names: Mapping[str, Any] | None,
        is_read: bool,
    ) -> None:
        self.name = function.__name__
        self.function = function
        self.is_read = is_read
        self.is_async = is_async(function)
        what = f"operation {self.name!r} of entity {entity!r}"
        self.signature = Signature(what, function, 1, names)
        code: Callable[..., Any] = _awaiting if self.is_async else _plain
        self.workflow: Workflow[..., Any] = Workflow(
            code, entity, None, None, (Exception,), self.signature
        )

    @property
    def place(self) -> str:
        """Where it is defined, as ``file:line``."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"


def _plain(*args: Any) -> Any:
    runtime = current("info")
    operating: Operating = runtime.code.operating
    made, operation = operating.begin(runtime), operating.operation
    assert operation is not None, "a read is no code that runs"
    result = operation.function(made, *args)
    if not operation.is_read:
        operating.end(runtime, made)
    return result


async def _awaiting(*args: Any) -> Any:
    runtime = current("info")
    operating: Operating = runtime.code.operating
    made, operation = operating.begin(runtime), operating.operation
    assert operation is not None, "a read is no code that runs"
    try:
        result = await operation.function(made, *args)
    except BaseException as error:
        is_asked = runtime.cancel_reason is not None or runtime.loop.dropped
        if isinstance(error, asyncio.CancelledError) and not is_asked:
            raise ApplicationError("the operation was cancelled by code of its own") from error
        raise
    operating.end(runtime, made)
    return result


class Entity:
    """A class whose objects live under keys. ``operations`` are all that can be called, by name.

    ``history`` says how many that have ended are kept. ``reads`` are those that answer beside a
    running operation, and ``reading`` their code.
    """

    def __init__(
        self,
        cls: type[Any],
        name: str,
        place: str,
        names: Mapping[str, Any] | None,
        history: int = 0,
    ) -> None:
        self.cls = cls
        self.name = name
        self.history = history
        self.place = place
        self._names = names
        self.operations: dict[str, EntityMethod] = {}
        reads: dict[str, QueryHandler[..., Any]] = {}
        self.migrate: Callable[[dict[str, Any]], Any] | None = None
        for attribute, function in _methods(cls):
            if getattr(function, MIGRATE, False):
                self.migrate = function
            if getattr(function, READ, False):
                reads[attribute] = QueryHandler(function, attribute)
                reads[attribute].defined(names)
            if not getattr(function, MIGRATE, False):
                is_read = attribute in reads
                self.operations[attribute] = EntityMethod(name, function, names, is_read)
        self.reads: Mapping[str, QueryHandler[..., Any]] = MappingProxyType(reads)
        state: QueryHandler[..., Any] = QueryHandler(_state, STATE)
        ended: QueryHandler[..., Any] = QueryHandler(_history, HISTORY)
        queries = MappingProxyType({**reads, STATE: state, HISTORY: ended})
        none = MappingProxyType[str, Any]({})
        self.reading: Workflow[..., Any] = Workflow(
            _nothing,
            name,
            None,
            None,
            (),
            Signature(f"entity {name!r}", _nothing),
            handlers=HandlerTable(none, queries, none),
        )

    @property
    def methods(self) -> tuple[EntityMethod | QueryHandler[..., Any], ...]:
        return *self.operations.values(), *self.reads.values()

    def asked_for(self, name: str) -> EntityMethod:
        """Return an operation by its name. Raises ``UpdateRejected``."""
        found = self.operations.get(name)
        if found is None:
            known = ", ".join(sorted(map(repr, self.operations)))
            raise UpdateRejected(
                f"there is no operation {name!r}; entity {self.name!r} has: {known}"
            )
        return found

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The types of the annotated fields, by their names."""
        try:
            found = get_type_hints(self.cls, localns=self._names, include_extras=True)
        except NameError as error:
            raise InvalidArgument(
                f"entity {self.name!r} at {self.place}: the annotations of its fields cannot be "
                f"resolved ({error}). Names in annotations have to be importable in the class's "
                "module, not only for type checkers"
            ) from error
        return {name: hint for name, hint in found.items() if not _is_of_class(hint)}

    @cached_property
    def _typed(self) -> Any:
        """What the annotated fields are read as; None where there are none."""
        if not self.hints:
            return None
        return TypedDict(self.name, self.hints, total=False)  # type: ignore[operator]

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """Defaults that each object has a copy of: those that code could change."""
        found: dict[str, Any] = {}
        for name in (*self.hints, *_plain_data(self.cls)):
            default = inspect.getattr_static(self.cls, name, None)
            if isinstance(default, _COPIED) or type(default).__hash__ is None:
                found[name] = default
        return found

    def check(self, decoder: Callable[[Any], object]) -> None:
        """Build the decoders now. Raises ``SchemaMismatch`` where a field cannot be read."""
        for name, hint in self.hints.items():
            try:
                decoder(hint)
            except SchemaMismatch as error:
                raise SchemaMismatch(f"entity {self.name!r}: field {name!r}: {error}") from error

    def made(self, runtime: Runtime, state: bytes | None) -> Any:
        """Return an object with the fields of a state, or a fresh one. Raises ``SchemaMismatch``.

        It is called as code of the user's.
        """
        made = self.cls()
        held = vars(made)
        for name, default in self._defaults.items():
            if name not in held:
                held[name] = deepcopy(default)
        if state is not None:
            held.update(self.fields(state, runtime.decoder, runtime.decoded))
        return made

    def fields(
        self,
        state: bytes,
        decoder: Callable[[Any], Any],
        decoded: Callable[[Any, bytes], Any],
    ) -> dict[str, Any]:
        """Return the fields of a state: typed where the class says how, else as plain JSON."""
        try:
            found: dict[str, Any] = decoded(decoder(_FIELDS), state)
            if self._typed is not None:
                found |= decoded(decoder(self._typed), state)
        except SchemaMismatch as error:
            raise SchemaMismatch(
                f"the state of an entity {self.name!r} does not fit the class: {error}. Deploy a "
                "class that it fits, or one with a method under @entity.migrate"
            ) from error
        return found

    def copied(self, state: bytes, payloads: Payloads) -> Any:
        """Return an object with the fields of a state, outside of a worker."""
        made = self.cls()
        decoded: Callable[[Any, bytes], Any] = lambda decode, payload: decode(payload)  # noqa: E731
        vars(made).update(self.fields(state, payloads.decoder, decoded))
        return made

    def encoded(self, runtime: Runtime, made: Any, key: str) -> bytes | None:
        """Return the state that an object has. Raises ``SchemaMismatch``, ``PayloadTooLarge``."""
        held = {name: getattr(made, name) for name in self.hints if hasattr(made, name)}
        what = f"the state of entity {self.name!r} {key!r}"
        return runtime.decisions.encode(held | vars(made), what)

    def migrated(self, state: bytes | None, payloads: Payloads) -> bytes | None:
        """Return a state as the class's own migration leaves it. Raises ``SchemaMismatch``."""
        if self.migrate is None or state is None:
            return state
        what = f"entity {self.name!r}: {self.migrate.__qualname__}"
        try:
            fields = self.migrate(payloads.decoder(_FIELDS)(state))
        except PayloadCodecError:
            raise
        except Exception as error:
            raise SchemaMismatch(f"{what} raised {type(error).__name__}: {error}") from error
        if not isinstance(fields, dict):
            raise SchemaMismatch(f"{what} returned {checks.shown(fields)}; it returns the fields")
        return payloads.encode(fields)

    def __repr__(self) -> str:
        return f"<entity {self.name!r} at {self.place}>"


def _nothing() -> None:
    """Stand for code: a read has none."""


def _state(made: Any) -> Any:
    """Answer with the fields; None where there is no state."""
    operating: Operating = current("info").code.operating
    if operating.before is None:
        return None
    hints = operating.entity.hints
    return {name: getattr(made, name) for name in hints if hasattr(made, name)} | vars(made)


def _history(operating: Operating) -> Any:
    """Answer with the operations that are kept."""
    entity = operating.entity
    if not entity.history:
        raise QueryFailed(
            f"entity {entity.name!r} keeps no operations that have ended: say how many by "
            "@entity.define(history=10) on its class, and deploy that"
        )
    return told(current("info"), operating.history)


def _methods(cls: type[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the public methods of a class, and what migrates its states."""
    for attribute, value in inspect.getmembers_static(cls):
        function = value.__func__ if isinstance(value, staticmethod) else value
        if getattr(function, MIGRATE, False):
            yield attribute, function
        elif inspect.isfunction(value) and not attribute.startswith("_"):
            yield attribute, value


def _plain_data(cls: type[Any]) -> Iterator[str]:
    for attribute, value in inspect.getmembers_static(cls):
        if not attribute.startswith("__") and not callable(value) and not hasattr(value, "__get__"):
            yield attribute


def _is_of_class(hint: Any) -> bool:
    return hint is ClassVar or get_origin(hint) is ClassVar
