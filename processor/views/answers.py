"""What a view answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from processor.views.fold import Row

__all__ = ("Found", "RunCount", "RunGroup", "ViewRow")


@dataclass(frozen=True)
class Found:
    """A page of runs. ``cursor`` begins the next one; None: there is none.

    ``shards`` are those that the runs are of. ``unknown`` are names in the query that no run has as
    an attribute. ``behind`` is how many records of the log were not in the view.
    """

    runs: Sequence[Row]
    shards: Sequence[int]
    cursor: str | None
    unknown: Sequence[str] = ()
    behind: int = 0


@dataclass(frozen=True)
class RunGroup:
    """Runs that have the same values. ``figures`` are those that the query selects."""

    values: tuple[Any, ...]
    count: int
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunCount:
    """How many runs there are, in all and in each group, the largest group first.

    ``figures`` are those that the query selects, of all runs: durations in seconds, times as
    ``datetime``. ``behind`` is how many records of the log were not in the view.
    """

    count: int
    groups: Sequence[RunGroup] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    unknown: Sequence[str] = ()
    behind: int = 0


@dataclass(frozen=True)
class ViewRow:
    """A row of a table of a user's; ``value`` is plain JSON."""

    key: str
    value: Any
