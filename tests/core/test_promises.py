"""Promises: what is asked of them, and what that comes to."""

from __future__ import annotations

import pytest

from processor.core.data.failure import Failure
from processor.core.decide import decide
from processor.core.draft import Outcome
from processor.core.evolve import evolve
from processor.core.inputs import ClientCommand
from processor.core.nouns.promise import (
    PromiseId,
    PromiseMade,
    PromiseSettled,
    RejectPromise,
    ResolvePromise,
)
from processor.core.nouns.run import RunParked, WorkflowCompleted, WorkflowTerminated
from processor.core.nouns.value import MemoSet
from processor.core.operation import OperationOnRun
from processor.core.records.answers import Refused
from processor.core.records.snapshot import image_of
from processor.core.replay import Instance
from processor.errors import SchemaMismatch

from .scripted import ID, NOW, RUN, context, instance

MADE = PromiseMade(3)
OURS = PromiseId(ID, RUN, 3)


def said(run: Instance | None, body: OperationOnRun, latest: Instance) -> Outcome:
    body.check()
    summary = latest.state.summary()
    return decide(ClientCommand(ID, body), run, summary, "", context(now_ms=NOW + 5))


@pytest.mark.parametrize(
    ("body", "fact"),
    [
        (ResolvePromise(OURS.text, b"true"), PromiseSettled(3, b"true")),
        (ResolvePromise(OURS.text), PromiseSettled(3)),
        (
            RejectPromise(OURS.text, "no", "Refused", b"[1]"),
            PromiseSettled(3, failure=Failure("application", "Refused", "no", b"[1]")),
        ),
        (
            RejectPromise(OURS.text, ""),
            PromiseSettled(3, failure=Failure("application", "ApplicationError", "")),
        ),
    ],
)
@pytest.mark.parametrize("parked", [False, True])
def test_the_first_word_counts(body: OperationOnRun, fact: PromiseSettled, parked: bool) -> None:
    run = instance(MADE, PromiseMade(4), *([RunParked("bug", "e", "", "")] if parked else []))
    (draft,) = said(run, body, run).drafts
    assert draft.events == [fact]
    assert run.state.promises == {4: NOW}
    again = said(run, body, run)
    assert again.drafts == [] and isinstance(again.answer, Refused)
    assert again.answer.error == "PromiseNotOpen"
    assert "settled already" in again.answer.message


def test_the_end_of_a_run_leaves_none_open() -> None:
    for end, why in (
        (WorkflowCompleted(None), "completed"),
        (WorkflowTerminated(""), "terminated"),
    ):
        run = instance(MADE, end)
        assert run.state.promises == {}
        answer = said(None, ResolvePromise(OURS.text), run).answer
        assert isinstance(answer, Refused)
        assert answer.message.endswith(f"is not open: the run is {why}")


def test_an_image_holds_no_promise_and_the_memo_as_it_is() -> None:
    run = instance(MADE).state
    assert run.has_more_than_an_image
    evolve(run, PromiseSettled(3), NOW)
    assert not run.has_more_than_an_image
    evolve(run, MemoSet(b'{"a": 1}'), NOW)
    assert run.started is not None and run.started.memo is None
    assert image_of(run).started.memo == b'{"a": 1}' == run.summary().memo


def test_another_run_has_none_of_it() -> None:
    run = instance(MADE)
    answer = said(run, ResolvePromise(OURS._replace(run_id="run-0").text), run).answer
    assert isinstance(answer, Refused) and answer.error == "PromiseNotOpen"
    wrong = ResolvePromise(OURS._replace(workflow_id="other", run_id="run-0").text)
    answer = said(run, wrong, run).answer
    assert isinstance(answer, Refused)
    assert f"was sent to {ID!r}; the key of the record is 'other'" in answer.message
    answer = said(run, ResolvePromise(OURS._replace(number=2).text), run).answer
    assert isinstance(answer, Refused) and "there never was one" in answer.message


@pytest.mark.parametrize("id", ["a", "order 7/ä", "ü" * 500, "x" * 1_000])
def test_an_id_is_a_text_for_urls(id: str) -> None:
    text = PromiseId(id, RUN, 12).text
    assert PromiseId.read(text) == (id, RUN, 12)
    assert text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    ResolvePromise(text).check()


@pytest.mark.parametrize("text", ["", "abc", "ÄÖ", OURS.text + "A", "MyBy", "x" * 9_000])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(SchemaMismatch):
        ResolvePromise(text).check()
    with pytest.raises(SchemaMismatch):
        RejectPromise(OURS.text, "m", "").check()
