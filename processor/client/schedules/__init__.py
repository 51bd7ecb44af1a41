"""Schedules in the hands of a client: what it creates and changes, and what code declares."""

from __future__ import annotations

from processor.client.schedules.handles import (
    HasSchedules,
    ScheduleAction,
    ScheduleDescription,
    ScheduleHandle,
    Schedules,
    ScheduleSummary,
)

__all__ = (
    "HasSchedules",
    "ScheduleAction",
    "ScheduleDescription",
    "ScheduleHandle",
    "ScheduleSummary",
    "Schedules",
)
