"""The client: start workflows, talk to running ones, get results."""

from __future__ import annotations

from processor.client.client import Client, Handle
from processor.client.descriptions import HistoryEvent, RunDescription

__all__ = ("Client", "Handle", "HistoryEvent", "RunDescription")
