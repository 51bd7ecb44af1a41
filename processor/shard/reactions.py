"""What an error demands of whoever runs a shard: the same on every runtime."""

from __future__ import annotations

from typing import Final, Literal

from processor.core.data.shown import is_a
from processor.errors import LogTruncated, ReleaseTooOld, StoreCorrupt, TopicsNotReady
from processor.shard.loop import ShardLost

__all__ = ("Reaction", "reaction_to")

Reaction = Literal["claim again", "rebuild", "leave", "stop", "try again"]

_REACTIONS: Final[dict[type[Exception], Reaction]] = {
    ShardLost: "claim again",
    StoreCorrupt: "rebuild",
    ReleaseTooOld: "leave",
    LogTruncated: "stop",
    TopicsNotReady: "stop",
}


def reaction_to(error: Exception) -> Reaction:
    """Return what to do.

    - "claim again": somebody else owned the shard; what was not confirmed is dropped
    - "rebuild": the tables are wiped, and folded from the log afresh
    - "leave": the log is for later releases; the process ends, so that others take its shards
    - "stop": going on would lose something; people have to look
    - "try again": the disk, the broker, or a bug: say so, and take the shard over again
    """
    for kind, reaction in _REACTIONS.items():
        if is_a(error, kind):
            return reaction
    return "try again"
