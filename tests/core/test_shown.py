"""Any exception becomes bounded text, in a bounded time, whatever the object does."""

from __future__ import annotations

import time

import pytest

from processor.codec.payloads import JsonPayloads
from processor.core.data.shown import shown
from processor.core.replay import failed
from processor.failures import bases_of, failure_of

from .broken import BROKEN, caused, nested, shared

PATIENCE_S = 3.0


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_an_error_does_it_is_told(name: str) -> None:
    error = BROKEN[name]()
    begun = time.thread_time()
    told = shown(error, causes=True)
    code_error, failure = failed(error), failure_of(error, JsonPayloads())
    ((_, value),) = bases_of(error)
    assert time.thread_time() - begun < PATIENCE_S
    assert all(type(text) is str and len(text) < 1_000_000 for text in told)
    assert len(told.traceback) < 21_000 and len(code_error.traceback) <= 20_000
    assert told.type and told.type == failure.type
    assert told.type in told.words and told.type in code_error.error
    assert value.decode().split(",")[0] == told.type
    told.traceback.encode()


def test_an_error_is_told_as_python_tells_it() -> None:
    try:
        try:
            raise KeyError("a")
        except KeyError as error:
            error.add_note("look here")
            raise ValueError("b") from error
    except ValueError as error:
        told = shown(error, causes=True)
    assert told[:3] == ("ValueError", "b", "ValueError: b")
    first, _, second = told.traceback.partition(
        "\n\nThe above exception was the direct cause of the following exception:\n\n"
    )
    assert (
        first.startswith("Traceback (most recent call last):\n") and 'raise KeyError("a")' in first
    )
    assert first.endswith("KeyError: 'a'\nlook here")
    assert 'raise ValueError("b") from error' in second and second.endswith("ValueError: b")


def test_a_context_is_told_unless_it_is_hidden() -> None:
    hidden, open_ = ValueError("b"), ValueError("b")
    hidden.__context__, open_.__context__ = KeyError("a"), KeyError("a")
    hidden.__suppress_context__ = True
    assert "KeyError" not in shown(hidden, causes=True).traceback
    assert "During handling of the above exception" in shown(open_, causes=True).traceback
    assert "KeyError" not in shown(open_).traceback


def test_the_members_of_a_group_are_told_and_the_rest_is_counted() -> None:
    told = shown(ExceptionGroup("many", [ValueError(str(each)) for each in range(30)]))
    assert told.message.startswith("many: ValueError: 0; ValueError: 1; ")
    assert told.message.endswith("ValueError: 19; and 10 more")
    assert "ValueError: 19" in told.traceback and "ValueError: 20" not in told.traceback


@pytest.mark.parametrize("made", [lambda: nested(900), lambda: shared(16), lambda: caused(10_000)])
def test_telling_takes_no_longer_with_more(made: object) -> None:
    assert callable(made)
    error = made()
    begun = time.thread_time()
    failure_of(error, JsonPayloads())
    assert time.thread_time() - begun < 0.2


def test_the_chain_of_causes_has_an_end() -> None:
    failure = failure_of(caused(1_000), JsonPayloads())
    messages = []
    each = failure
    while each is not None:
        messages.append(each.message)
        each = each.cause  # type: ignore[assignment]
    assert messages == [str(number) for number in range(999, 989, -1)]
    assert shown(caused(1_000), causes=True).traceback.count("direct cause") == 10


def test_a_circle_of_causes_is_told_once() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    failure = failure_of(first, JsonPayloads())
    assert failure.cause is not None and failure.cause.message == "second"
    assert failure.cause.cause is None
