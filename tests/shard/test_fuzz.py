"""Whatever one input causes ends at that input: 100,000 of them, mutated, with nothing left out."""

from __future__ import annotations

from random import Random

import pytest

from processor.core.nouns.external import RaiseEvent
from processor.core.vocabulary import REQUESTS

from .fuzz import INPUTS, played
from .fuzz_commands import body_of

pytestmark = pytest.mark.slow

SEEDS = 100_000 // INPUTS


@pytest.mark.parametrize("tenth", range(10))
def test_no_input_stops_or_spoils_anything(tenth: int) -> None:
    for seed in range(tenth, SEEDS, 10):
        fuzz = played(seed)
        assert fuzz.counts["commands"] > INPUTS / 5, "most of them are not refused at the door"


def test_it_plays_every_kind_of_request() -> None:
    dice = Random(1)
    played_kinds = {type(body_of(dice, "run")) for _ in range(2_000)}
    missing = [each.__name__ for each in REQUESTS if each not in played_kinds]
    assert not missing, f"add them to fuzz_commands.py: {missing}"


def test_an_input_that_is_given_up_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a check that is missing")

    monkeypatch.setattr(RaiseEvent, "decide", broken)
    with pytest.raises(AssertionError, match=r"tried once more(.|\n)*a check that is missing"):
        played(0)
