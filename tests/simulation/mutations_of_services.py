"""The protections of calls of services, and of activities in other processes."""

from __future__ import annotations

from collections.abc import Sequence

from . import switches_services as services
from .mutation import Mutation

__all__ = ("OF_SERVICES",)

_MODEL = ("AssertionError: every case ends as the model says",)

OF_SERVICES: Sequence[Mutation] = (
    Mutation(
        "attempts",
        "a service knows an order by its key, whichever attempt it is",
        services.each_attempt_has_a_key,
        _MODEL,
        200,
        known=54,
    ),
    Mutation(
        "attempts",
        "the end of a process is no failure of the function",
        services.lost_processes_are_failures,
        _MODEL,
        200,
        known=49,
    ),
)
