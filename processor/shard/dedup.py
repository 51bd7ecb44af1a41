"""Which messages and requests have counted, so that each counts once however often it arrives.

Three kinds of senders are known. Other shards send messages with an origin, in order: the highest
one of each is enough. Our clients number their requests for each shard, in order: the highest
number is kept, and the numbers below it that have not come, because Kafka may refuse one record and
take those behind it. Strangers give their requests ids, or nothing; what has no identity counts
once because its place in the input is read once.

A client sends again only what a broker has acknowledged before (``again``). The copy before it was
read before it, so it has counted: where nothing is known of that any more it is expired, not new.

All of it is bounded by count, so that no clock decides what is forgotten, but for what exceeds a
number that small installations never reach.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Literal, TypeAlias, TypeVar

from processor.core.data.cause import (
    CallRequest,
    Cause,
    ClientRequest,
    NamedRequest,
    Origin,
    identity,
    is_keyed,
    keyed_for,
)
from processor.core.records.answers import Accepted, Refused
from processor.core.records.marks import (
    Answered,
    ClientWindow,
    KnownAnswer,
    Mark,
    NamedWindow,
    SourceWindow,
)
from processor.core.records.snapshot import Snapshot
from processor.core.records.turn import AttemptRecord, Purged, Turn

__all__ = ("REASON_MAX", "Known", "Requests", "Row", "UnderClaim")

MISSING_MAX: Final = 64
"""Numbers of a client that have not come, and may still come."""

KEPT: Final = 1_000
"""So many clients, ids and refusals are always remembered."""

SOURCES_MAX: Final = 10_000
KEPT_MAX: Final = 10_000
CLIENT_MS: Final = 10 * 60 * 1000
NAMED_MS: Final = 24 * 3600 * 1000
"""More of them, up to ``KEPT_MAX``, are remembered for this time after their last word."""

REASON_MAX: Final = 500
"""Characters of a refusal that are kept: with all the bounds, a mark is below 13 MB."""

Standing = Literal["new", "known", "expired"]
UnderClaim: TypeAlias = Turn | AttemptRecord | Snapshot | Purged | Mark | Answered
Known: TypeAlias = SourceWindow | ClientWindow | NamedWindow | KnownAnswer
"""One thing that is remembered: a row of the tables."""

Row: TypeAlias = tuple[str, Known | None]
"""The name of a row and what it holds; None where it is to be deleted."""


K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class _Window:
    highest: int
    floor: int
    heard_ms: int
    heard_at: int
    missing: list[int] = field(default_factory=list)

    def standing(self, number: int, *, again: bool) -> Standing:
        if number > self.highest or number in self.missing:
            return "expired" if again else "new"
        return "expired" if number < self.floor else "known"

    def note(self, number: int, now_ms: int, offset: int) -> None:
        self.heard_ms, self.heard_at = now_ms, offset
        if number == self.highest + 1:  # as it is unless a record was lost on the way
            self.highest = number
            return
        if number <= self.highest:
            if number in self.missing:
                self.missing.remove(number)
            return
        first = max(self.highest + 1, number - MISSING_MAX)
        if first > self.highest + 1:
            self.floor, self.missing = first, []
        self.missing += range(first, number)
        if len(self.missing) > MISSING_MAX:
            self.floor = self.missing[-MISSING_MAX - 1] + 1
            self.missing = self.missing[-MISSING_MAX:]
        self.highest = number


class Requests:
    """What has counted. ``changes`` drains the rows that are other ones since it was asked."""

    def __init__(self, known: Iterable[Known] = ()) -> None:
        self._sources: OrderedDict[tuple[bytes, int], SourceWindow] = OrderedDict()
        self._clients: OrderedDict[str, _Window] = OrderedDict()
        self._named: OrderedDict[str, NamedWindow] = OrderedDict()
        self._answers: OrderedDict[str, KnownAnswer] = OrderedDict()
        self._changed: set[str] = set()
        for each in sorted(known, key=attrgetter("heard_at")):
            self._load(each)

    def copy(self) -> Requests:
        """Return what knows the same, and changes by itself."""
        return Requests(self._all())

    def standing(self, cause: Cause | None, *, again: bool) -> Standing:
        """Return whether an input with this identity would count now."""
        match cause:
            case None:
                return "new"
            case Origin():
                seen = self._sources.get((cause.log, cause.shard))
                if seen is None:
                    return "new"
                last = seen.origin.offset, seen.origin.index
                return "new" if (cause.offset, cause.index) > last else "known"
            case ClientRequest():
                window = self._clients.get(cause.client)
                if window is None:
                    return "expired" if again else "new"
                return window.standing(cause.number, again=again)
            case NamedRequest():
                return "known" if identity(cause) in self._named else "new"

    def used_for(self, cause: Cause | None) -> str | None:
        """Return what the key of a request was used for before, as long as that is known."""
        known = self._named.get(identity(cause)) if is_keyed(cause) else None
        before = None if known is None else NamedRequest(known.id)
        return keyed_for(before) if is_keyed(before) else None

    def answer(self, cause: Cause | None) -> Accepted | Refused | None:
        """Return what a request was told that left no turn, as long as that is known."""
        if not isinstance(cause, ClientRequest | NamedRequest):
            return None
        known = self._answers.get(_answer_row(cause))
        return None if known is None else known.answer

    def take(self, record: UnderClaim, offset: int) -> None:
        """Note what a record of the log says has counted."""
        if isinstance(record, Mark):
            self._take_mark(record)
            return
        cause = record.cause
        if cause is None:
            return
        if isinstance(cause, CallRequest):
            cause = cause.origin
        answer = record.answer if isinstance(record, Answered) else None
        if isinstance(answer, Refused) and is_keyed(cause):
            return  # it may be sent again, and count then
        self._note(cause, record.time_ms, offset)
        if answer is not None and not isinstance(cause, Origin):
            assert isinstance(answer, Accepted | Refused), f"a request is told {answer}"
            self._note_answer(cause, answer, offset)

    def marked(self, mark: Mark) -> Mark:
        """Return a mark with all that is known."""
        return Mark(
            mark.epoch,
            mark.time_ms,
            mark.source,
            mark.positions,
            mark.delivered,
            mark.published,
            tuple(self._sources.values()),
            tuple(self._client_windows()),
            tuple(self._named.values()),
            tuple(self._answers.values()),
            mark.forgotten_ms,
        )

    def changes(self) -> list[Row]:
        changed, self._changed = self._changed, set()
        return [(name, self._row(name)) for name in changed]

    # --- what comes in ------------------------------------------------------------------------

    def _note(self, cause: Cause, time_ms: int, offset: int) -> None:
        match cause:
            case ClientRequest():
                self._note_client(cause, time_ms, offset)
            case Origin():
                source = cause.log, cause.shard
                self._sources[source] = SourceWindow(cause, offset)
                self._sources.move_to_end(source)
                self._changed.add(_source_row(cause))
                if len(self._sources) > SOURCES_MAX:
                    _, forgotten = self._sources.popitem(last=False)
                    self._changed.add(_source_row(forgotten.origin))
            case NamedRequest():
                name = identity(cause)
                self._named[name] = NamedWindow(cause.id, time_ms, offset)
                self._named.move_to_end(name)
                self._changed.add(f"n{name}")
                for id in _outdated(self._named, lambda each: each.heard_ms, time_ms - NAMED_MS):
                    del self._named[id]
                    self._changed.add(f"n{id}")

    def _note_client(self, request: ClientRequest, time_ms: int, offset: int) -> None:
        client, number = request.client, request.number
        window = self._clients.get(client)
        if window is None:
            floor = max(number - MISSING_MAX, 1)
            missing = [*range(floor, number)]
            self._clients[client] = _Window(number, floor, time_ms, offset, missing)
            before_ms = time_ms - CLIENT_MS
            for each in _outdated(self._clients, lambda window: window.heard_ms, before_ms):
                del self._clients[each]
                self._changed.add(f"c{each}")
        else:
            window.note(number, time_ms, offset)
            self._clients.move_to_end(client)
        self._changed.add(f"c{client}")

    def _note_answer(
        self, cause: ClientRequest | NamedRequest, answer: Accepted | Refused, offset: int
    ) -> None:
        name = _answer_row(cause)
        self._answers[name] = KnownAnswer(cause, answer, offset)
        self._answers.move_to_end(name)
        self._changed.add(name)
        if len(self._answers) > KEPT:
            row, forgotten = self._answers.popitem(last=False)
            self._changed.add(row)
            self._expire(forgotten.cause)

    def _expire(self, cause: ClientRequest | NamedRequest) -> None:
        """Expire a request whose answer is forgotten: nobody knows whether it was refused."""
        if isinstance(cause, ClientRequest) and cause.client in self._clients:
            window = self._clients[cause.client]
            window.floor = max(window.floor, cause.number + 1)
            self._changed.add(f"c{cause.client}")

    def _take_mark(self, mark: Mark) -> None:
        """Know what a mark says and nothing else: it stands for all that was before it."""
        changed, before = self._changed, {_name(each): each for each in self._all()}
        known: tuple[Known, ...] = (
            *mark.sources,
            *mark.clients,
            *mark.named,
            *mark.answers,
        )
        self._sources.clear()
        self._clients.clear()
        self._named.clear()
        self._answers.clear()
        for each in known:
            self._load(each)
            if before.pop(_name(each), None) != each:
                changed.add(_name(each))
        self._changed = changed.union(before)

    # --- rows ---------------------------------------------------------------------------------

    def _load(self, known: Known) -> None:
        match known:
            case SourceWindow():
                self._sources[known.origin.log, known.origin.shard] = known
            case ClientWindow():
                self._clients[known.client] = _Window(
                    known.highest, known.floor, known.heard_ms, known.heard_at, [*known.missing]
                )
            case NamedWindow():
                self._named[identity(NamedRequest(known.id))] = known
            case KnownAnswer():
                self._answers[_answer_row(known.cause)] = known

    def _all(self) -> Iterator[Known]:
        yield from self._sources.values()
        yield from self._client_windows()
        yield from self._named.values()
        yield from self._answers.values()

    def _client_windows(self) -> Iterator[ClientWindow]:
        for client in self._clients:
            yield self._client_window(client)

    def _client_window(self, client: str) -> ClientWindow:
        window = self._clients[client]
        return ClientWindow(
            client,
            window.highest,
            window.floor,
            tuple(window.missing),
            window.heard_ms,
            window.heard_at,
        )

    def _row(self, name: str) -> Known | None:
        kind, rest = name[0], name[1:]
        if kind == "c":
            return self._client_window(rest) if rest in self._clients else None
        if kind == "n":
            return self._named.get(rest)
        if kind == "s":
            log, _, shard = rest.partition("/")
            return self._sources.get((bytes.fromhex(log), int(shard)))
        return self._answers.get(name)


def _outdated(known: OrderedDict[K, V], heard_ms: Callable[[V], int], before_ms: int) -> list[K]:
    """Return what is to be forgotten of something that has just grown, the oldest first."""
    over = len(known) - KEPT
    if over <= 0:
        return []
    found: list[K] = []
    for key, value in known.items():
        is_kept = len(known) - len(found) <= KEPT_MAX and heard_ms(value) >= before_ms
        if len(found) >= over or is_kept:
            break
        found.append(key)
    return found


def _name(known: Known) -> str:
    match known:
        case SourceWindow():
            return _source_row(known.origin)
        case ClientWindow():
            return f"c{known.client}"
        case NamedWindow():
            return f"n{identity(NamedRequest(known.id))}"
        case KnownAnswer():
            return _answer_row(known.cause)


def _source_row(origin: Origin) -> str:
    return f"s{origin.log.hex()}/{origin.shard}"


def _answer_row(cause: ClientRequest | NamedRequest) -> str:
    if isinstance(cause, ClientRequest):
        return f"ac{cause.number}/{cause.client}"
    return f"an{identity(cause)}"
