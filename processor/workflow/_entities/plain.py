"""Operations that begin and end cheaply: a plain one ends where it begins, and needs no task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from processor.core.data.headers import Headers
from processor.core.data.payloads import Payloads
from processor.core.event import Event
from processor.core.nouns.run import WorkflowStarted
from processor.failures import failure_of
from processor.workflow._definition import returned
from processor.workflow._engine.runner import WorkflowRunner
from processor.workflow._entities.definition import EntityMethod
from processor.workflow._entities.reads import Make
from processor.workflow._frames import boundary
from processor.workflow._nouns.handler import code_of

__all__ = ("Codes", "PlainRunner")


class Codes:
    """Makes the code of operations. ``plain`` makes that of plain ones, ``make`` all other.

    ``told`` is an error as data. ``memo`` is that of the run now, with which an operation begins.
    """

    def __init__(
        self, started: WorkflowStarted, make: Make, plain: Make, payloads: Payloads
    ) -> None:
        self.told = partial(failure_of, payloads=payloads)
        self._make = make
        self._plain = plain
        # A copy of a record with two other fields takes ten times as long.
        same = {each.name: getattr(started, each.name) for each in fields(started)}
        del same["seed"], same["headers"], same["memo"]
        self.memo = started.memo
        self._started = partial(WorkflowStarted, **same)

    def made(self, operation: EntityMethod, seed: bytes, headers: Headers) -> WorkflowRunner:
        """Return the code of an operation, which begins with a seed and headers of its own."""
        make = self._make if operation.is_async else self._plain
        started = self._started(seed=seed, headers=headers, memo=self.memo)
        return make(operation.workflow, started)


class PlainRunner(WorkflowRunner):
    """The code of one plain operation, which is called where other code has its loop run.

    Tasks that it makes never begin: an operation that has returned is over.
    """

    @boundary
    def _fed(self, facts: Sequence[Event]) -> Event | None:
        runtime, loop = self.runtime, self.runtime.loop
        code, over = code_of(runtime), loop.create_future()
        loop.guarded = True
        try:
            result: Any = code.context.run(returned, code.workflow, code.arguments)
        except (KeyboardInterrupt, SystemExit):
            raise  # as out of a task
        except BaseException as error:
            code.failed = error
        else:
            over.set_result(result)
            runtime.main = over
        finally:
            loop.guarded = False
        return facts[-1]
