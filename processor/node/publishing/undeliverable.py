"""Records of a shard that their topics will never take: dead letters stand in for them.

A topic may refuse a record for good: it is too large, or invalid, or we may not write there, or
there is no such topic. Then the transaction is aborted, and sent again with a dead letter in the
place of that record. So the letter is written in order and exactly once, as the record would be,
and what comes after it does not wait.

``results`` and ``dead-letters`` are ours. Where they are missing, or not allowed, all waits. No run
may publish to a topic of the namespace's own, or of Kafka's: histories of before may hold it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from processor.checks import is_topic
from processor.codec.records import encode
from processor.core.data.failure import writable
from processor.core.data.undelivered import Undelivered
from processor.core.records.effects import DeadLetter, RunResult
from processor.node.publishing.faults import Asks, Fault, Kind, Place, Refusal, TopicFault
from processor.shard.messages.border import Abroad
from processor.shard.ports import OutputRecord

__all__ = ("NOWHERE", "OWN_TOPIC", "Letter", "Outlets", "Undeliverable")

_log = logging.getLogger("processor.kafka")

OWN_TOPIC: Final = "workflow.publish does not write to Processor's or Kafka's own topics"
"""How the reason of a letter ends whose record could harm where it is for."""

_MISSING_S: Final = 5.0
"""How long a topic may be unknown: brokers hear of a new one one after the other."""

_LEADER_S: Final = 30.0
"""How long a topic may have no leader: a leader that died has its successor by then, if ever."""

_ASK_AGAIN_S: Final = 10.0
"""How long a topic that takes nothing is not asked again."""

_SINGLY_S: Final = 600.0
_SILENT_AGAIN_S: Final = 120.0
"""How long a topic that does not answer is not asked again: each time holds all shards up."""

_LOOK_MAX: Final = 200
"""Topics that are looked up before their turn, each time."""

_TOPICS_MAX: Final = 1_000
_PATIENCE_AGAIN_S: Final = 600.0
"""For how long a topic that was waited for keeps another one from it, where there are so many."""

_RUNS_MAX: Final = 1_000
_SIZES_MAX: Final = 8

_WAITS: Final = (
    "a record for topic {!r} waits, for 30 s at the most: there is no such topic, or a partition "
    "of it has no leader. Make the topic, or start its brokers"
)

NOWHERE: Final = 1 << 62
"""A log offset behind all."""


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where a process publishes, and what is known of that beforehand.

    ``letter_bytes`` is what a dead letter may have; ``is_own`` tells topics to which no user
    writes; ``packed`` returns how few bytes some can be packed into. The others are names.
    """

    results: str
    dead_letters: str
    events: str
    group: str
    servers: str
    letter_bytes: int
    is_own: Callable[[str], bool]
    packed: Callable[[bytes], int]

    def hint(self, fault: Fault) -> str:
        """Return what to do about a fault, for the end of a message."""
        if fault.kind == "forbidden":
            return ". Let the workers write there: the broker has a rule against it (an ACL)"
        if fault.kind != "missing":
            return ""
        topics = f"{self.results} or a topic of workflow.publish"
        return f". {topics} is missing: `processor topics apply`"

    def topic_of(self, record: OutputRecord | None) -> str:
        """Return where a record goes. None: a dead letter."""
        if record is None:
            return self.dead_letters
        return self.results if isinstance(record, RunResult) else record.topic


class _Size(NamedTuple):
    """Bytes of key and value, and how few they can be packed into."""

    raw: int
    packed: int


class _Why(NamedTuple):
    """Why a record cannot be delivered."""

    text: str
    kind: Kind


class Letter(NamedTuple):
    """A dead letter that stands in for a record. ``bytes_max`` is what its topic takes of it.

    ``kind`` is that of the fault.
    """

    place: Place
    record: OutputRecord
    topic: str
    reason: str
    kind: Kind
    bytes_max: int

    def dead_letter(self) -> DeadLetter:
        record = self.record
        if isinstance(record, RunResult):
            key, value = record.workflow_id.encode(), encode(record)
            return DeadLetter(self.topic, -1, -1, key, value, self.reason)
        return DeadLetter(self.topic, -1, -1, record.key, record.value, self.reason)


class Undeliverable:
    """What one shard cannot deliver. All but ``of`` is for the publisher's thread."""

    def __init__(self, outlets: Outlets, partition: int, now: Callable[[], float]) -> None:
        self._outlets = outlets
        self._partition = partition
        self._now = now
        self._letter_bytes = outlets.letter_bytes
        self._cut_until = 0.0
        self._known: set[str] = set()
        self._missing: dict[str, float] = {}
        self._silent: dict[str, float] = {}
        self._closed: dict[str, tuple[float, _Why]] = {}
        self._singly: dict[str, float] = {}
        self._too_large: dict[str, tuple[float, list[_Size]]] = {}
        self._reasons: dict[Place, _Why] = {}
        self._homeless: dict[Place, _Why] = {}
        """Why records of the next transaction have no topic: so many topics that no table of
        topics holds them all are decided on together."""

        self._runs: dict[str, Undelivered] = {}
        self._waits: tuple[str, str] | None = None
        """The run whose record waits for its topic, with all that is behind it, and that topic."""

    def of(self, run_id: str) -> Undelivered | None:
        """Return what of a run waits, or is in dead letters since this process has the shard."""
        found, waits = self._runs.get(run_id), self._waits
        if waits is None or waits[0] != run_id:
            return found
        found = found or Undelivered()
        return replace(found, reasons=(*found.reasons, _WAITS.format(waits[1])))

    # --- before a transaction ---------------------------------------------------------------------

    def begin_batch(self) -> None:
        """Decide anew which records have no topic."""
        self._homeless.clear()

    def waits_for(self, offset: int, records: Sequence[OutputRecord], now: float) -> Asks:
        """Return a topic that may yet come to be, if one of a turn's records is for it."""
        for index, record in enumerate(records):
            if isinstance(record, RunResult) or record.topic in self._known:
                continue
            if (yield from self._may_come(record.topic, now)):
                self._waits = record.run_id, record.topic
                return record.topic
            if (closed := self._closed.get(record.topic)) is not None:
                self._homeless[offset, index] = closed[1]
        if self._waits is not None and records and records[0].run_id == self._waits[0]:
            self._waits = None
        return None

    def look_ahead(self, topics: Iterable[str], now: float) -> Asks:
        """Look up what comes later, so that all topics that are missing are timed together."""
        new = [topic for topic in topics if topic not in self._known and topic not in self._missing]
        for topic in new[:_LOOK_MAX]:
            yield from self._may_come(topic, now)

    def _may_come(self, topic: str, now: float) -> Asks:
        if self._never(topic) or self._closed_until(topic) > now:
            return False
        fault: Fault | None = yield TopicFault(topic)
        if fault is None:
            _bound(self._known)
            self._known.add(topic)
            self._missing.pop(topic, None)
            self._closed.pop(topic, None)
            return False
        if fault.kind == "forbidden":
            self._close(topic, fault, now)
            return False
        wait_s = _MISSING_S if fault.kind == "missing" else _LEADER_S
        if self._has_patience(topic, now) and now < self._missing.setdefault(topic, now) + wait_s:
            return True
        self._close(topic, fault, now)
        return False

    def _has_patience(self, topic: str, now: float) -> bool:
        """Return whether a topic may be waited for. Where a thousand others are, none more is.

        Else those who publish to ever new names would hold up all others for ever.
        """
        missing = self._missing
        if topic not in missing and len(missing) >= _TOPICS_MAX:
            first = next(iter(missing))
            if now < missing[first] + _PATIENCE_AGAIN_S:
                return False
            del missing[first]
        return True

    def _never(self, topic: str) -> str:
        """Return why a topic can never be published to, empty where it may be."""
        if not is_topic(topic):
            return "no topic can have this name"
        return OWN_TOPIC if self._outlets.is_own(topic) else ""

    def suspect(self, topic: str, fault: Fault, now: float) -> bool:
        """Note that a topic took nothing, and nobody said why; return whether it is closed now.

        Where it did not answer, it is waited for as a topic without a leader is.
        """
        self._known.discard(topic)
        if fault.kind == "timed out":
            _bound(self._silent)
            if now < self._silent.setdefault(topic, now) + _LEADER_S:
                return False
            del self._silent[topic]
        self._close(topic, fault, now)
        return True

    def letter_for(self, place: Place, record: OutputRecord) -> Letter | None:
        """Return what stands in for a record that cannot be delivered."""
        topic = self._outlets.topic_of(record)
        if topic in self._known or isinstance(record, RunResult):
            if not self._reasons and not self._too_large:
                return None
        why = self._homeless.get(place) or self._reasons.get(place)
        if why is None and topic not in self._known and not isinstance(record, RunResult):
            never = self._never(topic)
            why = _Why(never, "forbidden") if never else self._closed.get(topic, (0.0, None))[1]
        if why is None and topic in self._too_large and self._is_too_large(topic, record):
            why = _Why("MSG_SIZE_TOO_LARGE: as others of its size just now", "too large")
        if why is None:
            return None
        if self._now() > self._cut_until:
            self._letter_bytes = self._outlets.letter_bytes
        reason = writable(f"{_named(record)} cannot be delivered: {why.text}")
        return Letter(place, record, topic, reason, why.kind, self._letter_bytes)

    def goes_alone(self, record: OutputRecord) -> bool:
        """Return whether a record has to be in a request of its own, to learn if it is refused."""
        return bool(self._singly) and self._outlets.topic_of(record) in self._singly

    @property
    def is_careful(self) -> bool:
        return bool(self._singly)

    # --- after a transaction that was aborted -----------------------------------------------------

    def take(self, refusals: Iterable[Refusal], fault: Fault, now: float) -> int | None:
        """Note what will never be taken; return behind which log offset the next one may end.

        None: nothing was refused for good. ``fault`` is what ended the transaction: where we may
        not write to a topic, nothing is said of single records.
        """
        offsets, cut = [], False
        by_topic: dict[str, list[Refusal]] = {}
        for refusal in refusals:
            kind, record = refusal.fault.kind, refusal.record
            if record is None:
                cut |= kind == "too large" and self._letter_bytes > 0
                if cut:
                    offsets.append(refusal.place[0])
                continue
            if kind in ("too large", "invalid", "invalid record"):
                by_topic.setdefault(self._outlets.topic_of(record), []).append(refusal)
                offsets.append(refusal.place[0])
            elif kind == "forbidden" and not isinstance(record, RunResult):
                self._close(record.topic, refusal.fault, now)
                offsets.append(refusal.place[0])
        if cut:  # the topic takes less than ours do
            self._letter_bytes //= 4
            self._cut_until = now + _SINGLY_S
        for topic, refused in by_topic.items():
            if len(refused) > 1 and any(_is_of_its_batch(each.fault) for each in refused):
                self._singly[topic] = now + _SINGLY_S
            else:
                for place, record, why in refused:
                    self._reasons[place] = _Why(f"{why.name}: {why.text}", why.kind)
                    if why.kind == "too large" and record is not None:
                        self._learn(topic, record, now)
        for topic in fault.topics:
            if topic in self._known:
                self._close(topic, fault, now)
                offsets.append(NOWHERE)
        return max(offsets) if offsets else None

    def _learn(self, topic: str, record: OutputRecord, now: float) -> None:
        """Note a size that a topic refuses: each refusal costs a transaction."""
        until, sizes = self._too_large.get(topic, (0.0, []))
        sizes = sizes if until > now else []
        _bound(self._too_large)
        self._too_large[topic] = now + _ASK_AGAIN_S, [*sizes, self._size(record)][-_SIZES_MAX:]

    def _is_too_large(self, topic: str, record: OutputRecord) -> bool:
        """Return whether a record is not smaller than one that was refused, packed or not."""
        until, sizes = self._too_large[topic]
        if until < self._now():
            del self._too_large[topic]
            return False
        raw, packed = self._size(record)
        return any(raw >= one.raw and packed >= one.packed for one in sizes)

    def forget_topics(self) -> None:
        """Look topics up again: one may have been deleted."""
        self._known.clear()

    # --- after a transaction that was committed ---------------------------------------------------

    def delivered(self, letters: Iterable[Letter], position: int, now: float) -> None:
        """Note which letters are there: those below a committed position."""
        for letter in letters:
            if letter.place[0] < position:
                self._note(letter)
        if self._reasons:
            self._reasons = {p: why for p, why in self._reasons.items() if p[0] >= position}
        if self._singly:
            self._singly = {topic: end for topic, end in self._singly.items() if end > now}

    def _note(self, letter: Letter) -> None:
        if run_id := letter.record.run_id:
            known = self._runs.get(run_id)
            self._runs[run_id] = (known or Undelivered()).with_reason(letter.reason)
            if known is not None:
                return
            if len(self._runs) > _RUNS_MAX:
                del self._runs[next(iter(self._runs))]
        _log.warning(
            "shard %d: %s. It is in %s. After a fix: `processor topics dead-letters replay`",
            self._partition,
            letter.reason,
            self._outlets.dead_letters,
        )

    def _size(self, record: OutputRecord) -> _Size:
        if isinstance(record, RunResult):
            parts = record.workflow_id.encode() + encode(record)
        else:
            parts = (record.key or b"") + (record.value or b"")
        return _Size(len(parts), self._outlets.packed(parts))

    def _close(self, topic: str, fault: Fault, now: float) -> None:
        self._known.discard(topic)
        reason = f"{fault.name}: {fault.text}"
        if fault.kind == "missing":
            reason = f"the topic does not exist ({fault.name})"
        again_s = _SILENT_AGAIN_S if fault.kind == "timed out" else _ASK_AGAIN_S
        _bound(self._closed)
        self._closed[topic] = now + again_s, _Why(reason, fault.kind)

    def _closed_until(self, topic: str) -> float:
        closed = self._closed.get(topic)
        return 0.0 if closed is None else closed[0]


def _named(record: OutputRecord) -> str:
    """Return what a record is, for the reason of its letter."""
    of = f"run {record.run_id} of workflow id {record.workflow_id!r}: " if record.run_id else ""
    if isinstance(record, RunResult):
        return f"{of}its result"
    if isinstance(record, Abroad):
        to = (record.key or b"").decode(errors="replace")
        return f"{of}a message to {to!r} of namespace {record.namespace!r}"
    return f"{of}a record for topic {record.topic!r}"


def _bound(table: dict[str, Any] | set[str]) -> None:
    """Forget one topic of a table that is full; it is looked up again."""
    if len(table) >= _TOPICS_MAX:
        topic = next(iter(table))
        table.remove(topic) if isinstance(table, set) else table.pop(topic)


def _is_of_its_batch(fault: Fault) -> bool:
    """Return whether a fault may be that of another record in the same request.

    Brokers say which records of a request are invalid, but not which one makes it too large.
    """
    return fault.kind != "invalid record"
