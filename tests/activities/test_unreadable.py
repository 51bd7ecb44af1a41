"""Errors of activities whose attributes cannot be read: the attempt is over all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from processor.activities import reports as told

from .test_ends import failure_in
from .test_executor import outcome_of


def broken(attribute: str, error: BaseException) -> BaseException:
    def raises(self: object) -> Any:
        raise error

    kind = ExceptionGroup if attribute == "exceptions" else Exception
    made = type("Broken", (kind,), {attribute: property(raises)})
    found: BaseException = made("m", [ValueError()]) if kind is ExceptionGroup else made("m")
    return found


class NoAttributes(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise SystemExit(name)


UNREADABLE: list[Callable[[], BaseException]] = [
    NoAttributes,
    *(
        lambda a=attribute, e=error: broken(a, e("broken"))  # type: ignore[misc]
        for attribute in ("__cause__", "__context__", "__class__", "__traceback__", "exceptions")
        for error in (RuntimeError, SystemExit, GeneratorExit, asyncio.CancelledError)
    ),
]


@pytest.mark.parametrize("made", UNREADABLE, ids=range(len(UNREADABLE)))
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "async"])
@pytest.mark.parametrize("limit_ms", [None, 60_000], ids=["no time-out", "a time-out"])
def test_an_error_that_cannot_be_read_fails_the_attempt(
    made: Callable[[], BaseException], plain: bool, limit_ms: int | None
) -> None:
    def raises() -> None:
        raise made()

    async def raises_async() -> None:
        raise made()

    reports = outcome_of(raises if plain else raises_async, start_to_close_ms=limit_ms)
    assert failure_in(reports).kind == "exception"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_whatever_the_telling_of_an_error_raises_the_attempt_is_reported(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise error

    async def raises() -> None:
        raise ValueError("m")

    monkeypatch.setattr(told, "failure_of", fails)
    assert "an error that cannot be told" in failure_in(outcome_of(raises)).message
