"""A run as its shard sees it, for people: its description, its events, and what holds it up."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from processor import failures
from processor.attributes import AttributeValue, of_plain
from processor.core.data.address import RunRef
from processor.core.data.failure import BENIGN
from processor.core.data.payloads import Payloads
from processor.core.nouns.lineage import Correlation
from processor.core.records.answers import Page
from processor.errors import PayloadCodecError, SchemaMismatch
from processor.policy import Status
from processor.readable import readable

__all__ = (
    "EntityOperation",
    "HistoryEvent",
    "RunDescription",
    "RunHistory",
    "ViewPosition",
    "description",
    "descriptions",
    "hindrances",
    "history",
    "history_event",
    "parked_text",
    "read",
    "standing",
)

R = TypeVar("R")

_SOON_MS: Final = 5_000
"""An activity that no worker has taken by then is held up."""

_ENCODED: Final = b'"encoded_by"'

_MOMENTS: Final = ("closed", "begins", "next")
_SHOWN_MAX: Final = 4
"""Activities and lines of code that are named in one line about a run."""


@dataclass(frozen=True)
class EntityOperation:
    """An operation that has ended. ``id`` is that of a call; "" for a signal.

    ``arguments`` are plain JSON: a list, and of a signal the one value that it may have instead.
    ``failure`` is the error's type and message; None: it did not fail. ``bytes_left_out`` of the
    arguments and the result were too long to be kept, or cannot be read.
    """

    operation: str
    id: str
    ended: datetime
    arguments: Any = None
    result: Any = None
    failure: str | None = None
    bytes_left_out: int = 0


@dataclass(frozen=True)
class ViewPosition:
    """How far the view was that answered, since no worker did.

    All that was acknowledged until ``time`` is in the answer. ``position`` is the offset in the log
    of its shard up to which the view was, ``behind`` how many records of it were not in the view.
    ``unknown`` names what only a worker knows: it is empty in the answer.
    """

    position: int
    behind: int
    time: datetime
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunDescription:
    """A run as its shard sees it. ``pending``: activities, timers, children and lines of code that
    it waits for.

    ``parked`` is there while the run waits for fixed code: kind, error, where, traceback.
    ``cancel_reason`` is also why the run was terminated. ``successor`` is the run that follows it.
    ``undelivered`` is there once something that it published went to dead letters: how many records
    (count), and why (reasons, of the first ten); and while a record waits for its topic, with that
    as the last reason. The worker that has the shard knows it until it
    ends; the dead letters say it for as long as they are kept. ``result`` is that of a completed
    run as JSON, or the output of a terminated one; ``failure`` that of a failed one: type, message,
    traceback, cause ...
    ``attempt`` is there while a run is open that is tried again if it fails: number, maximum (None:
    no limit), begins_ms (while its code waits for that), last_failure. ``begins`` is when the code
    of a run begins that waits for its time; ``cron`` is its cron string, and while its code runs,
    ``next_begins`` when the next run begins if this one has ended. ``producer`` says, on Kafka,
    which producer the worker that has the shard sends records with, and why. ``parent`` is the run
    that started this one as its child, ``root`` the first one of all; ``parent_namespace`` is that
    of the parent, None for this one.

    ``view`` is there where no worker has answered, and a view did: how far that was.

    ``correlations`` are the business keys that an open run was given and has not given back, the
    oldest first; of more than 100 the newest. A key that an operator has freed is one of them.

    ``attributes`` are its search attributes. ``problem`` is there in a list by a query: why the run
    is parked, or which open activity has failed, and with what.

    ``client.list`` reads one row for each run, which has none of ``pending``, ``attempt``,
    ``begins``, ``cron``, ``next_begins``, ``undelivered``, ``producer``, ``parent``, ``root``,
    ``parent_namespace`` and ``correlations``.
    """

    workflow_id: str
    run_id: str
    workflow: str
    status: Status
    started: datetime
    closed: datetime | None
    events: int
    custom_status: Any = None
    cancel_reason: str | None = None
    parked: dict[str, Any] | None = None
    pending: dict[str, Any] = field(default_factory=dict)
    memo: Any = None
    shard: int = 0
    successor: str | None = None
    undelivered: dict[str, Any] | None = None
    result: Any = None
    failure: dict[str, Any] | None = None
    attempt: dict[str, Any] | None = None
    producer: str = ""
    begins: datetime | None = None
    cron: str | None = None
    next_begins: datetime | None = None
    parent: RunRef | None = None
    root: RunRef | None = None
    parent_namespace: str | None = None
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    problem: str | None = None
    view: ViewPosition | None = None
    correlations: list[Correlation] = field(default_factory=list)


@dataclass(frozen=True)
class HistoryEvent:
    """One event; ``fields`` are those of its type, payloads as plain JSON values."""

    number: int
    time: datetime
    type: str
    fields: dict[str, Any]


class RunHistory(list[HistoryEvent]):
    """The events of a run, in order. ``view``: as in ``RunDescription``."""

    def __init__(
        self, run_id: str, events: Iterable[HistoryEvent], view: ViewPosition | None
    ) -> None:
        super().__init__(events)
        self.run_id = run_id
        self.view = view


def description(view: Mapping[str, Any]) -> RunDescription:
    """Return the description that a shard gave as JSON."""
    closed_ms, begins_ms, next_ms = (view.get(f"{each}_ms") for each in _MOMENTS)
    return RunDescription(
        view["workflow_id"],
        view["run_id"],
        view["workflow"],
        Status(view["status"]),
        _time(view["started_ms"]),
        None if closed_ms is None else _time(closed_ms),
        view["events"],
        view.get("custom_status"),
        view.get("cancel_reason"),
        view.get("parked"),
        view.get("pending", {}),
        view.get("memo"),
        view.get("shard", 0),
        view.get("successor"),
        view.get("undelivered"),
        view.get("result"),
        view.get("failure"),
        view.get("attempt"),
        view.get("producer", ""),
        None if begins_ms is None else _time(begins_ms),
        view.get("cron"),
        None if next_ms is None else _time(next_ms),
        _run(view.get("parent")),
        _run(view.get("root")),
        view.get("parent_namespace"),
        of_plain(view.get("attributes", {})),
        view.get("problem"),
        _position(view.get("view")),
        [Correlation(each["name"], each["key"]) for each in view.get("correlations", ())],
    )


def _position(view: Mapping[str, Any] | None) -> ViewPosition | None:
    if view is None:
        return None
    time = _time(view["time_ms"])
    return ViewPosition(view["position"], view["behind"], time, tuple(view.get("unknown", ())))


def _run(view: Mapping[str, Any] | None) -> RunRef | None:
    return None if view is None else RunRef(view["workflow_id"], view["run_id"])


def history_event(view: dict[str, Any]) -> HistoryEvent:
    """Return the event that a shard gave as JSON."""
    number, time_ms, type = view.pop("number"), view.pop("time_ms"), view.pop("type")
    return HistoryEvent(number, _time(time_ms), type, view)


def parked_text(run: RunDescription) -> str:
    """Return why a parked run does not go on, and what helps; "" where it is not parked."""
    parked = run.parked
    if parked is None:
        return ""
    trace = readable(parked.get("traceback") or "", lines=True).strip()
    return f"run {run.run_id} of {run.workflow_id!r} is {_parked(parked)}" + "".join(
        f"\n    {line}" for line in trace.splitlines()
    )


def standing(run: RunDescription) -> str:
    """Return in one line what a run is doing: what it waits for, and until when."""
    if run.parked is not None:
        return f"it is {_parked(run.parked)}"
    if not run.status.is_open:
        return f"it is {run.status.value}"
    parts = [text] if (text := _attempt_text(run)) else []
    if run.view is not None:
        parts.append("no worker answers for it, and a view does")
    if run.begins is not None and not parts:
        parts = [f"its code begins at {run.begins.astimezone():%Y-%m-%d %H:%M:%S}"]
    parts += map(_activity_text, run.pending.get("activities", ()))
    parts += [f"update {readable(each['name'])}" for each in run.pending.get("updates", ())]
    children = run.pending.get("children", ())
    parts += [*map(_child_text, children)]
    promises = run.pending.get("promises", ())
    parts += [f"promise {each['number']} (client.resolve settles it)" for each in promises]
    parts += [*map(_lock_text, run.pending.get("locks", ()))]
    if (lock := run.pending.get("lock")) is not None:
        parts.append(f"it is locked by run {lock['run_id']} of {lock['workflow_id']!r}")
    parts += [f"waits at {readable(each)}" for each in run.pending.get("waiting", ())]
    if len(parts) > _SHOWN_MAX:
        parts[_SHOWN_MAX:] = [f"and {len(parts) - _SHOWN_MAX} more"]
    if due_ms := [timer["due_ms"] for timer in run.pending.get("timers", ()) if timer["id"]]:
        parts.append(f"next timer at {_clock(min(due_ms))}")
    return "; ".join(("it is running", *parts))


def _child_text(child: Mapping[str, Any]) -> str:
    elsewhere = child["namespace"]
    of = "" if elsewhere is None else f" of namespace {elsewhere!r}"
    return f"child {readable(child['workflow'])} {child['workflow_id']!r}{of}"


def hindrances(run: RunDescription, now_ms: int) -> Iterator[str]:
    """Yield what keeps an open run from going on as its author meant it to."""
    yield from filter(None, (parked_text(run), _attempt_text(run)))
    for activity in run.pending.get("activities", ()):
        name = f"activity {activity['name']!r} of {run.workflow_id!r}"
        if activity["paused"]:
            yield (
                f"{name} is paused: `processor activity resume {run.workflow_id} "
                f"{activity['id']}`, or handle.activity({activity['id']}).resume()"
            )
        failure = activity["last_failure"]
        if failure and failure["kind"] != BENIGN:
            yield (
                f"{name}: {activity['failures']} of its attempts failed, the last with "
                f"{readable(failure['type'])}: {readable(failure['message'])}"
            )
        waits_ms = now_ms - activity["dispatched_ms"]
        waits = activity["started_ms"] is activity["retry_at_ms"] is None and waits_ms > _SOON_MS
        if waits and not activity["eager"]:
            yield (
                f"{name}: no worker of queue {activity['queue']!r} has taken it for "
                f"{waits_ms // 1000} s. Start a worker with queues=[{activity['queue']!r}], or "
                "wait for one that is busy"
            )


def _lock_text(lock: Mapping[str, Any]) -> str:
    number = lock["number"]
    does = "waits for the lock" if number is None else f"holds lock {number}"
    return f"{does} of {lock['entity']!r}"


def _activity_text(activity: Mapping[str, Any]) -> str:
    """Return which attempt of an open activity is out, and whether it waits for its outcome."""
    text = f"activity {readable(activity['name'])}, attempt {activity['attempt']}"
    if activity["left_open"]:
        text += ", which its function has left open (client.complete ends it)"
    return text


def _attempt_text(run: RunDescription) -> str:
    """Return which attempt of its chain a run is, when it begins, and why the one before failed.

    "" where no run failed before it.
    """
    attempt = run.attempt
    if attempt is None or (failure := attempt["last_failure"]) is None:
        return ""
    most, begins_ms = attempt["maximum"], attempt["begins_ms"]
    text = f"attempt {attempt['number']}" + (f" of {most}" if most else "")
    text += f", which begins at {_clock(begins_ms)}" if begins_ms else ""
    return f"{text}, after {readable(failure['type'])}: {readable(failure['message'])}"


def _parked(parked: Mapping[str, Any]) -> str:
    at = f" at {readable(parked['where'])}" if parked.get("where") else ""
    return (
        f"parked ({parked['kind']}): {readable(parked['error'])}{at}. It goes on when a worker "
        "with corrected code starts"
    )


def _clock(ms: int) -> str:
    return f"{_time(ms).astimezone():%Y-%m-%d %H:%M:%S}"


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def descriptions(page: Page, shard: int, payloads: Payloads) -> list[RunDescription]:
    """Return the runs of a page of a shard."""

    def runs(views: Any) -> list[RunDescription]:
        return [description({**view, "shard": shard}) for view in views]

    return read(page, runs, payloads)


def history(content: Any) -> RunHistory:
    """Return the events that a page of a history has."""
    events = [history_event(view) for view in content["events"]]
    return RunHistory(content["run_id"], events, _position(content.get("view")))


def read(page: Page, as_what: Callable[[Any], R], payloads: Payloads) -> R:
    """Return what a page says. Raises ``SchemaMismatch`` for one that no shard gives.

    A value that went through codecs is decoded, and stays as the page has it where that fails.
    """
    import msgspec  # not for those who only name what is in here: --help stays quick

    try:
        content = msgspec.json.decode(page.content)
        if _ENCODED in page.content:
            content = _decoded(content, payloads.decoder(Any))
        return as_what(content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SchemaMismatch(
            f"the answer is none that a shard gives ({type(error).__name__}: {error}): something "
            "else than a worker writes to the replies, or its release is another one"
        ) from error


def _decoded(view: Any, decode: Callable[[bytes | None], Any]) -> Any:
    """Return a view with the values in it that these payloads can decode."""
    match view:
        case {"encoded_by": str(), "data": str(data)} if len(view) == 2:
            try:
                return decode(b64decode(data))
            except (PayloadCodecError, SchemaMismatch, ValueError):
                return view
        case {"message": failures.HIDDEN, "details": {"encoded_by": str()} as said}:
            return {**view, **_said(said, decode), "cause": _decoded(view.get("cause"), decode)}
        case dict():
            return {name: _decoded(each, decode) for name, each in view.items()}
        case list():
            return [_decoded(each, decode) for each in view]
        case _:
            return view


def _said(view: dict[str, Any], decode: Callable[[bytes | None], Any]) -> dict[str, Any]:
    """Return what a failure says whose message, traceback and details are encoded as one."""
    match _decoded(view, decode):
        case [str(message), traceback, details]:
            held = details and _decoded({"encoded_by": "", "data": details}, decode)
            return {"message": message, "traceback": traceback, "details": held}
        case found:
            return {"details": found}
