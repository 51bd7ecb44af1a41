"""Queries: what is asked of the code of a run, which only reads."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from processor.checks import ID_BYTES_MAX
from processor.core.data.bounds import check_text
from processor.core.data.fields import OnlyChain, OnlyRun
from processor.core.data.frozen import frozen
from processor.core.operation import Question
from processor.errors import SchemaMismatch
from processor.policy import Status

__all__ = ("REJECTS", "QueryRun")

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
