"""Programs drawn by hypothesis, which shrinks one that fails to the few steps that matter."""

from __future__ import annotations

import gc
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.simulation.faults import CALM, ROUGH, Faults

from .cases import program_case, raise_events
from .invariants import check
from .programs import KINDS, Step, fits
from .story import Story

_BRANCHING = ("all", "group", "race", "timeout")
_FAULTS = [each.name for each in fields(ROUGH) if not each.name.endswith("_max")]

leaves = st.sampled_from([kind for kind in KINDS if kind not in _BRANCHING])


@st.composite
def steps(draw: Any, depth: int = 0) -> Step:
    kind = draw(leaves)
    if depth < 2 and draw(st.booleans()):
        kind = draw(st.sampled_from(_BRANCHING))
    if kind not in _BRANCHING:
        return Step(kind)
    count = 1 if kind == "timeout" else draw(st.integers(2, 3))
    branch = st.lists(steps(depth + 1), min_size=1, max_size=2)
    return Step(kind, branches=[draw(branch) for _ in range(count)])


programs = st.lists(st.lists(steps(), min_size=1, max_size=3), min_size=1, max_size=2)
faults = st.lists(st.sampled_from(_FAULTS), unique=True).map(
    lambda kinds: replace(
        CALM,
        **{kind: getattr(ROUGH, kind) for kind in kinds},
        blows_max=ROUGH.blows_max,
    )
)


def numbered(program: list[Step], number: int) -> int:
    """Give each step a number of its own, so that each event has its own name."""
    for step in program:
        number += 1
        step.number = number
        for branch in step.branches:
            number = numbered(branch, number)
    return number


def play(drawn: list[list[Step]], seed: int, faults: Faults) -> None:
    number, cases = 0, []
    for index, program in enumerate(drawn):
        number = numbered(program, number)
        case = program_case(program, index)
        raise_events(case, set())
        cases.append(case)
    story = Story(seed, faults, cases=cases)
    gc.disable()  # hypothesis looks at a clock in each collection, maybe amid workflow code
    try:
        story.run()
        check(story)
    finally:
        story.close()
        gc.enable()


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(programs, st.integers(0, 1_000_000), faults)
def test_a_program_comes_to_what_the_model_says(
    drawn: list[list[Step]], seed: int, faults: Faults
) -> None:
    play(drawn, seed, faults)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_step_does_what_the_model_says(kind: str) -> None:
    """One by one, with all faults: what a random program may draw seldom is drawn here."""
    count = 1 if kind == "timeout" else 2
    branches = [[Step("double")], [Step("sleep")]][:count] if kind in _BRANCHING else []
    play([[Step(kind, branches=branches)]], 1, ROUGH)


def test_the_model_refuses_what_is_wrong() -> None:
    race = Step("race", 1, branches=[[Step("double", 2)], [Step("noted", 3)]])
    assert fits([race], [[[0, [4]]]])
    assert fits([race], [[[0, [4]], [1, [3]]]])
    wrong: Any
    for wrong in ([[]], [[[0, [5]]]], [[[1, [3]], [0, [4]]]], [], [[[0, [4]]], 1]):
        assert not fits([race], wrong)
    assert not fits([Step("doomed", 1)], [1])
    assert not fits([Step("sleep", 1)], ["timeout"])
    assert fits([Step("timeout", 1, branches=[[Step("sleep", 2)]])], ["timeout"])
    assert fits([Step("timeout", 1, branches=[[Step("sleep", 2)]])], [["slept"]])
