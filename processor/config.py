"""Every limit and time-out, in one frozen value with its defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from processor import checks
from processor.errors import InvalidArgument

__all__ = ("Settings",)

_ASK_AGAIN_MAX_S = 5.0
_DURATION_S_MAX: Final = 366 * 86_400
_SESSION_S_MAX: Final = 3_600
"""What Kafka's client takes at the most."""

_NUMBERS: Final = {
    "payload_bytes_max": 1,
    "turn_bytes_max": 1,
    "turns_in_flight_max": 1,
    "bytes_in_flight_max": 1,
    "inbox_records_max": 1,
    "cached_runs_max": 0,
    "cached_bytes_max": 0,
    "publish_linger_ms": 0,
    "unread_events_max": 1,
    "children_open_max": 1,
    "unread_bytes_max": 0,
    "updates_running_max": 1,
    "unpublished_bytes_max": 1,
    "waiters_max": 0,
    "continue_after_events": 1,
    "max_activities": 1,
    "activity_threads_max": 1,
    "activity_processes_max": 0,
}
"""The least of each whole number."""

_MOST: Final = {
    "payload_bytes_max": 15_000_000,
    "turn_bytes_max": 15_000_000,
    "unread_bytes_max": 5_000_000,
}
"""The most of some: what belongs together fits into one record of the log."""

_DURATIONS: Final = {
    "heartbeat_throttle_s": (0, _DURATION_S_MAX),
    "session_timeout_s": (0.001, _SESSION_S_MAX),
    "shutdown_s": (0, _DURATION_S_MAX),
    "request_timeout_s": (0.001, _DURATION_S_MAX),
}
"""The least and the most of each duration, in seconds."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits and time-outs of a process. Sizes are in bytes, times in the unit of their name.

    A ``timedelta`` is taken for a time in seconds too. Raises ``InvalidArgument``.
    """

    payload_bytes_max: int = 1_000_000
    """One value: arguments of an activity, a result, an event, a status."""

    turn_bytes_max: int = 15_000_000
    """All that one turn asks for together; ``events`` allows 16 MiB a record.

    Where a retry policy lets another run follow, less: the end of a run has the start of the next.
    """

    turns_in_flight_max: int = 2_000
    """Turns that were appended and are not acknowledged yet, per shard; then intake waits.

    As many answers may wait for them.
    """

    bytes_in_flight_max: int = 64_000_000
    """The same in bytes; as much of what turns send may be on its way to brokers."""

    inbox_records_max: int = 10_000
    """Records read ahead per shard; then the consumer pauses the partition."""

    cached_runs_max: int = 2_000
    """Runs whose code stays in memory, per shard, 8 kB or more each; 0 replays at every step."""

    cached_bytes_max: int = 512_000_000
    """The same in (estimated) bytes."""

    publish_linger_ms: int = 100
    """How long results and ``workflow.publish`` gather for one transaction (0: not at all).

    What comes after a pause leaves at once. Clients that wait for a result do not wait for this.
    """

    unread_events_max: int = 10_000
    """Events of one run that its code has not taken; more are refused."""

    unread_bytes_max: int = 4_000_000
    """The same in bytes, but for the first one: a run hands them on to the next of its chain.

    An event counts with its name, its headers and 20 bytes.
    """

    updates_running_max: int = 10
    """Updates of one run whose handlers have not ended; more are refused."""

    children_open_max: int = 2_000
    """Children of one run, and its questions to others, that are open; code is parked for more."""

    unpublished_bytes_max: int = 64_000_000
    """Results and published records that no consumer can see yet, per shard; then intake waits."""

    waiters_max: int = 100_000
    """Clients that wait for a result, per shard."""

    max_activities: int = 1_000
    """Activities that run at once in one process; what finds no slot goes to its queue.

    Async activities mostly wait, so many of them fit into one process.
    """

    activity_threads_max: int = 32
    """Threads for plain (not async) activities, per process."""

    activity_processes_max: int = 0
    """Processes for activities with ``pool="processes"``, per worker; 0: one for each core."""

    heartbeat_throttle_s: float = 30.0
    """The least time between two heartbeats that are sent; half the heartbeat time-out if less."""

    continue_after_events: int = 10_000
    """From so many events on, ``workflow.info().suggests_continue_as_new`` is true.

    A run stays with what it began under.
    """

    strict_replay: bool = False
    """Payloads that replay makes otherwise than recorded park the run; else a warning tells it."""

    guard: Literal["answer", "refuse", False] = "answer"
    """What clocks and random numbers do in workflow code; a run stays with what it began under.

    "answer": they answer from the run, the same at each replay. "refuse": they raise. False: there
    is no guard, nothing is patched in the process, and replay may differ (``docs/patched.md``).
    """

    passthrough: tuple[str, ...] = ()
    """Modules whose code may reach files, sockets and threads inside of workflow code."""

    session_timeout_s: float = 6.0
    """How long a dead process keeps its shards."""

    shutdown_s: float = 30.0
    """How long a worker may take to stop; running activities may take four fifths of that."""

    request_timeout_s: float = 10.0
    """How long a client waits for a shard's answer; it asks again after half of it, or 5 s."""

    def __post_init__(self) -> None:
        for name, least in _NUMBERS.items():
            most = _MOST.get(name)
            if checks.whole(getattr(self, name), f"Settings: {name}", least) > (most or math.inf):
                raise InvalidArgument(
                    f"Settings: {name}: give a whole number from {least} to {most:,}, not "
                    f"{getattr(self, name):,}: a record of the log takes "
                    f"{checks.RECORD_BYTES_MAX:,} bytes, and other things are in it as well"
                )
        for name, bounds in _DURATIONS.items():
            object.__setattr__(self, name, _duration_s(name, getattr(self, name), *bounds))
        checks.yes_or_no(self.strict_replay, "Settings: strict_replay")
        guard: Any = self.guard
        if guard is not False and not (isinstance(guard, str) and guard in ("answer", "refuse")):
            given = checks.shown(guard)
            raise InvalidArgument(f"guard: give 'answer', 'refuse' or False, not {given}")
        modules = checks.listed(self.passthrough, "passthrough", "('pydantic_ai',)")
        for each in modules:
            checks.name(each, "passthrough: the name of a module")
        object.__setattr__(self, "passthrough", tuple(modules))

    @property
    def ask_again_s(self) -> float:
        """Asked again, a shard answers again: one that was taken over has forgotten who waits."""
        return min(self.request_timeout_s / 2, _ASK_AGAIN_MAX_S)


def _duration_s(name: str, value: Any, least_s: float, most_s: float) -> float:
    found = float(checks.seconds(value, f"Settings: {name}"))
    if not least_s <= found <= most_s:
        given = checks.shown(value)
        raise InvalidArgument(f"Settings: {name}: give {least_s:g} to {most_s:,} s, not {given}")
    return found
