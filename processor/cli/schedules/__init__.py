"""The commands ``schedule`` and ``schedules``."""

from __future__ import annotations
