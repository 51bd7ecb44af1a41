"""All routes of the API, by what they are about."""

from __future__ import annotations

from processor.api.routes import (
    activities,
    azure,
    commands,
    entities,
    instances,
    messages,
    schedules,
    starts,
    views,
)

__all__ = ("ENDPOINTS",)

ENDPOINTS = (
    *starts.ENDPOINTS,
    *instances.ENDPOINTS,
    *messages.ENDPOINTS,
    *entities.ENDPOINTS,
    *activities.ENDPOINTS,
    *schedules.ENDPOINTS,
    *views.ENDPOINTS,
    *azure.ENDPOINTS,
    *commands.ENDPOINTS,
)
