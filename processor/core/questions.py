"""What may be asked of a shard that changes nothing."""

from __future__ import annotations

from typing import Final

from processor.core.data.bounds import DURATION_MS_MAX, NUMBER_MAX, check_range
from processor.core.data.fields import Int32, OnlyChain, OnlyRun
from processor.core.data.frozen import frozen
from processor.core.operation import Question

__all__ = ("AwaitResult", "DescribeRun", "ListRuns", "ReadHistory", "ReadShard")

_PAGE_MAX: Final = 10_000


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
