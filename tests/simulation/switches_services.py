"""Protections switched off: what calls services, and what runs in other processes."""

from __future__ import annotations

from typing import Any

import pytest

from processor import ApplicationError
from processor.activities.processes import ActivityProcesses
from processor.activities.traveling import Raised
from processor.activity import ActivityInfo


def each_attempt_has_a_key(patch: pytest.MonkeyPatch) -> None:
    """Let a service take each attempt for an order of its own."""

    def key(self: ActivityInfo) -> str:
        return f"{self.run_id}/{self.id}/{self.attempt}"

    patch.setattr(ActivityInfo, "idempotency_key", property(key))


def lost_processes_are_failures(patch: pytest.MonkeyPatch) -> None:
    """Take the end of a process for what its function came to."""

    def lost(self: ActivityProcesses, call: Any, code: int | None) -> Raised:
        return Raised(ApplicationError("the process has ended", retryable=False))

    patch.setattr(ActivityProcesses, "_lost", lost)
