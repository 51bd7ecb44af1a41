"""When what the embedded runtime decided is written and flushed."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import get_ident

from processor.embedded.disk import Committed, Disk
from processor.errors import ProcessorError
from processor.node import Node, is_quiet

__all__ = ("Commits",)

_log = logging.getLogger("processor.embedded")


class Commits:
    """The commits of one disk: as many records at once as came meanwhile. Lives on the loop.

    The node is woken after each, and stopped for good where the disk cannot be written. What a pass
    of the node puts is committed at its end; other things may be ready on the loop, and then it is
    committed after those.
    """

    def __init__(self, disk: Disk, path: Path, node: Node) -> None:
        self._disk = disk
        self._path = path
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._thread_id = get_ident()
        self._scheduled = False
        self._passing = False
        self._closed = False
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="embedded log")
        self._flushing: asyncio.Future[None] | None = None
        disk.on_dirty = self._dirty

    async def close(self) -> None:
        """Commit nothing more; returns once nothing is flushed."""
        self._closed = True
        self._disk.on_dirty = lambda: None
        if self._flushing is not None:
            await asyncio.wait((self._flushing,))
        self._flusher.shutdown()

    def begin_pass(self) -> None:
        """Put off the commit of what is put from now on in the loop's thread."""
        self._passing = True

    def end_pass(self) -> bool:
        """Commit what the pass has put; return whether that is there already."""
        self._passing = False
        if self._scheduled or not self._disk.dirty:
            return False
        if is_quiet(self._loop):
            return self._commit()
        self._dirty()
        return False

    def _dirty(self) -> None:
        if self._scheduled:
            return
        here = get_ident() == self._thread_id
        if not (here and self._passing):
            self._scheduled = True
            schedule = self._loop.call_soon if here else self._loop.call_soon_threadsafe
            schedule(self._commit_and_wake)

    def _commit_and_wake(self) -> None:
        self._scheduled = False
        if self._commit():
            self._node.wake()

    def _commit(self) -> bool:
        """Commit what waits; return whether it is there already.

        While several turns are flushed, the loop goes on to the next ones. A lone one is flushed by
        the loop itself: a thread takes longer to hear of it.
        """
        disk = self._disk
        if self._closed or not disk.dirty or self._flushing is not None:
            return False
        try:
            committed = disk.write()
            lone = len(committed) <= 1
            if lone:
                disk.flush()
        except Exception as error:
            self._fail(error)
            return False
        if lone:
            _tell(committed)
        else:
            self._flushing = self._loop.run_in_executor(self._flusher, disk.flush)
            self._flushing.add_done_callback(partial(self._flushed, committed))
        return lone

    def _flushed(self, committed: Committed, flushed: asyncio.Future[None]) -> None:
        self._flushing = None
        error = flushed.exception()
        if error is not None:
            self._fail(error)
            return
        _tell(committed)
        self._node.wake()
        self._commit()

    def _fail(self, cause: BaseException) -> None:
        self._disk.give_up()
        error = ProcessorError(
            f"the log of embedded:{self._path} cannot be written ({cause}). What was acknowledged "
            "is there; correct the cause and start this process again"
        )
        error.__cause__ = cause
        _log.error("%s", error)
        self._node.stop(error)


def _tell(committed: Committed) -> None:
    for callback in committed:
        callback()
