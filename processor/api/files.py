"""Files that a process may have open: each connection takes one, and so do tables and brokers."""

from __future__ import annotations

import logging
import resource
from typing import Final

__all__ = ("connections_held", "raise_files")

_log = logging.getLogger("processor.api")

_OTHERS: Final = 1_500
"""Files that a process may need beside its connections: tables, brokers, connections to be cut."""


def raise_files(connections: int) -> None:
    """Let this process have a file for each connection, if its hard limit has room for them.

    Only for processes of ours: the limit is one of the whole process.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and most > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def connections_held(connections: int) -> int:
    """Return for how many connections this process has files; what is less is told.

    A process without a free file cannot open its tables, nor reach a broker.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    held = max(soft - _OTHERS, soft // 4)
    if held >= connections:
        return connections
    _log.warning(
        "this process may have %d files open, which is enough for %d connections and not for the "
        "%d of connections_max: raise its limit (ulimit -n %d, or resource.setrlimit in the "
        "program), or give HttpOptions(connections_max=%d)",
        *(soft, held, connections, wanted, held),
    )
    return held
