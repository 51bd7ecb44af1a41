"""What a story sets for the shards of its process ends with the test that plays it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from processor.shard import dedup

from .story import what_is_remembered


@pytest.fixture(autouse=True)
def _remembered() -> Iterator[None]:
    with what_is_remembered(dedup.KEPT, dedup.KEPT_MAX):
        yield
