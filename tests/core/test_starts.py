"""What a start does not say, the definition of its workflow says; its history has it."""

from __future__ import annotations

import re

import pytest

from processor.core.correlation import CORRELATION
from processor.core.decide import decide
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.lineage import Plan, RetryOptions
from processor.core.nouns.run import WorkflowStarted
from processor.core.nouns.start import StartChild, StartPlanned, StartRun, StartWith
from processor.core.records.answers import Refused
from processor.core.runner import Defaults
from processor.errors import SchemaMismatch
from processor.schedules.spec import SCHEDULE

from .scripted import ID, RUN, SEED, context

DEFINED = RetryOptions(1_000, 2.0, 60_000)
NAMED = RetryOptions(5, 1.0, 5, 2)
BOTH = Defaults(700, DEFINED)


@pytest.mark.parametrize(
    ("start", "defaults", "limit_ms", "plan"),
    [
        (StartRun("order"), BOTH, 700, Plan(retry=DEFINED)),
        (StartRun("order", execution_timeout_ms=500), BOTH, 500, Plan(retry=DEFINED)),
        (StartPlanned("order", plan=Plan(retry=NAMED)), BOTH, 700, Plan(retry=NAMED)),
        (StartPlanned("order", plan=Plan()), BOTH, 700, Plan(retry=DEFINED)),
        (StartRun("order"), Defaults(700, None), 700, None),
        (StartRun("order"), Defaults(None, DEFINED), None, Plan(retry=DEFINED)),
    ],
)
def test_a_start_is_completed_by_the_definition(
    start: StartRun, defaults: Defaults, limit_ms: int | None, plan: Plan | None
) -> None:
    situation = context(defaults={"order": defaults, "other": Defaults(1, NAMED)})
    (draft,) = decide(ClientCommand(ID, start), None, None, RUN, situation).drafts
    assert draft.events == [
        WorkflowStarted("order", None, SEED, execution_timeout_ms=limit_ms, plan=plan)
    ]


def test_what_another_definition_says_does_not_matter() -> None:
    situation = context(defaults={"other": BOTH})
    (draft,) = decide(ClientCommand(ID, StartRun("order")), None, None, RUN, situation).drafts
    assert draft.events == [WorkflowStarted("order", None, SEED)]


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan(deadline_ms=5), "plan.deadline_ms: "),
        (Plan(version=1), "plan.version: "),
        (Plan(attributes=b"{"), "attributes: they are no JSON"),
        (Plan(attributes=b'{"status":1}'), "attributes: 'status' is what every run has"),
        (Plan(start_at_ms=-1), "the start_at_ms is -1"),
        (Plan(start_at_ms=253_402_300_800_000), "the start_at_ms is 253402300800000"),
        (Plan(cron="x" * 100_001), "the cron string has 100,001 bytes"),
        (Plan(cron="@daily", start_at_ms=5), "not both"),
        (Plan(retry=RetryOptions(0, 1.0, 1)), "initial_interval_ms is 0"),
        (Plan(retry=RetryOptions(1, float("nan"), 1)), "coefficient: nan"),
        (Plan(retry=RetryOptions(1, 1.0, 1, 0)), "maximum_attempts is 0"),
    ],
)
def test_a_plan_that_nobody_may_ask_for_is_refused(plan: Plan, text: str) -> None:
    with pytest.raises(SchemaMismatch, match=re.escape(text)):
        StartPlanned("order", plan=plan).check()


# --- ids that are reserved ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "start", "why"),
    [
        ("schedule:daily", StartRun("order"), "begin with schedule: are those of schedules"),
        ("schedule:", StartPlanned("order", plan=Plan()), "give another one than 'schedule:'"),
        ("schedule:daily", StartChild("order"), "workflow 'order' cannot be started"),
        ("schedule:daily", StartRun(CORRELATION), "their ids begin with correlation:"),
        ("correlation:a=b", StartRun("order"), "are those of business keys"),
        ("correlation:a=b", StartWith("order", first=RaiseEvent("go")), "(client.correlated)"),
        ("order-1", StartRun(SCHEDULE), "their ids begin with schedule:, as 'order-1' does not"),
        ("order-1", StartRun(CORRELATION), "their ids begin with correlation:"),
    ],
)
def test_an_id_of_ours_is_for_a_workflow_of_ours_only(id: str, start: StartRun, why: str) -> None:
    outcome = decide(ClientCommand(id, start), None, None, RUN, context())
    assert not outcome.drafts
    assert isinstance(outcome.answer, Refused) and outcome.answer.error == "CommandRejected"
    assert why in outcome.answer.message


@pytest.mark.parametrize(
    ("id", "workflow"),
    [
        ("schedule:daily", SCHEDULE),
        ("correlation:a=b", CORRELATION),
        ("schedules", "order"),
        ("my schedule:daily", "order"),
        ("Correlation:a=b", "order"),
    ],
)
def test_all_others_are_for_anybody(id: str, workflow: str) -> None:
    assert StartRun(workflow).refusal(id, None) is None
