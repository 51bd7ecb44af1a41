"""Run ids: the same request names the same run, whoever meets it, and no other one does."""

from __future__ import annotations

import re

import pytest

from processor.core.data.cause import Cause, ClientRequest, NamedRequest, Origin
from processor.core.data.run_id import RUN_ID_CHARS, run_id_of, successor_id

LOG, OTHER_LOG = b"a log of 16 byte", b"another log, 16."
CAUSES: tuple[Cause | None, ...] = (
    None,
    ClientRequest("c", 1),
    ClientRequest("c", 11),
    ClientRequest("c/1", 1),
    NamedRequest("c/1"),
    NamedRequest(""),
    Origin(LOG, 3, 9, 1),
    Origin(OTHER_LOG, 3, 9, 1),
    Origin(LOG, 3, 91, 1),
    Origin(LOG, 39, 1, 1),
)


@pytest.mark.parametrize(
    ("cause", "run_id"),
    [
        (NamedRequest("r-1"), "BxurlboTsLG4yUve"),
        (ClientRequest("c", 1), "4lNEQQD9vQAHzL4g"),
        (Origin(LOG, 3, 9, 1), "7yyRdCP49pNezcyw"),
        (None, "FURgyeaVnmDCjq7r"),
    ],
    ids=str,
)
def test_a_later_release_makes_the_same_id(cause: Cause | None, run_id: str) -> None:
    """An input that one release has read may be read again by the next one."""
    assert run_id_of(LOG, "order-1", cause, 3, 9) == run_id
    assert successor_id(LOG, "order-1", "BxurlboTsLG4yUve") == "OxMBLqOmN6SyfS35"


@pytest.mark.parametrize("cause", [cause for cause in CAUSES if cause is not None], ids=str)
def test_a_request_that_comes_again_elsewhere_names_the_same_run(cause: Cause) -> None:
    first = run_id_of(LOG, "order-1", cause, 0, 5)
    assert run_id_of(LOG, "order-1", cause, 0, 5) == first
    assert run_id_of(LOG, "order-1", cause, 2, 77) == first


def test_without_an_identity_the_place_tells() -> None:
    ids = {run_id_of(LOG, "a", None, *place) for place in ((0, 0), (0, 1), (1, 0), (1, 1), (11, 0))}
    assert len(ids) == 5
    assert run_id_of(LOG, "a", None, 1, 1) in ids


def test_log_workflow_id_and_cause_are_all_part_of_it() -> None:
    """Also where one of them ends as another one begins."""
    ids = {
        run_id_of(log, workflow_id, cause, 0, 0)
        for log in (LOG, OTHER_LOG)
        for workflow_id in ("a", "ab", "b", "", "acommands/0", "ü")
        for cause in CAUSES
    }
    assert len(ids) == 2 * 6 * len(CAUSES)
    assert run_id_of(LOG, "a", NamedRequest("b"), 0, 0) not in ids
    assert successor_id(LOG, "a", "x") != successor_id(OTHER_LOG, "a", "x")
    assert successor_id(LOG, "a", "x") != successor_id(LOG, "b", "x")


def test_a_chain_never_comes_back_to_a_run_that_it_had() -> None:
    chain = [run_id_of(LOG, "a", None, 0, 0)]
    for _ in range(1_000):
        chain.append(successor_id(LOG, "a", chain[-1]))
    assert len(set(chain)) == len(chain)


def test_ids_are_text_that_stands_in_a_url_and_do_not_collide() -> None:
    ids = [run_id_of(LOG, "a", None, 0, offset) for offset in range(20_000)]
    assert len(set(ids)) == len(ids)
    plain = re.compile(rf"[0-9A-Za-z]{{{RUN_ID_CHARS}}}")
    assert RUN_ID_CHARS == 16
    assert all(plain.fullmatch(id) for id in ids)
    for place in range(RUN_ID_CHARS):
        assert len({id[place] for id in ids}) == 62, "each character is one of all"


def test_a_log_id_of_another_size_is_refused() -> None:
    with pytest.raises(AssertionError, match="16 bytes, not 3"):
        run_id_of(b"log", "a", None, 0, 0)
