"""Every test of the ports runs on every adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .adapters import Adapter, Embedded, Simulated


@pytest.fixture(params=["embedded", "simulated-0", "simulated-1"])
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    kind, _, seed = request.param.partition("-")
    adapter = Embedded(tmp_path) if kind == "embedded" else Simulated(int(seed))
    adapter.connect()
    yield adapter
    adapter.close()
