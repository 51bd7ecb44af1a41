"""What users pass by hand is checked where it enters, with an error that says what to give."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from processor import InvalidArgument, checks


class Name(str, Enum):
    ADA = "ada"


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("check", "value", "message"),
    [
        (checks.workflow_id, "", "give an id of 1 to 1,000 bytes, not 0"),
        (checks.workflow_id, "é" * 501, "give an id of 1 to 1,000 bytes, not 1,002"),
        (checks.workflow_id, UUID(int=1), r"text \(str\), not UUID\(.*\): use str\(...\)"),
        (checks.workflow_id, "\udc80", "half of a surrogate pair"),
        (checks.workflow_id, None, "not None"),
        (checks.workflow_id, Unshowable(), "a value of type Unshowable"),
        (checks.name, "", "a name of 1"),
        (checks.name, b"a", "not b'a'"),
        (checks.text, "a" * 100_001, "give text of 0 to 100,000 bytes, not 100,001"),
        (checks.text, 5, "not 5"),
        (checks.topic, "a/b", "no Kafka topic can be named 'a/b'"),
        (checks.topic, "a\n", "no Kafka topic"),
        (checks.topic, "..", "no Kafka topic"),
        (checks.topic, "a" * 250, "no Kafka topic"),
        (checks.seconds, -1, "give 0 s to 4,000 years, not -1"),
        (checks.seconds, math.nan, "not nan"),
        (checks.seconds, math.inf, "not inf"),
        (checks.seconds, 10**400, r"not 1000.* \.\.\."),
        (checks.seconds, True, "a timedelta or seconds, not True"),
        (checks.seconds, "5", "a timedelta or seconds, not '5'"),
        (checks.seconds, timedelta.max, "4,000 years"),
        (checks.duration_ms, 0, "longer than 0"),
        (checks.duration_ms, None, "not None"),
        (checks.lasting_ms, 1e17, r"1e\+17 s is longer than 4,000 years.* give math.inf"),
        (checks.lasting_ms, math.nan, "not nan"),
        (checks.lasting_ms, "1", "not '1'"),
    ],
)
def test_what_is_wrong_is_named(check: Callable[..., Any], value: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^verb: thing: .*{message}"):
        check(value, "verb: thing")


@pytest.mark.parametrize(
    ("check", "value", "found"),
    [
        (checks.workflow_id, "é" * 500, "é" * 500),
        (checks.workflow_id, Name.ADA, "ada"),
        (checks.text, "", ""),
        (checks.topic, "a.B_c-9", "a.B_c-9"),
        (checks.seconds, timedelta(minutes=1), 60.0),
        (checks.seconds, 0, 0),
        (checks.duration_ms, 1e-9, 1),
        (checks.duration_ms, timedelta(milliseconds=5), 5),
        (checks.lasting_ms, math.inf, None),
        (checks.lasting_ms, -math.inf, 0),
        (checks.lasting_ms, timedelta(seconds=-1), 0),
        (checks.lasting_ms, 1.0001, 1001),
    ],
)
def test_what_is_right_comes_back(check: Callable[..., Any], value: Any, found: Any) -> None:
    back = check(value, "verb: thing")
    assert back == found
    assert type(back) is type(found)
