"""The name of a process: its static member id, its transactional id, and its state directory.

A lock in the state directory, which lives as long as the process, keeps a second one off the name:
the group would throw the first one out.
"""

from __future__ import annotations

import logging
import socket
from itertools import count
from pathlib import Path

from processor.errors import StateDirectoryInUse
from processor.store.lock import hold, holder

__all__ = ("Lifetime", "take_instance")

_log = logging.getLogger("processor.kafka")


class Lifetime:
    """Knows whether the process before, of this name, has ended as it should: a file says so."""

    def __init__(self, state_dir: Path, namespace: str, name: str) -> None:
        self._file = state_dir / name / namespace / "alive"
        self.came_back = self._file.exists()

    def begin(self) -> None:
        self._file.touch()

    def end(self) -> None:
        """Note that the process has left its groups. What else it has to close is closed anyway."""
        try:
            self._file.unlink(missing_ok=True)
        except OSError as error:
            _log.warning(
                "%s cannot be deleted: %s. The next process of this name takes this one for one "
                "that was killed, and has its groups decide once more",
                *(self._file, error.strerror),
            )


def take_instance(state_dir: Path, namespace: str, given: str | None) -> tuple[str, int]:
    """Return the name of this process in a namespace, and the lock to close when it ends.

    Where none is given, it is the first free one of the host's name, ``host-2``, ``host-3`` ...
    Raises ``StateDirectoryInUse`` where the given one is taken.
    """
    if given is not None:
        path = _path(state_dir, given, namespace)
        lock = hold(path)
        if lock is None:
            raise StateDirectoryInUse(
                f"instance id {given!r} is taken: {holder(path)} works as {given!r} in namespace "
                f"{namespace!r}, with its state in {path.parent}. Give each process an instance id "
                "of its own (--instance-id, PROCESSOR_INSTANCE_ID, instance_id=), or none, for the "
                "first free one of this host"
            )
        return given, lock
    host = socket.gethostname()
    for number in count(1):
        name = host if number == 1 else f"{host}-{number}"
        if (lock := hold(_path(state_dir, name, namespace))) is not None:
            return name, lock
    raise AssertionError("numbers do not end")


def _path(state_dir: Path, name: str, namespace: str) -> Path:
    return state_dir / name / namespace / "process.lock"
