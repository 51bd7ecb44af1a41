"""What may be asked of a shard that changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from processor.checks import ID_BYTES_MAX
from processor.core.data.bounds import DURATION_MS_MAX, NUMBER_MAX, check_range, check_text
from processor.core.data.fields import Int32, OnlyChain, OnlyRun
from processor.core.data.frozen import frozen
from processor.core.operation import Question
from processor.errors import SchemaMismatch
from processor.policy import Status

__all__ = (
    "REJECTS",
    "AwaitResult",
    "DescribeRun",
    "ListRuns",
    "QueryRun",
    "ReadHistory",
    "ReadShard",
)

_PAGE_MAX: Final = 10_000

REJECTS: Final[Mapping[str, frozenset[Status]]] = MappingProxyType(
    {
        "none": frozenset(),
        "not-open": frozenset(each for each in Status if not each.is_open),
        "not-completed": frozenset(
            each for each in Status if not each.is_open and each is not Status.COMPLETED
        ),
    }
)
"""The statuses of runs that a query is not for, by the name of the condition."""


@frozen
class AwaitResult(Question):
    """Reply when the run is closed."""

    run_id: OnlyRun = None
    first_run_id: OnlyChain = None
    timeout_ms: int = 30_000
    """After how many milliseconds the shard forgets the waiter."""

    word = "result"

    def check(self) -> None:
        check_range("timeout_ms", self.timeout_ms, 0, DURATION_MS_MAX)


@frozen
class DescribeRun(Question):
    """Reply with the state of a run."""

    run_id: OnlyRun = None
    first_run_id: OnlyChain = None

    word = "describe"


@frozen
class ReadHistory(Question):
    """Reply with one page of a run's turns."""

    run_id: OnlyRun = None
    first_run_id: OnlyChain = None
    first: int = 0
    """Number of the first event to return."""

    word = "history"

    def check(self) -> None:
        check_range("first", self.first, 0, NUMBER_MAX)


@frozen
class ListRuns(Question):
    """Reply with one page of the shard's latest runs, in the order of workflow ids."""

    status: str | None = None
    """Only runs in this status."""
    workflow: str | None = None
    """Only runs of this workflow."""
    after: str = ""
    """Workflow id after which the page begins."""
    limit: Int32 = 100
    """At most so many runs."""

    word = "list"

    def check(self) -> None:
        check_range("limit", self.limit, 1, _PAGE_MAX)


@frozen
class ReadShard(Question):
    """Reply with what the shard says of itself, once it is sure that it still owns its log."""


@frozen
class QueryRun(Question):
    """Reply with what a handler of the run's code answers; nothing is recorded."""

    name: str
    """Name of the query."""
    arguments: bytes | None = None
    """Encoded list of arguments."""
    run_id: OnlyRun = None
    first_run_id: OnlyChain = None
    reject: str = "none"
    """Which runs are refused: none, not-open, not-completed (closed in another way)."""

    word = "query"

    def check(self) -> None:
        check_text("name of the query", self.name, ID_BYTES_MAX)
        if self.reject not in REJECTS:
            known = ", ".join(REJECTS)
            raise SchemaMismatch(f"reject is one of {known}, not {self.reject!r}")
