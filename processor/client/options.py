"""The options that all starts have in common."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

from processor.arguments import Seconds
from processor.attributes import Attributes
from processor.policy import ConflictPolicy, RetryPolicy, ReusePolicy
from processor.workflow._options import Options

__all__ = ("ActivityRunOptions", "RunOptions", "StartOptions")


class RunOptions(TypedDict, total=False):
    """What ``start`` and ``run`` take beside the arguments of the workflow."""

    id: str | None
    key: str | None
    reuse: ReusePolicy
    conflict: ConflictPolicy
    execution_timeout: Seconds | None
    retry: RetryPolicy | None
    memo: Any
    attributes: Attributes | None
    delay: Seconds | None
    at: datetime | None
    timeout: Seconds | None


class StartOptions(RunOptions, total=False):
    """What ``start`` takes beside the arguments of the workflow."""

    cron: str | None


class ActivityRunOptions(Options, total=False):
    """What ``start_activity`` and ``run_activity`` take beside the arguments of the activity."""

    id: str | None
    reuse: ReusePolicy
    conflict: ConflictPolicy
    memo: Any
    attributes: Attributes | None
    delay: Seconds | None
    at: datetime | None
    timeout: Seconds | None
