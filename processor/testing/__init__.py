"""Tests of workflows without a broker and without waiting: the simulated runtime for users."""

from __future__ import annotations

from processor.testing.environment import Environment, NothingLeft

__all__ = ("Environment", "NothingLeft")
