"""Types of fields that many records have; the text of each is that of its fields in the schemas."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

__all__ = (
    "LAST",
    "Attempt",
    "Int32",
    "OnlyChain",
    "OnlyRun",
    "Reason",
    "RequestId",
    "RunId",
    "WorkflowId",
)

Int32: TypeAlias = Annotated[int, "int"]
"""An int of Avro's, of 32 bits: any other whole number is one of its longs, of 64 bits."""

LAST: Final = "last"
"""Annotates the field that is written behind all others of its record."""

WorkflowId: TypeAlias = str
"""The instance."""

RunId: TypeAlias = str
"""The run."""

OnlyRun: TypeAlias = str | None
"""Only this run of the instance; None means the latest one."""

OnlyChain: TypeAlias = str | None
"""Only a run of the chain that began with this one; None means any chain."""

RequestId: TypeAlias = int
"""Number of the request among all requests of the run, which replay repeats."""

Attempt: TypeAlias = Int32
"""Number of the attempt; the first one is 1."""

Reason: TypeAlias = str
"""Why, for people."""
