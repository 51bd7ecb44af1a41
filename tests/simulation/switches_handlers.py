"""Protections of handlers and of queries, switched off one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from processor.core.inputs import ClientCommand
from processor.core.questions import QueryRun
from processor.shard.flight import Flight
from processor.shard.turns.querying import Querying
from processor.workflow._nouns import external
from processor.workflow._nouns.external import ExternalEvents

__all__: tuple[str, ...] = ()


def queries_answered_at_once(patch: pytest.MonkeyPatch) -> None:
    """Tell what the code has seen before that is in the log."""
    then = Flight.then

    def at_once(self: Flight, callback: Any) -> None:
        answers = getattr(getattr(callback, "func", None), "__name__", "") == "_reply"
        callback() if answers else then(self, callback)

    patch.setattr(Flight, "then", at_once)


def live_runs_answer_for_all(patch: pytest.MonkeyPatch) -> None:
    """Ask the live run of a workflow id, whichever is meant."""
    take = Querying.take

    def take_for_any(self: Querying, command: ClientCommand, body: QueryRun) -> None:
        if self._instances.entry(command.workflow_id).instance is not None:
            body = replace(body, run_id=None, first_run_id=None)
        take(self, command, body)

    patch.setattr(Querying, "take", take_for_any)


def handed_events_dropped(patch: pytest.MonkeyPatch) -> None:
    """Take an event for taken once a handler is to have it, begun or not."""
    patch.setattr(external._Handed, "__init__", lambda self: setattr(self, "over", True))


def names_one_after_the_other(patch: pytest.MonkeyPatch) -> None:
    """Give a handler of all names the events of one name, then those of the next one."""
    handle = ExternalEvents.handle

    def handle_by_name(self: ExternalEvents, name: str | None) -> None:
        for each in list(self._unread) if name is None else [name]:
            handle(self, each)

    patch.setattr(ExternalEvents, "handle", handle_by_name)


def handled_still_counted(patch: pytest.MonkeyPatch) -> None:
    """Count what handlers have taken among the events that wait for the code."""
    handle = ExternalEvents.handle

    def count_on(self: ExternalEvents, name: str | None) -> None:
        before = self.unread, self.unread_bytes
        handle(self, name)
        self.unread, self.unread_bytes = before

    patch.setattr(ExternalEvents, "handle", count_on)
