"""What all tests of the API have in common."""

from __future__ import annotations

import pytest

from processor.api.wire import BoundedProtocol
from processor.seldom import Seldom


@pytest.fixture(autouse=True)
def each_cut_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test see the lines of its own, however soon they follow those of another test."""
    monkeypatch.setattr(BoundedProtocol, "_is_time", Seldom(0.0))
