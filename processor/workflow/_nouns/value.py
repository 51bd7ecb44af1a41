"""Values that the code records: side effects, the status that it shows, values by name, the memo
and the search attributes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar, overload

from processor import checks
from processor.attributes import AttributeValue, changed, decode, encode
from processor.core.nouns.value import (
    AttributesSet,
    MemoSet,
    SideEffectRecorded,
    StatusSet,
    ValueSet,
    with_attributes,
)
from processor.errors import InvalidArgument, PayloadTooLarge
from processor.workflow._context import current
from processor.workflow._engine.runtime import Runtime
from processor.workflow._frames import line_here
from processor.workflow._options import TypeForm

__all__ = (
    "attributes_of",
    "check_plain",
    "memo_of",
    "set_status",
    "set_value",
    "side_effect",
    "upsert_attributes",
    "upsert_memo",
)

R = TypeVar("R")
T = TypeVar("T")

_NOT_RECORDED: Final = (
    "A side effect must not raise, and its value must fit into its record: replay could not repeat "
    "that. Catch this in its function and return what can be encoded, or use an activity."
)


def set_status(value: Any) -> None:
    """Set the custom status: any value that can be encoded; ``describe`` shows it as JSON."""
    decisions = current("set_status").decisions
    encoded = decisions.encode(value, "the status")
    decisions.add(StatusSet(encoded), line_here(), len(encoded or b""), "the status")


_VALUES_MAX: Final = 1_000
_VALUES_BYTES_MAX: Final = 1_000_000
"""So many values a run has, and so many bytes of them together."""


class _Sizes:
    """How many bytes each value of a run has."""

    def __init__(self, runtime: Runtime) -> None:
        self.of: dict[str, int] = {}


def set_value(name: str, value: Any) -> None:
    """Set a value that clients read, and wait for: ``await handle.value(name)``.

    A later one of the name takes its place. A run has 1,000 names and 1 MB of values at the most.
    Raises ``InvalidArgument``, ``PayloadTooLarge`` and ``SchemaMismatch``.
    """
    runtime, line = current("set_value"), line_here()
    name = checks.name(name, "workflow.set_value: name")
    encoded = runtime.decisions.encode(value, f"the value {name!r}")
    sizes = runtime.part(_Sizes).of
    size = len(encoded or b"")
    if len(sizes) >= _VALUES_MAX and name not in sizes:
        raise InvalidArgument(
            f"workflow.set_value: this run has {_VALUES_MAX:,} values already: put what belongs "
            "together into one"
        )
    if sum(sizes.values()) - sizes.get(name, 0) + size > max(_VALUES_BYTES_MAX, size):
        raise PayloadTooLarge(
            f"workflow.set_value: {name!r} has {size:,} bytes, and the values of a run have "
            f"{_VALUES_BYTES_MAX:,} at the most: set smaller ones, or references to them"
        )
    runtime.decisions.add(ValueSet(name, encoded), line, size, f"the value {name!r}")
    sizes[name] = size


_MEMO_BYTES_MAX: Final = 100_000


def memo_of(runtime: Runtime) -> Any:
    """Return the memo of a run as plain JSON; None where it has none."""
    memo = runtime.started.memo
    return None if memo is None else runtime.decoded(runtime.decoder(Any), memo)


def upsert_memo(values: Mapping[str, Any]) -> None:
    """Change the memo of this run: each name gets its value, and None takes the name out.

    ``describe`` and lists show it, and the runs that follow have it; ``workflow.info().memo`` reads
    it. A memo has 100 kB at the most. Raises ``InvalidArgument`` (also where the memo of the start
    is no object with names), ``PayloadTooLarge`` and ``SchemaMismatch``.
    """
    runtime, line = current("upsert_memo"), line_here()
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise InvalidArgument(
            f"workflow.upsert_memo: values: give names and values, not {checks.shown(values)}"
        )
    before = memo_of(runtime)
    if not isinstance(before, dict | None):
        raise InvalidArgument(
            "workflow.upsert_memo: the memo of the start has no names, so that none can be changed:"
            f" it is {checks.shown(before)}. Start with memo={{...}}"
        )
    both = {**(before or {}), **values}
    kept = {name: value for name, value in both.items() if value is not None}
    encoded = runtime.decisions.encode(kept, "the memo")
    size = len(encoded or b"")
    if size > _MEMO_BYTES_MAX:
        raise PayloadTooLarge(
            f"workflow.upsert_memo: the memo would have {size:,} bytes, and {_MEMO_BYTES_MAX:,} "
            "are the most: keep references in it"
        )
    # Twice: where another run follows in this turn, its start has it, too.
    runtime.decisions.add(MemoSet(encoded), line, 2 * size, "the memo")
    runtime.started = replace(runtime.started, memo=encoded)


_ATTRIBUTES: Final = "workflow.upsert_attributes"


def attributes_of(runtime: Runtime) -> dict[str, AttributeValue]:
    """Return the search attributes that a run has now."""
    plan = runtime.started.plan
    return decode(None if plan is None else plan.attributes)


def upsert_attributes(values: Mapping[str, AttributeValue | None]) -> None:
    """Change the search attributes of this run: each name gets its value, None takes a name out.

    Values are ``bool``, ``int``, ``float``, ``str``, aware ``datetime`` and ``list[str]``. A run
    has 100 of them, of 2,000 bytes each, and 40,000 bytes in all. The runs that follow have them
    too. They are never encrypted: keep secrets out. Raises ``InvalidArgument``,
    ``PayloadTooLarge``.
    """
    runtime, line = current("upsert_attributes"), line_here()
    if runtime.code.operating is not None:
        raise InvalidArgument(
            f"{_ATTRIBUTES}: an entity has no search attributes: its key finds it. Let the "
            "workflow that calls it have them"
        )
    encoded = encode(changed(attributes_of(runtime), values, _ATTRIBUTES), _ATTRIBUTES)
    # Twice: where another run follows in this turn, its start has them, too.
    size = 2 * len(encoded or b"")
    runtime.decisions.add(AttributesSet(encoded), line, size, "the search attributes")
    runtime.started = with_attributes(runtime.started, encoded)


@overload
def side_effect(function: Callable[[], Any], type: type[T]) -> T: ...


@overload
def side_effect(function: Callable[[], R]) -> R: ...


@overload
def side_effect(function: Callable[[], Any], type: TypeForm) -> Any: ...


def side_effect(function: Callable[[], Any], type: Any = Any) -> Any:
    """Call a function once, record what it returns, and return the recorded value at replay.

    For something short that replay could not repeat, such as reading an environment variable. The
    function may run again if the process dies before the turn is stored. The function must not
    raise, and its value must fit into a record: else the run is parked, even if the code catches
    the error.
    """
    runtime, line = current("side_effect"), line_here()
    check_plain(function, "workflow.side_effect: function")
    decode = runtime.decoder(type, "workflow.side_effect: type")
    decisions = runtime.decisions
    if runtime.replaying:
        value = _recorded_value(runtime, decisions.next_id)
    try:
        if not runtime.replaying:
            value = decisions.encode(_value_of(runtime, function), "a side effect's value")
        recorded = SideEffectRecorded(decisions.next_id, value)
        decisions.add_identified(recorded, line, len(value or b""), "a side effect")
    except BaseException as error:
        # Nothing is recorded, so replay would call it again, and could go another way.
        if runtime.broken is None:
            runtime.broken = error
            with suppress(Exception):  # an error of a user's class may take no note
                error.add_note(_NOT_RECORDED)
        raise
    return runtime.decoded(decode, value)


def _recorded_value(runtime: Runtime, id: int) -> bytes | None:
    for event in runtime.decisions.recorded or ():
        if isinstance(event, SideEffectRecorded) and event.id == id:
            return event.value
    raise runtime.loop.refused(
        "workflow.side_effect()",
        f"The history has no side effect at position {id}. Deploy code that repeats it.",
    )


def _value_of(runtime: Runtime, function: Callable[[], Any]) -> Any:
    """Call the function of a side effect, for which nothing is forbidden but to ask."""
    decisions, loop = runtime.decisions, runtime.loop
    guarded, loop.guarded = loop.guarded, False
    refusal, decisions.refusal = decisions.refusal, "the function of workflow.side_effect()"
    try:
        value = function()
        if inspect.iscoroutine(value):
            value.close()
            raise InvalidArgument(
                "workflow.side_effect: function: it returned a coroutine; give a plain function"
            )
        return value
    finally:
        decisions.refusal = refusal
        loop.guarded = guarded


def check_plain(function: Any, what: str) -> None:
    """Refuse what is no plain function; ``what`` names it in the error."""
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise InvalidArgument(
            f"{what}: give a plain function (not async) without arguments, not "
            f"{checks.shown(function)}"
        )
