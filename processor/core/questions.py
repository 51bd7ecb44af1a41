"""What may be asked of a shard that changes nothing."""

from __future__ import annotations

from typing import Final

from processor.core.data.bounds import DURATION_MS_MAX, NUMBER_MAX, check_range
from processor.core.data.frozen import frozen
from processor.core.operation import Question

__all__ = ("AwaitResult", "DescribeRun", "ListRuns", "ReadHistory", "ReadShard")

_PAGE_MAX: Final = 10_000


@frozen
class AwaitResult(Question):
    """Reply when the run is closed; the shard forgets the waiter after ``timeout_ms``."""

    run_id: str | None = None
    first_run_id: str | None = None
    timeout_ms: int = 30_000

    def check(self) -> None:
        check_range("timeout_ms", self.timeout_ms, 0, DURATION_MS_MAX)


@frozen
class DescribeRun(Question):
    run_id: str | None = None
    first_run_id: str | None = None


@frozen
class ReadHistory(Question):
    """One page of a run's turns, from event number ``first`` on."""

    run_id: str | None = None
    first_run_id: str | None = None
    first: int = 0

    def check(self) -> None:
        check_range("first", self.first, 0, NUMBER_MAX)


@frozen
class ListRuns(Question):
    """One page of this shard's latest runs, in the order of workflow ids after ``after``."""

    status: str | None = None
    workflow: str | None = None
    after: str = ""
    limit: int = 100

    def check(self) -> None:
        check_range("limit", self.limit, 1, _PAGE_MAX)


@frozen
class ReadShard(Question):
    """What the shard says of itself, once it has made sure that it still owns its log."""
