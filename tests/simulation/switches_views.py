"""Protections of views, switched off."""

from __future__ import annotations

import pytest

from processor.core.records.snapshot import Snapshot
from processor.views import histories, place
from processor.views.tables import stored

__all__ = ("before_snapshots_in_views", "ghosts_in_views", "records_twice_in_tables")


class _NoSnapshot(Snapshot):
    """No record is one."""


def before_snapshots_in_views(patch: pytest.MonkeyPatch) -> None:
    """Let a view keep the turns that a snapshot stands for."""
    patch.setattr(histories, "Snapshot", _NoSnapshot)


def ghosts_in_views(patch: pytest.MonkeyPatch) -> None:
    """Let a view fold what does not count."""
    patch.setattr(place, "counts", lambda named, epoch: True)


def records_twice_in_tables(patch: pytest.MonkeyPatch) -> None:
    """Let a table take what it has taken."""
    patch.setattr(stored, "untaken", lambda entries, place: entries)
