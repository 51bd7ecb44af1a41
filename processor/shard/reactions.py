"""What an error demands of whoever runs a shard: the same on every runtime."""

from __future__ import annotations

from typing import Literal

from processor.errors import LogTruncated, ReleaseTooOld, StoreCorrupt, TopicsNotReady
from processor.shard.loop import ShardLost

__all__ = ("Reaction", "reaction_to")

Reaction = Literal["claim again", "rebuild", "leave", "stop", "try again"]


def reaction_to(error: Exception) -> Reaction:
    """Return what to do.

    - "claim again": somebody else owned the shard; what was not confirmed is dropped
    - "rebuild": the tables are wiped, and folded from the log afresh
    - "leave": the log is for later releases; the process ends, so that others take its shards
    - "stop": going on would lose something; people have to look
    - "try again": the disk, the broker, or a bug: say so, and take the shard over again
    """
    match error:
        case ShardLost():
            return "claim again"
        case StoreCorrupt():
            return "rebuild"
        case ReleaseTooOld():
            return "leave"
        case LogTruncated() | TopicsNotReady():
            return "stop"
        case _:
            return "try again"
