"""The fold of a log into tables: what counts, what is left of what, and what nobody can mend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from processor.core.data.cause import Cause, ClientRequest, NamedRequest, Origin
from processor.core.nouns.activity import ActivityCompleted
from processor.core.nouns.run import WorkflowCompleted
from processor.core.nouns.timer import TimerFired, TimerStarted
from processor.core.nouns.value import StatusSet
from processor.core.records.marks import Mark
from processor.core.records.turn import Positions
from processor.errors import LogTruncated, StoreCorrupt
from processor.policy import Status
from processor.shard.flight import ShardLost
from processor.shard.ports import ClaimRow, LogRecord
from processor.shard.recovery.takeover import Taken
from processor.store.keyvalue import Memory
from processor.store.tables import StateTables
from tests.contract.records import STARTED, again, scheduled, tell, waits
from tests.contract.stores import IDENTITY

from .logs import WrittenLog

ALL = 1 << 40
EVENT = StatusSet(b"1")
DONE = WorkflowCompleted(b"1")


@pytest.fixture
def log() -> WrittenLog:
    """A log that begins with a claim."""
    log = WrittenLog()
    log.claim()
    return log


def gone(tables: StateTables) -> list[bytes]:
    """Return the keys that may go once they are covered."""
    return [key for _, key in tables.replaced(ALL, 1_000)]


# --- claims and ghosts ------------------------------------------------------------------------


def test_records_that_name_the_last_claim_count(log: WrittenLog) -> None:
    log.write("a-1", [STARTED], [EVENT])
    log.claim("another")
    log.write("a-1", [EVENT], [DONE])
    taken, tables = log.take_over()
    assert (taken.turns, taken.ghosts, taken.epoch) == (4, 0, 6)
    run = tables.run("a-1")
    assert run is not None and (run.status, run.events) == (Status.COMPLETED, 4)
    assert taken.checkpoint.next_offset == 7
    assert taken.checkpoint.positions == Positions(6, 1, 2), "those of the last record that counts"


def test_what_an_earlier_owner_wrote_behind_a_claim_counts_for_nothing_and_is_deleted(
    log: WrittenLog,
) -> None:
    before = log.owner
    log.write("a-1", [STARTED])
    epoch = log.claim("another")
    after, log.owner = log.owner, before
    (ghost,) = log.write("b-1", [STARTED])
    log.owner = after
    log.write("a-1", [EVENT])
    taken, tables = log.take_over()
    assert (taken.turns, taken.ghosts) == (2, 1)
    assert tables.run("b-1") is None
    assert log.replaced(ghost)[0] in gone(tables)
    claims = list(tables.claims())
    assert [claim.offset for claim in claims] == [epoch, taken.epoch]
    assert claims[0].ghosts == (ghost,), "this claim has to stay, or the ghost would count"
    assert log.replaced(0) == [key for key in gone(tables) if key.startswith(b"claim/")]


def test_a_claim_may_go_when_the_ghosts_that_it_exposes_are_gone(log: WrittenLog) -> None:
    before, epoch = log.owner, log.claim("another")
    log.owner = before
    ghosts = [*log.write("b-1", [STARTED]), *log.write("c-1", [STARTED])]
    _, tables = log.take_over()
    _, tables = log.cleaned(ghosts[0]).take_over(tables)
    assert epoch in [claim.offset for claim in tables.claims()], "one ghost is there still"
    log.put(log.replaced(ghosts[1])[0], None)
    taken, tables = log.cleaned(ghosts[1]).take_over(tables)
    assert [claim.offset for claim in tables.claims()] == [taken.epoch]
    assert log.replaced(epoch)[0] in gone(tables)


def test_a_claim_with_more_ghosts_than_can_be_looked_after_stays(log: WrittenLog) -> None:
    before, epoch = log.owner, log.claim("another")
    log.owner = before
    ghosts = [log.write(f"b-{number}", [STARTED])[0] for number in range(100)]
    taken, tables = log.take_over()
    assert taken.ghosts == 100
    assert set(log.replaced(*ghosts)) <= set(gone(tables)), "each of them is deleted"
    log.cleaned(*ghosts).take_over(tables)
    assert epoch in [claim.offset for claim in tables.claims()]


def test_a_claim_that_is_gone_is_known_by_the_records_that_name_it(log: WrittenLog) -> None:
    before = log.owner
    log.write("a-1", [STARTED])
    epoch = log.claim("another")
    log.write("a-1", [EVENT])
    log.owner = before
    (ghost,) = log.write("b-1", [STARTED])
    taken, tables = log.cleaned(epoch).take_over()
    assert (taken.turns, taken.ghosts) == (2, 1)
    assert tables.run("b-1") is None
    assert next(iter(tables.claims())) == ClaimRow(epoch, b"", (ghost,))


def test_a_tombstone_says_nothing_about_the_state(log: WrittenLog) -> None:
    """That of a ghost may have the key of what is valid, and a process may write one late."""
    (turn, _) = log.write("a-1", [STARTED], [EVENT])
    log.put(log.replaced(turn)[0], None)
    taken, tables = log.take_over()
    run = tables.run("a-1")
    assert run is not None and run.status is Status.RUNNING
    assert [first for first, _ in tables.history("a-1")] == [0, 1]
    assert taken.checkpoint.next_offset == 5


def test_what_has_its_tombstone_already_gets_no_other_one(log: WrittenLog) -> None:
    first, last = log.write("a-1", [STARTED], [DONE])
    log.add(lambda: log.owner.purged("a-1", 50))
    log.put(log.replaced(first)[0], None)
    _, tables = log.take_over()
    assert log.replaced(first)[0] not in gone(tables)
    assert log.replaced(last)[0] in gone(tables)


# --- half of something ------------------------------------------------------------------------


def test_of_a_purged_run_the_cleaner_may_have_left_the_rest(log: WrittenLog) -> None:
    log.owner.cause = ClientRequest("c", 7)
    first, *rest = log.write("a-1", [STARTED], [EVENT], [DONE])
    log.owner.cause = Origin(b"another log, 16.", 3, 9, 0)
    purged = log.add(lambda: log.owner.purged("a-1", 50))
    taken, tables = log.cleaned(first).take_over()
    run = tables.run("a-1")
    assert run is not None and (run.purged_ms, run.status) == (50, Status.COMPLETED)
    assert tables.latest("a") == run
    assert taken.turns == 0 and list(tables.history("a-1")) == []
    assert [row for row in tables.replaced(ALL, 9) if row[0]] == [
        (purged, key) for key in log.replaced(*rest)
    ]
    assert taken.requests.standing(ClientRequest("c", 7), again=True) == "known"


def test_of_a_run_with_a_snapshot_the_cleaner_may_have_left_the_rest(log: WrittenLog) -> None:
    log.owner.cause = ClientRequest("c", 7)
    first, *rest = log.write(
        "a-1",
        [STARTED, scheduled(1), scheduled(2), TimerStarted(3, 90)],
        [EVENT, scheduled(4)],
        waits(4, 70),
        again(4),
    )
    log.owner.cause = None
    snapshot = log.snapshot("a-1", [EVENT])
    log.write("a-1", [ActivityCompleted(2, 1, b"1")], waits(1, 75))
    state = log.owner.states["a-1"]
    taken, tables = log.cleaned(first).take_over()
    run = tables.run("a-1")
    assert run is not None and (run.events, run.base) == (state.events, 6)
    assert tables.latest("a") == run
    held = {row.state.id: (row.state, row.key) for row in tables.open_attempts()}
    assert held == {id: (each.state, each.key) for id, each in state.activities.items()}
    assert [timer.due_ms for timer in tables.timers(-1, 9)] == [75, 90]
    assert [first for first, _ in tables.history("a-1")] == [6, 7]
    assert (snapshot, log.replaced(rest[0])[0]) in tables.replaced(ALL, 9)
    assert taken.requests.standing(ClientRequest("c", 7), again=True) == "known"
    assert taken.turns == 2


def test_an_attempt_that_a_snapshot_ended_is_given_up_where_the_beginning_is_gone(
    log: WrittenLog,
) -> None:
    first, attempt = log.write("a-1", [STARTED, scheduled(1)], waits(1, 70))
    snapshot = log.snapshot("a-1", [ActivityCompleted(1, 1, b"1")])
    _, tables = log.cleaned(first).take_over()
    assert list(tables.open_attempts()) == []
    assert (snapshot, log.replaced(attempt)[0]) in tables.replaced(ALL, 9)


@pytest.mark.parametrize("purged", [False, True], ids=["open", "a record of a purge is gone"])
def test_a_run_without_beginning_and_without_what_stands_for_it_is_no_normal_log(
    log: WrittenLog, purged: bool
) -> None:
    first, *_ = log.write("a-1", [STARTED], [EVENT], [DONE])
    missing = [first]
    if purged:
        missing.append(log.add(lambda: log.owner.purged("a-1", 50)))
    with pytest.raises(LogTruncated, match=r"turns of run a-1, but neither its beginning"):
        log.cleaned(*missing).take_over()


@pytest.mark.parametrize("missing", [[2], [2, 3]], ids=str)
def test_a_hole_in_a_run_is_no_normal_log(log: WrittenLog, missing: list[int]) -> None:
    log.write("a-1", [STARTED], [EVENT], [EVENT], [EVENT])
    with pytest.raises(LogTruncated, match="run a-1 is known up to its event 1"):
        log.cleaned(*missing).take_over()


def test_an_attempt_of_an_activity_that_no_turn_scheduled_is_no_normal_log(log: WrittenLog) -> None:
    _, missing, _ = log.write("a-1", [STARTED], [scheduled(1)], waits(1, 70))
    with pytest.raises(LogTruncated, match="the log holds of it is that activity 1 begins"):
        log.cleaned(missing).take_over()


def test_tables_that_know_a_beginning_and_miss_what_followed_are_folded_afresh(
    log: WrittenLog,
) -> None:
    log.write("a-1", [STARTED])
    log.write("b-1", [STARTED])
    tables = log.take_over()[1]
    log.claim("another")
    missed = log.write("a-1", [EVENT], [EVENT])
    log.snapshot("a-1", [EVENT])
    ended = log.write("b-1", [DONE])
    log.add(lambda: log.owner.purged("b-1", 50))
    log.cleaned(1, *missed)
    with pytest.raises(StoreCorrupt, match="run a-1 is known up to its event 1"):
        log.take_over(tables)
    log.cleaned(2, *ended)
    taken, afresh = log.take_over()
    assert taken.turns == 1 and [run.run_id for run in afresh.runs("")] == ["a-1", "b-1"]


def test_tables_that_miss_how_a_purged_run_ended_are_folded_afresh(log: WrittenLog) -> None:
    log.write("b-1", [STARTED])
    tables = log.take_over()[1]
    log.claim("another")
    ended = log.write("b-1", [DONE])
    log.add(lambda: log.owner.purged("b-1", 50))
    with pytest.raises(StoreCorrupt, match="run b-1 is known up to its event 1"):
        log.cleaned(1, *ended).take_over(tables)


class CleanedMeanwhile(WrittenLog):
    """A log that is cleaned while it is folded: once, when the reader has come so far."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = -1
        self.then: Callable[[], object] = lambda: None

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        for record in super().read(first, end):
            if self.records.get(record.offset) is record:
                yield record
            if record.offset == self.reached and end == self.end - 1:  # up to the claim
                self.reached = -1
                self.then()


def test_a_log_that_is_cleaned_while_it_is_read_is_read_again() -> None:
    log = CleanedMeanwhile()
    log.claim()
    turns = log.write("a-1", [STARTED], [EVENT], [EVENT], [EVENT])
    log.snapshot("a-1", [EVENT])
    log.reached, log.then = turns[1], lambda: log.cleaned(*turns)
    with pytest.raises(StoreCorrupt, match=r"known up to its event 2.* the log was cleaned mean"):
        log.take_over()
    taken, tables = log.take_over()
    run = tables.run("a-1")
    assert taken.turns == 1 and run is not None and run.events == 5


@pytest.mark.parametrize("passed", [0, 1], ids=["before its beginning", "behind it"])
def test_what_a_later_owner_has_cleaned_is_not_taken_for_lost(passed: int) -> None:
    """A process that is paused while it folds: what stands for the turns is behind its claim."""
    log = CleanedMeanwhile()
    log.claim()
    turns = log.write("a-1", [STARTED], [EVENT], [EVENT], [EVENT])

    def goes_on() -> None:
        log.claim("a later owner")
        log.snapshot("a-1", [EVENT])
        log.cleaned(*turns[:3])

    log.reached, log.then = turns[0] - 1 + passed, goes_on
    with pytest.raises(ShardLost, match="another owner has claimed it, and the log was cleaned"):
        log.take_over()
    assert log.take_over()[0].turns == 1


# --- any fold comes to the same ---------------------------------------------------------------


def life(log: WrittenLog, random: Random, steps: int) -> None:
    """Let owners write at random, some of it as ghosts, and purge what has ended."""
    former = [log.owner]
    for _ in range(steps):
        deed = random.random()
        log.owner.cause = any_cause(log, random)
        if deed < 0.05:
            former.append(log.owner)
            log.claim()
        elif deed < 0.1:
            owner, log.owner = log.owner, random.choice(former)
            log.add(log.owner.answered)
            log.owner = owner
        elif deed < 0.15:
            log.mark()
        elif deed < 0.2:
            log.add(log.owner.answered)
        elif deed < 0.25:
            purge(log, random)
        else:
            go_on(log, random)


def any_cause(log: WrittenLog, random: Random) -> Cause | None:
    client = ClientRequest(random.choice("abc"), log.end - random.choice((0, 1, 9)))
    origin = Origin(b"another log, 16.", random.randrange(3), log.end, 0)
    return random.choice((client, origin, NamedRequest(str(log.end)), None))


def purge(log: WrittenLog, random: Random) -> None:
    closed = [id for id, state in log.owner.states.items() if state.closed_ms is not None]
    if closed:
        run_id = random.choice(closed)
        log.add(lambda: log.owner.purged(run_id, log.end))


def go_on(log: WrittenLog, random: Random) -> None:
    """Let a run begin, or something happen to one that is open."""
    states = log.owner.states
    run_id = random.choice([id for id in states if states[id].closed_ms is None] or [""])
    if not run_id or random.random() < 0.2:
        log.write(f"{log.end}-1", [STARTED, scheduled(1), TimerStarted(2, 90)])
    elif 1 in states[run_id].activities and random.random() < 0.7:
        attempts = [waits(1, 70), again(1), again(1, 3)]
        log.write(run_id, random.choice([*attempts, [ActivityCompleted(1, 1, b"1")]]))
    elif random.random() < 0.3:
        ended = [ActivityCompleted(1, 1, b"1")] if 1 in states[run_id].activities else []
        log.snapshot(run_id, random.choice([[EVENT], [*ended, EVENT]]))
    elif random.random() < 0.3 and states[run_id].timers:
        log.write(run_id, [TimerFired(2)])
    else:
        log.write(run_id, random.choice([[EVENT], [DONE], [EVENT, scheduled(3), DONE]]))


NOTHING = Mark(0, 0, "eager", Positions(), 0, 0)


def counted(taken: Taken) -> Mark:
    """Return all that is known to have counted."""
    return taken.requests.marked(NOTHING)


def rows(tables: StateTables) -> set[tuple[int, bytes]]:
    """Return what may go, but for claims: who gives them up depends on who has seen them."""
    return {row for row in tables.replaced(ALL, 9_000) if not row[1].startswith(b"claim/")}


@pytest.mark.parametrize("seed", range(15))
def test_tables_that_were_there_and_new_ones_come_to_the_same(seed: int) -> None:
    random = Random(seed)
    log = WrittenLog()
    tables = StateTables(Memory(), IDENTITY)
    for _ in range(4):
        log.claim()
        life(log, random, 50)
        afresh, new = log.take_over()
        del log.records[afresh.epoch]  # as if nobody had looked
        log.end = afresh.epoch
        taken, _ = log.take_over(tables)
        assert tell(new)[:-2] == tell(tables)[:-2]
        assert rows(new) == rows(tables)
        assert afresh.checkpoint == taken.checkpoint
        assert counted(afresh) == counted(taken) == log.counted.marked(NOTHING)
        assert taken.ghosts <= afresh.ghosts


def forget(log: WrittenLog, tables: StateTables, random: Random) -> None:
    """Let the owner append a mark, and then tombstones for some of what that covers, in order."""
    below = log.mark()
    for _, key in tables.replaced(below, random.randrange(40)):
        log.put(key, None)


def clean(log: WrittenLog, below: int) -> None:
    """Keep the last record of each key below an offset, as a cleaner does, and tombstones."""
    last = {each.key: each.offset for each in log.records.values() if each.offset < below}
    for offset, each in list(log.records.items()):
        if offset < below and last[each.key] != offset:
            log.cleaned(offset)


def needed(tables: StateTables) -> object:
    """Return what the tables say, without turns that are given up, and where attempts began."""
    runs = list(tables.runs(""))
    attempts = [(row.run_id, row.state, row.key) for row in tables.open_attempts()]
    kept = [run for run in runs if run.purged_ms is None]
    histories = [list(tables.history(run.run_id, run.base)) for run in kept]
    return runs, attempts, histories, tables.timers(-1, 1_000), list(tables.requests())


@pytest.mark.parametrize("seed", range(25))
def test_a_log_of_which_a_cleaner_took_a_part_comes_to_the_same(seed: int) -> None:
    """Wherever the cleaner stopped, which may be in the middle of a run."""
    random = Random(seed)
    log = WrittenLog()
    tables = StateTables(Memory(), IDENTITY)
    for _ in range(6):
        log.claim()
        life(log, random, 40)
        log.take_over(tables)
        log.claim()
        forget(log, tables, random)
        log.take_over(tables)
        clean(log, random.randrange(log.end))
        log.claim()
        taken, _ = log.take_over(tables)
        del log.records[taken.epoch]
        log.end = taken.epoch
        afresh, new = log.take_over()
        assert needed(new) == needed(tables)
        assert rows(new) <= rows(tables), "what the cleaner took needs no tombstone"
        assert afresh.checkpoint == taken.checkpoint
        assert counted(afresh) == counted(taken) == log.counted.marked(NOTHING)
