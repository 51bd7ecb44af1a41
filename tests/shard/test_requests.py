"""Which requests have counted: each counts once, and what is not known any more is said so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest

from processor.codec.records import decode, encode
from processor.core.data.cause import Cause, ClientRequest, NamedRequest, Origin, identity, keyed
from processor.core.nouns.run import WorkflowStarted
from processor.core.records.answers import Accepted, Refused
from processor.core.records.marks import Answered, Mark
from processor.core.records.turn import Positions, Turn
from processor.shard import dedup
from processor.shard.dedup import CLIENT_MS, NAMED_MS, Requests, UnderClaim
from processor.shard.dedup import MISSING_MAX as MISSING

LOG, OTHER_LOG = b"a log of 16 byte", b"another log, 16."
NOW = 1_700_000_000_000
OFFSETS = count(1)
STARTED = WorkflowStarted("order", None, b"16 random bytes.")
TOLD = Refused("WorkflowNotFound", "there is none")


def turn(cause: Cause | None, now_ms: int = NOW) -> Turn:
    return Turn("a", "r", 0, 0, now_ms, "commands", Positions(), 0, cause, (STARTED,))


def answered(cause: Cause | None, answer: Any = TOLD, now_ms: int = NOW) -> Answered:
    return Answered("a", 0, now_ms, "commands", Positions(), 0, cause, None, answer)


def mark(known: Requests, now_ms: int = NOW) -> Mark:
    """Return a mark of what is known, as it comes back from the log."""
    made = decode(encode(known.marked(Mark(0, now_ms, "eager", Positions(), 0, 0))))
    assert isinstance(made, Mark)
    return made


def heard(*numbers: int, client: str = "c", now_ms: int = NOW) -> Requests:
    """Return what knows a client of which these requests have come, in this order."""
    known = Requests()
    for number in numbers:
        take(known, turn(ClientRequest(client, number), now_ms))
    return known


def take(known: Requests, record: UnderClaim) -> None:
    """Let a record be acknowledged, behind all before it."""
    known.take(record, next(OFFSETS))


def standings(known: Requests, numbers: Iterable[int], *, again: bool = False) -> list[str]:
    return [known.standing(ClientRequest("c", each), again=again) for each in numbers]


# --- our clients ------------------------------------------------------------------------------


def test_requests_that_come_in_order_count_once_each() -> None:
    known = heard(1, 2, 3)
    assert standings(known, range(1, 6)) == ["known", "known", "known", "new", "new"]


def test_what_comes_again_was_read_before_so_it_is_never_new() -> None:
    """The copy before it has counted: where that is not known, the client was forgotten since."""
    known = heard(1, 2, 5)
    assert standings(known, range(1, 7), again=True) == [
        *("known", "known", "expired", "expired", "known", "expired")
    ]


def test_a_number_that_was_left_out_may_come_later_and_counts_once() -> None:
    known = heard(1, 2, 5, 7)
    assert standings(known, range(1, 9)) == [
        *("known", "known", "new", "new", "known", "new", "known", "new")
    ]
    take(known, turn(ClientRequest("c", 4)))
    assert standings(known, (3, 4, 6)) == ["new", "known", "new"]
    take(known, turn(ClientRequest("c", 4)))
    assert standings(known, (3, 4, 6)) == ["new", "known", "new"]


def test_a_client_may_begin_late_because_kafka_refused_its_first_requests() -> None:
    known = heard(7)
    assert standings(known, (1, 6, 7, 8)) == ["new", "new", "known", "new"]
    assert standings(known, (1, 6, 7, 8), again=True) == ["expired", "expired", "known", "expired"]
    assert standings(heard(100), (1, 35, 36, 99, 100)) == [*["expired"] * 2, "new", "new", "known"]


@pytest.mark.parametrize(
    ("numbers", "expired", "new"),
    [
        ((1, 66), [], range(2, 66)),
        ((1, 67), [1, 2], range(3, 67)),
        ((1, 500), [1, 2, 435], range(436, 500)),
        ((1, 3, 500), [1, 2, 3, 435], range(436, 500)),
        (range(1, 131, 2), [], range(2, 130, 2)),
        (range(1, 133, 2), [1, 2], range(4, 132, 2)),
    ],
    ids=["64 are missing", "65", "many at once", "and some before", "64 one by one", "65"],
)
def test_more_missing_numbers_than_are_kept_are_expired(
    numbers: Iterable[int], expired: list[int], new: Iterable[int]
) -> None:
    known = heard(*numbers)
    (window,) = mark(known).clients
    assert window.missing == tuple(new) and len(window.missing) <= MISSING
    assert set(standings(known, expired)) <= {"expired"}
    assert set(standings(known, new)) == {"new"}
    assert "new" not in standings(known, set(range(1, window.highest + 1)) - set(new))


def test_what_an_unknown_client_sends_again_is_expired_and_not_new() -> None:
    known = heard(1, client="another")
    assert standings(known, [5], again=False) == ["new"]
    assert standings(known, [5], again=True) == ["expired"]


@pytest.mark.parametrize("seed", range(20))
def test_a_request_never_counts_twice_in_whatever_order_they_come(seed: int) -> None:
    random, known, counted = Random(seed), Requests(), set[int]()
    numbers = [max(number + random.randint(-90, 90), 1) for number in range(400)]
    for number in numbers + random.sample(numbers, 200):
        standing = known.standing(ClientRequest("c", number), again=False)
        if standing == "new":
            assert number not in counted
            counted.add(number)
            take(known, turn(ClientRequest("c", number)))
        elif standing == "known":
            assert number in counted, "what counts never is said to have counted"


# --- other shards and strangers ---------------------------------------------------------------


def test_messages_of_a_shard_come_in_order_so_that_the_last_one_is_enough() -> None:
    known = Requests()
    take(known, turn(Origin(LOG, 3, 20, 1)))
    expected = {
        Origin(LOG, 3, 20, 1): "known",
        Origin(LOG, 3, 20, 0): "known",
        Origin(LOG, 3, 19, 7): "known",
        Origin(LOG, 3, 20, 2): "new",
        Origin(LOG, 3, 21, 0): "new",
        Origin(LOG, 4, 1, 0): "new",
        Origin(OTHER_LOG, 3, 1, 0): "new",
    }
    for again in (False, True):
        assert {each: known.standing(each, again=again) for each in expected} == expected


def test_a_request_with_a_name_counts_once_and_one_without_identity_whenever_it_is_read() -> None:
    known = Requests()
    take(known, turn(NamedRequest("r-1")))
    take(known, turn(None))
    for again in (False, True):
        assert known.standing(NamedRequest("r-1"), again=again) == "known"
        assert known.standing(NamedRequest("r-2"), again=again) == "new"
        assert known.standing(None, again=again) == "new"


# --- answers without a turn -------------------------------------------------------------------


def test_a_strangers_id_that_is_that_of_a_key_says_nothing_of_what_the_key_was_used_for() -> None:
    known, request = Requests(), keyed("event", "w", "k", "go")
    take(known, turn(NamedRequest(identity(request))))
    assert known.standing(request, again=False) == "known"
    assert known.used_for(request) is None


@pytest.mark.parametrize("cause", [ClientRequest("c", 1), NamedRequest("r-1")], ids=str)
@pytest.mark.parametrize("told", [TOLD, Accepted("run-1", created=False)], ids=str)
def test_a_request_that_left_no_turn_counts_and_is_told_the_same_again(
    cause: Any, told: Any
) -> None:
    known = Requests()
    assert known.answer(cause) is None
    take(known, answered(cause, told))
    assert known.standing(cause, again=True) == "known"
    assert known.answer(cause) == told
    assert known.answer(ClientRequest("c", 2)) is None
    again = Requests()
    take(again, mark(known))
    assert again.answer(cause) == told


@pytest.mark.parametrize(
    ("cause", "answer"),
    [
        (Origin(LOG, 3, 20, 1), TOLD),
        (None, TOLD),
    ],
    ids=str,
)
def test_what_nobody_asks_for_again_is_not_kept(cause: Any, answer: Any) -> None:
    known = Requests()
    take(known, answered(cause, answer))
    assert known.answer(cause) is None
    assert known.standing(cause, again=True) == ("new" if cause is None else "known")


# --- bounds -----------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three are always remembered, and up to five for their time."""
    monkeypatch.setattr(dedup, "KEPT", 3)
    for name in ("KEPT_MAX", "SOURCES_MAX"):
        monkeypatch.setattr(dedup, name, 5)


def filled(causes: Iterable[tuple[Any, int]], **how: Any) -> Requests:
    known = Requests()
    for cause, after_ms in causes:
        made = answered(cause, now_ms=NOW + after_ms) if how else turn(cause, NOW + after_ms)
        take(known, made)
    return known


def clients(known: Requests) -> list[str]:
    return sorted(window.client for window in mark(known).clients)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("ages", "left"),
    [
        ([0, 0, 0], "012"),
        ([0, 0, 0, CLIENT_MS], "0123"),
        ([0, 0, 0, CLIENT_MS + 1], "123"),
        ([0, 0, 0, 0, CLIENT_MS + 1], "234"),
        ([0, 0, 1, 1, 1], "01234"),
        ([0, 1, 2, 3, 4, 5], "12345"),
        ([0, 1, 2, CLIENT_MS * 99], "123"),
        ([0, 1, CLIENT_MS * 99], "012"),
    ],
    ids=str,
)
def test_clients_beyond_a_count_are_forgotten_when_they_were_silent_for_long(
    ages: list[int], left: str
) -> None:
    causes = [(ClientRequest(str(n), 1), age) for n, age in enumerate(ages)]
    assert clients(filled(causes)) == list(left)


@pytest.mark.usefixtures("small")
def test_a_client_that_speaks_again_is_not_the_oldest_one() -> None:
    causes = [(ClientRequest(name, 1), n) for n, name in enumerate("abcde")]
    known = filled([*causes, (ClientRequest("a", 2), 9), (ClientRequest("f", 1), 10)])
    assert clients(known) == list("acdef")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("ages", "left"),
    [([0, 0, 0, NAMED_MS], "0123"), ([0, 0, 0, NAMED_MS + 1], "123"), ([0] * 6, "12345")],
    ids=str,
)
def test_names_beyond_a_count_are_forgotten_after_a_day(ages: list[int], left: str) -> None:
    known = filled([(NamedRequest(str(n)), age) for n, age in enumerate(ages)])
    assert sorted(window.id for window in mark(known).named) == list(left)
    assert known.standing(NamedRequest("0"), again=True) == ("known" if "0" in left else "new")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("again", [True, False])
def test_the_last_answers_are_kept_and_those_before_are_expired(again: bool) -> None:
    causes = [(ClientRequest("c", n), n) for n in range(1, 6)]
    known = filled(causes, refused=True)
    found = [known.answer(cause) for cause, _ in causes]
    assert found == [None, None, TOLD, TOLD, TOLD]
    standing = [known.standing(cause, again=again) for cause, _ in causes]
    assert standing == ["expired"] * 2 + ["known"] * 3
    kept = mark(known)
    again_known = Requests((*kept.clients, *kept.answers))
    assert [again_known.standing(cause, again=again) for cause, _ in causes] == standing


@pytest.mark.usefixtures("small")
def test_an_answer_that_is_forgotten_expires_nobody_elses_request() -> None:
    known = filled([(ClientRequest("a", 1), 0)], refused=True)
    for n, name in enumerate("bcd"):
        take(known, answered(ClientRequest(name, 1), now_ms=NOW + n))
    standing = [known.standing(ClientRequest(name, 1), again=True) for name in "abcd"]
    assert standing == ["expired", "known", "known", "known"]
    assert known.standing(ClientRequest("a", 2), again=False) == "new"


@pytest.mark.usefixtures("small")
def test_of_many_shards_the_ones_that_were_silent_longest_are_forgotten() -> None:
    origins = [Origin(LOG, shard, 9, 0) for shard in range(7)]
    known = filled([(origin, n) for n, origin in enumerate(origins)])
    assert [known.standing(each, again=False) for each in origins] == ["new"] * 2 + ["known"] * 5


def test_a_clock_that_jumps_back_forgets_nobody() -> None:
    known = Requests()
    for number in range(1_200):
        take(known, turn(ClientRequest(str(number), 1), NOW - number * CLIENT_MS))
    assert len(mark(known).clients) == 1_200


@pytest.mark.slow
def test_what_is_always_remembered_fits_into_a_record_of_the_log() -> None:
    known = Requests()
    for number in range(10_500):
        id, now_ms = f"{number:05}" * 8, NOW + number
        for far in (1, 200):
            take(known, turn(ClientRequest(id, far), now_ms))
        take(known, turn(NamedRequest(id), now_ms))
        refused = Refused("CommandRejected", "why " * 1_000)
        take(known, answered(ClientRequest(id, 300), refused, now_ms))
    made = mark(known)
    assert (len(made.clients), len(made.named), len(made.answers)) == (10_000, 10_000, 1_000)
    assert len(encode(made)) < 15_000_000


# --- marks and rows ---------------------------------------------------------------------------


def random_record(random: Random, now_ms: int) -> Turn | Answered:
    client = ClientRequest(random.choice("abcdefgh"), random.randint(1, 200))
    named = NamedRequest(str(random.randint(1, 12)))
    origin = Origin(random.choice((LOG, OTHER_LOG)), random.randint(0, 5), now_ms - NOW, 0)
    cause = random.choice((client, client, named, origin, None))
    return turn(cause, now_ms) if random.random() < 0.7 else answered(cause, now_ms=now_ms)


def asked(known: Requests) -> list[object]:
    """Return what is told of every request that ``random_record`` can make."""
    causes: list[Any] = [ClientRequest(c, n) for c in "abcdefgh" for n in range(1, 201)]
    causes += [NamedRequest(str(n)) for n in range(1, 13)]
    return [(known.standing(each, again=True), known.answer(each)) for each in causes]


def same(one: Requests, other: Requests) -> bool:
    """Return whether both tell the same now, and will forget the same, in the same order."""
    return asked(one) == asked(other) and mark(one) == mark(other)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(10))
def test_rows_hold_exactly_what_is_known_at_each_moment(seed: int) -> None:
    """Rows of the tables, a mark, a copy, and a shard that folds the log later: all the same."""
    random, known = Random(seed), Requests()
    rows: dict[str, Any] = {}
    now_ms = NOW
    for step in range(300):
        now_ms += random.choice((0, 0, 1, 1, 1_000, CLIENT_MS))
        record = random_record(random, now_ms)
        take(known, record)
        if step % 7 == 0:
            take(known, mark(known, now_ms))
        if random.random() < 0.5:
            rows.update(known.changes())
        if step % 50 == 49:
            rows.update(known.changes())
            assert known.changes() == []
            held = [row for row in rows.values() if row is not None]
            assert same(Requests(random.sample(held, len(held))), known)
            assert same(known.copy(), known)
            folded = Requests()
            take(folded, mark(known, now_ms))
            assert same(folded, known)


def test_a_mark_says_all_there_is_and_what_it_does_not_say_is_not_known() -> None:
    known = heard(1, 2)
    take(known, turn(NamedRequest("gone")))
    known.changes()
    other = heard(1, 3, now_ms=NOW + 5)
    take(other, turn(NamedRequest("there"), NOW + 5))
    take(known, mark(other))
    assert standings(known, (1, 2, 3)) == ["known", "new", "known"]
    assert known.standing(NamedRequest("gone"), again=True) == "new"
    (client,), (named,) = mark(other).clients, mark(other).named
    assert dict(known.changes()) == {"cc": client, "nthere": named, "ngone": None}


def test_only_what_changed_is_a_row() -> None:
    known = heard(1, 2)
    assert [name for name, _ in known.changes()] == ["cc"]
    take(known, mark(known))
    assert known.changes() == [], "a mark that says what is known"
    take(known, turn(ClientRequest("d", 1)))
    assert [name for name, _ in known.changes()] == ["cd"]


def test_what_a_copy_learns_is_its_own() -> None:
    known = heard(1)
    copy = known.copy()
    take(copy, turn(ClientRequest("c", 2)))
    take(copy, turn(ClientRequest("c", 5)))
    take(known, replace(turn(ClientRequest("c", 3))))
    assert standings(known, range(1, 7)) == ["known", "new", "known", "new", "new", "new"]
    assert standings(copy, range(1, 7)) == ["known", "known", "new", "new", "known", "new"]
