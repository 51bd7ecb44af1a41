"""The client: start workflows, talk to running ones, get results."""

from __future__ import annotations

from processor.client.client import Client
from processor.client.correlated import Correlated, CorrelationDescription, KeptEvent
from processor.client.descriptions import (
    EntityOperation,
    HistoryEvent,
    RunDescription,
    RunHistory,
    ViewPosition,
)
from processor.client.entities import EntityHandle
from processor.client.handle import Handle
from processor.client.schedules import (
    ScheduleAction,
    ScheduleDescription,
    ScheduleHandle,
    Schedules,
    ScheduleSummary,
)
from processor.client.updates import UpdateHandle
from processor.core.nouns.lineage import Correlation
from processor.views.answers import RunCount, RunGroup, ViewRow

__all__ = (
    "Client",
    "Correlated",
    "Correlation",
    "CorrelationDescription",
    "EntityHandle",
    "EntityOperation",
    "Handle",
    "HistoryEvent",
    "KeptEvent",
    "RunCount",
    "RunDescription",
    "RunGroup",
    "RunHistory",
    "ScheduleAction",
    "ScheduleDescription",
    "ScheduleHandle",
    "ScheduleSummary",
    "Schedules",
    "UpdateHandle",
    "ViewPosition",
    "ViewRow",
)
