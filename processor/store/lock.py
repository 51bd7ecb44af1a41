"""Files that one process at a time holds. The kernel lets them go when that process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from processor.store.rocks import make_folder

__all__ = ("hold", "holder")


def hold(path: Path) -> int | None:
    """Hold a file, made where it is missing; None where another process, or this one, holds it.

    It is held until the descriptor that is returned, and those inherited from it, are closed.
    """
    make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def holder(path: Path) -> str:
    """Return who holds a file, as errors name it."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return f"process {text}" if text.isdigit() else "another process"
