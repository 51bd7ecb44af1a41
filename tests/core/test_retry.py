"""When a failed attempt is tried again."""

from __future__ import annotations

from typing import Any

import pytest

from processor.core.data.failure import Failure
from processor.core.data.headers import NO_HEADERS
from processor.core.data.options import ActivityOptions
from processor.core.data.retry import retry_at
from processor.core.nouns.activity import AttemptState, OpenActivity

NOW = 1_000_000


@pytest.mark.parametrize(
    ("attempt", "options", "failure", "delay_ms"),
    [
        (1, {}, {}, 1_000),
        (2, {}, {}, 2_000),
        (3, {}, {}, 4_000),
        (9, {}, {}, 100_000),
        (9_999, {}, {}, 100_000),
        (9_999, {"coefficient": 1.0}, {}, 1_000),
        (2, {"initial_interval_ms": 10, "coefficient": 1.5}, {}, 15),
        (4, {"maximum_attempts": 5}, {}, 8_000),
        (5, {"maximum_attempts": 5}, {}, None),
        (1, {"maximum_attempts": 1}, {}, None),
        (1, {}, {"retryable": False}, None),
        (1, {}, {"kind": "payload_too_large"}, None),
        (1, {}, {"kind": "schema_mismatch"}, None),
        (1, {"non_retryable": ("Down",)}, {}, None),
        (1, {"non_retryable": ("Other",)}, {}, 1_000),
        (3, {}, {"next_delay_ms": 7}, 7),
        (5, {"maximum_attempts": 5}, {"next_delay_ms": 7}, None),
        (1, {"schedule_to_close_ms": 1_500}, {}, 1_000),
        (2, {"schedule_to_close_ms": 1_500}, {}, None),
        (1, {"schedule_to_close_ms": 1_000}, {}, None),
    ],
)
def test_the_next_attempt(attempt: int, options: Any, failure: Any, delay_ms: int | None) -> None:
    state = AttemptState(1, attempt, eager=False, dispatched_ms=NOW)
    activity = OpenActivity(1, "pay", b"[]", ActivityOptions(**options), NO_HEADERS, NOW, state)
    given = Failure(**{"kind": "application", "type": "Down", "message": "", **failure})
    options = activity.options
    due_ms = retry_at(options, attempt, given, NOW, activity.end_ms)
    assert due_ms == (None if delay_ms is None else NOW + delay_ms)
