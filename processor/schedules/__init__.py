"""Schedules: workflows of ours that start others at the times of a calendar."""

from __future__ import annotations

from processor.schedules.patterns import Calendar

__all__ = ("Calendar",)
