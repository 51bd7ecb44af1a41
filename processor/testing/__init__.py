"""Tests of workflows without a broker and without waiting: the simulated runtime for users."""

from __future__ import annotations

from processor.testing.activities import ActivityEnvironment
from processor.testing.environment import Environment, EnvironmentHandle
from processor.testing.errors import ActivityNotRegistered, NoEndInSight, NothingLeft

__all__ = (
    "ActivityEnvironment",
    "ActivityNotRegistered",
    "Environment",
    "EnvironmentHandle",
    "NoEndInSight",
    "NothingLeft",
)
