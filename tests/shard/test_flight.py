"""Records on their way into the log: in order, and by nobody but us."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from processor.codec.records import encode
from processor.core.data.address import ReplyTo
from processor.core.nouns.value import StatusSet
from processor.core.records.answers import Accepted
from processor.core.records.effects import Reply
from processor.core.records.marks import Mark, mark_key
from processor.core.records.turn import Claim, Positions, Turn, claim_key, turn_key
from processor.shard.flight import Flight, Ghost, ShardLost, ShardRecord, Tombstone
from processor.shard.ports import LogRecord

EPOCH = 10


class WrittenLog:
    """A log into which others write as well; ``lost``: the next offset is not told to us."""

    id = b"a log of 16 byte"

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.lost = False
        self._next = EPOCH + 1
        self._acknowledged: list[int] = []

    def append(self, key: bytes, value: bytes | None) -> None:
        self._acknowledged.append(-1 if self.lost else self._next)
        self.other(key, value)

    def other(self, key: bytes, value: bytes | None) -> int:
        """Take a record of somebody else's."""
        self.records.append(LogRecord(self._next, key, value))
        self._next += 1
        return self._next - 1

    @property
    def waiting(self) -> bool:
        return bool(self._acknowledged)

    def acknowledged(self) -> Sequence[int]:
        acknowledged, self._acknowledged = self._acknowledged, []
        return acknowledged

    def read_along(self, first: int, end: int) -> Iterator[LogRecord | None]:
        return self.read(first, end)

    def read(self, first: int, end: int) -> Iterator[LogRecord]:
        yield from (record for record in self.records if first <= record.offset < end)

    def bounds(self) -> tuple[int, int]:
        return 0, self._next


def turn(epoch: int, first: int = 5) -> tuple[bytes, bytes]:
    """Return the key and the value of a turn under a claim."""
    place = ("a", "run-1", epoch, first, 0, "commands", Positions(), 0, None)
    return turn_key("run-1", first, epoch), encode(Turn(*place, (StatusSet(b"1"),)))


MARK = Mark(EPOCH, 0, "eager", Positions(), 0, 0)
REPLY = Reply(ReplyTo(0, "client", 1), Accepted("run"))
CLAIM = claim_key("n"), encode(Claim("another host", "n", 1, 5))


@pytest.fixture
def log() -> WrittenLog:
    return WrittenLog()


def sent(flight: Flight, number: int) -> ShardRecord:
    appended = ShardRecord(b"key-%d" % number, b"value-%d" % number, MARK)
    flight.append(appended)
    return appended


def test_records_are_confirmed_in_their_order_with_their_offsets(log: WrittenLog) -> None:
    flight = Flight(3, log, EPOCH)
    numbers = []
    appended = []
    for number in range(3):
        numbers.append(flight.number)
        appended.append(sent(flight, number))
    assert (len(flight), flight.bytes, flight.waiting) == (3, 21, True)
    assert flight.acknowledged() == appended
    assert [each.offset for each in appended] == numbers == [11, 12, 13]
    assert (len(flight), flight.bytes, flight.waiting) == (0, 0, False)
    assert flight.acknowledged() == [] and flight.ghosts == []


def test_what_waits_for_all_before_it_is_called_back_with_the_last_record(log: WrittenLog) -> None:
    flight, called = Flight(3, log, EPOCH), []
    flight.then(lambda: called.append("nothing was under way"))
    assert called == ["nothing was under way"]
    first, second = sent(flight, 1), sent(flight, 2)
    flight.then(lambda: called.append("later"))
    assert (len(first.after), len(second.after), len(called)) == (0, 1, 1)


@pytest.mark.parametrize("lost", [False, True], ids=["offset told", "offset unknown"])
def test_what_an_earlier_owner_had_under_way_is_a_ghost(log: WrittenLog, lost: bool) -> None:
    flight = Flight(3, log, EPOCH)
    mark = mark_key(12, 4), encode(Mark(4, 0, "eager", Positions(), 0, 0))
    ghosts = [Ghost(log.other(*turn(EPOCH - 1)), turn(EPOCH - 1)[0])]
    ghosts.append(Ghost(log.other(*mark), mark[0]))
    log.other(b"gone", None)
    log.lost = lost
    first = sent(flight, 1)
    log.lost = False
    ghosts.append(Ghost(log.other(*turn(EPOCH - 1, 6)), turn(EPOCH - 1, 6)[0]))
    second = sent(flight, 2)
    assert flight.acknowledged() == [first, second]
    assert (first.offset, second.offset) == (14, 16)
    assert flight.ghosts == ghosts
    assert flight.number == 17


@pytest.mark.parametrize("lost", [False, True], ids=["offset told", "offset unknown"])
@pytest.mark.parametrize(
    ("other", "who"),
    [(CLAIM, "another host claimed it"), (turn(EPOCH + 1), "a later owner wrote")],
    ids=["a claim", "under a claim that is gone"],
)
def test_a_later_owner_ends_our_ownership(
    log: WrittenLog, other: tuple[bytes, bytes], who: str, lost: bool
) -> None:
    flight = Flight(3, log, EPOCH)
    sent(flight, 1)
    log.other(*turn(EPOCH - 1))
    log.other(*other)
    log.lost = lost
    sent(flight, 2)
    with pytest.raises(ShardLost, match=rf"shard 3: {who} at log offset 13, after our claim at 10"):
        flight.acknowledged()


def test_a_claim_behind_our_records_does_not_undo_them(log: WrittenLog) -> None:
    """They counted when they were written; the next one will not."""
    flight = Flight(3, log, EPOCH)
    first = sent(flight, 1)
    log.other(*CLAIM)
    assert flight.acknowledged() == [first]
    sent(flight, 2)
    with pytest.raises(ShardLost):
        flight.acknowledged()


def test_a_record_whose_offset_is_unknown_is_found_by_all_of_it(log: WrittenLog) -> None:
    """A ghost may have the key of one of ours, but not its value too."""
    flight = Flight(3, log, EPOCH)
    (key, value), (_, ghost) = turn(EPOCH), turn(EPOCH - 1)
    log.other(key, ghost)
    log.lost = True
    appended = ShardRecord(key, value, MARK)
    flight.append(appended)
    assert flight.acknowledged() == [appended]
    assert (appended.offset, flight.ghosts) == (12, [Ghost(11, key)])


def test_our_tombstone_is_found_as_well(log: WrittenLog) -> None:
    flight = Flight(3, log, EPOCH)
    log.lost = True
    appended = Tombstone(b"key", (5, b"key"))
    log.other(b"another", None)
    flight.append(appended)
    assert flight.acknowledged() == [appended]
    assert appended.offset == 12


def test_a_record_that_is_nowhere_is_not_taken_for_written(log: WrittenLog) -> None:
    flight = Flight(3, log, EPOCH)
    log.lost = True
    sent(flight, 1)
    log.records.clear()
    with pytest.raises(ShardLost, match="shard 3: our record is not in the log below 12"):
        flight.acknowledged()


NO_RECORDS = [b"junk", b"", b"\xc3\x01", encode(REPLY), CLAIM[1][:-1], encode(MARK)[:-1]]


@pytest.mark.parametrize("value", NO_RECORDS)
def test_what_is_no_record_of_the_log_is_a_ghost(
    log: WrittenLog, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    flight = Flight(3, log, EPOCH, "ns.events")
    ghosts = [Ghost(log.other(b"k%d" % number, value), b"k%d" % number) for number in range(3)]
    ours = sent(flight, 1)
    assert flight.acknowledged() == [ours]
    assert (ours.offset, flight.ghosts) == (14, ghosts)
    assert [each.getMessage()[:23] for each in caplog.records] == ["ns.events[3]: log offset"[:23]]


def test_what_a_later_release_may_have_written_ends_our_ownership(log: WrittenLog) -> None:
    flight = Flight(3, log, EPOCH)
    log.other(b"k", b"\xc3\x01" + b"12345678" + b"of a later release")
    sent(flight, 1)
    with pytest.raises(ShardLost, match="a later release wrote at log offset 11"):
        flight.acknowledged()
