"""What leaves workflow code, as interceptors see it; and how one call goes through several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from processor.checks import shown
from processor.core.data.headers import BASES, Headers
from processor.errors import InvalidArgument

__all__ = (
    "ActivityCall",
    "ChildCall",
    "InstanceCall",
    "Outbound",
    "Signal",
    "Step",
    "chained",
    "headers_of",
    "size_of",
)


@dataclass
class ActivityCall:
    """Workflow code calls an activity. ``arguments`` and ``headers`` may be changed.

    ``replaying``: it did so before, and history has what came of it.
    """

    name: str
    arguments: tuple[Any, ...]
    replaying: bool
    headers: dict[str, bytes] = field(default_factory=dict)


@dataclass
class ChildCall:
    """Workflow code starts a child. ``arguments`` and ``headers`` may be changed.

    ``starts``: it goes on once the child has begun. ``replaying``: it did so before.
    ``namespace``: the one that the child is in, None for the run's own.
    """

    workflow: str
    arguments: tuple[Any, ...]
    starts: bool
    replaying: bool
    headers: dict[str, bytes] = field(default_factory=dict)
    namespace: str | None = None


@dataclass
class Signal:
    """Workflow code sends an event to another workflow. ``payload`` and ``headers`` may be changed.

    ``replaying``: it did so before. ``namespace``: that of the other workflow, None for the own.
    """

    workflow_id: str
    name: str
    payload: Any
    replaying: bool
    headers: dict[str, bytes] = field(default_factory=dict)
    namespace: str | None = None


@dataclass
class InstanceCall:
    """Workflow code asks another instance. ``arguments`` and ``headers`` may be changed.

    ``operation`` is query, update, value, result or signal_with_start. ``name`` is that of the
    handler or the value, or of the workflow to start, whose signal is ``signal``. Headers of an
    update reach its history, those of a start its run; questions have none. ``replaying``: the
    code asked so before. ``namespace``: that of the instance, None for the run's own.
    """

    operation: str
    workflow_id: str
    name: str
    arguments: tuple[Any, ...]
    replaying: bool
    signal: Signal | None = None
    headers: dict[str, bytes] = field(default_factory=dict)
    namespace: str | None = None


Step: TypeAlias = Callable[[Any, Callable[[Any], Any]], Any]
"""What one interceptor does around something: it gets that, and what lets it happen."""


class Outbound(NamedTuple):
    """What interceptors do around that which leaves workflow code."""

    activities: Sequence[Step]
    signals: Sequence[Step]
    children: Sequence[Step]
    instances: Sequence[Step]


_Next: TypeAlias = Callable[[Any], Any]


def chained(steps: Sequence[Step], last: _Next) -> _Next:
    """Return ``last`` with what interceptors do around it; the first one is the outermost."""
    for step in reversed(steps):
        last = _around(step, last)
    return last


def _around(step: Step, next: _Next) -> _Next:
    return lambda what: step(what, next)


def headers_of(given: dict[str, bytes]) -> Headers:
    """Return the headers that an interceptor gave. Raises ``InvalidArgument``."""
    for name, value in given.items():
        if not isinstance(name, str) or not name or name == BASES or not isinstance(value, bytes):
            raise InvalidArgument(
                f"interceptor: header {shown(name)}: give a name (text) and a value (bytes), not a "
                f"{type(value).__name__}"
            )
    return tuple(given.items())


def size_of(headers: Headers) -> int:
    """Return how many bytes headers take, about."""
    return sum(len(name) + len(value) for name, value in headers)
