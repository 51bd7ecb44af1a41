"""Kills this process at a named point: at the n-th call of a method of a port, before or after it.

The production code knows nothing of it; the methods are wrapped here, in the process of the test.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import confluent_kafka

from processor.activities.executor import Executor
from processor.core.inputs import TimerDue
from processor.kafka.clients.producing import Producing
from processor.kafka.publishing import transactions as publishing
from processor.kafka.shards.log import KafkaLog
from processor.kafka.shards.outbox import KafkaOutbox
from processor.shard.recovery.fold import Fold
from processor.shard.recovery.takeover import Takeover
from processor.shard.timers import Timers
from processor.shard.turns import deciding
from processor.store.tables import StateTables

__all__ = ("POINTS", "arm", "message")

_FLUSH_S = 5.0

Reached = Callable[[], None]
"""Called when the point is reached once more; the n-th call does not return."""


def message(point: str) -> str:
    """Return what a process says just before it dies there."""
    return f"crash point {point!r}"


def arm(point: str, nth: int) -> None:
    count = itertools.count(1)

    def reached() -> None:
        if next(count) == nth:
            print(message(point), file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    POINTS[point](reached)


def _before(owner: Any, method: str, reached: Reached, when: Callable[..., object]) -> None:
    original = getattr(owner, method)

    def wrapped(*args: Any) -> Any:
        if when(*args):
            reached()
        return original(*args)

    setattr(owner, method, wrapped)


def _after(owner: Any, method: str, reached: Reached, when: Callable[..., object]) -> None:
    """``when`` gets the result, then the arguments."""
    original = getattr(owner, method)

    def wrapped(*args: Any) -> Any:
        result = original(*args)
        if when(result, *args):
            reached()
        return result

    setattr(owner, method, wrapped)


def _always(*_: Any) -> bool:
    return True


def _result(result: Any, *_: Any) -> Any:
    return result


def _by_the_loop(_tables: Any, group: Any, *_: Any) -> bool:
    """Whether the tables are written by the shard's loop, and not by the fold of a takeover."""
    return bool(group) and threading.current_thread() is threading.main_thread()


def _delivered(producing: Producing) -> bool:
    """Wait until the broker has what was produced; nobody looks at its acknowledgement yet."""
    deadline = time.monotonic() + _FLUSH_S
    producing.flush()
    while len(producing._producer) and time.monotonic() < deadline:
        producing.poll(0.05)
    return not len(producing._producer)


def _written(_: Any, log: KafkaLog, *_record: Any) -> bool:
    return _delivered(log._producing)


def _sent(_: Any, outbox: KafkaOutbox, effect: Any, token: int | None, *_origin: Any) -> bool:
    """Whether somebody waits for what was sent, and the broker has it."""
    return token is not None and _delivered(outbox._transport.sends)


def _sent_timer(_: Any, outbox: KafkaOutbox, effect: Any, *_token: Any) -> bool:
    return isinstance(effect, TimerDue) and _delivered(outbox._transport.sends)


def _is_timer(_: Any, input: Any, *_more: Any) -> bool:
    return isinstance(input, TimerDue)


def _queued_timer(reached: Reached) -> None:
    """After a timer was sent to the topic; here there is never room to decide one at once."""
    original = Timers.fire

    def fire(timers: Timers, now_ms: int, _: int, *how: Any) -> None:
        original(timers, now_ms, 0, *how)

    Timers.fire = fire  # type: ignore[method-assign, assignment]
    _after(KafkaOutbox, "send", reached, _sent_timer)


def _in_a_transaction(at: str) -> Callable[[Reached], None]:
    def install(reached: Reached) -> None:
        class Crashing(confluent_kafka.Producer):
            def begin_transaction(self) -> None:
                super().begin_transaction()
                if at == "begun":
                    reached()

            def commit_transaction(self, *timeout: float) -> None:
                if at == "written":
                    self.flush(_FLUSH_S)
                    reached()
                super().commit_transaction(*timeout)
                if at == "committed":
                    reached()

        publishing.Producer = Crashing  # type: ignore[attr-defined]

    return install


def _at(
    wrap: Callable[..., None], owner: Any, method: str, when: Callable[..., object] = _always
) -> Callable[[Reached], None]:
    return lambda reached: wrap(owner, method, reached, when)


POINTS: dict[str, Callable[[Reached], None]] = {
    "append queued": _at(_after, KafkaLog, "append"),
    "appended, not acknowledged": _at(_after, KafkaLog, "append", _written),
    "acknowledged, not stored": _at(_before, StateTables, "write", _by_the_loop),
    "stored, not released": _at(_after, StateTables, "write", lambda _, *args: _by_the_loop(*args)),
    "in the middle of a release": _at(_before, KafkaOutbox, "send", lambda _, __, t, *___: t),
    "sent, not delivered": _at(_after, KafkaOutbox, "send", _sent),
    "delivered, not noted": _at(_after, KafkaOutbox, "delivered", _result),
    "due timer decided": _at(_after, deciding, "decide", _is_timer),
    "due timer queued": _queued_timer,
    "replied": _at(_after, KafkaOutbox, "reply"),
    "eager attempt begun": _at(_after, Executor, "start"),
    "queued attempt begun": _at(_after, Executor, "enqueue"),
    "transaction begun": _in_a_transaction("begun"),
    "transaction written, not committed": _in_a_transaction("written"),
    "transaction committed, not noted": _in_a_transaction("committed"),
    "claim queued": _at(_after, Takeover, "begin"),
    "claimed, not folded": _at(_after, Takeover, "claimed", lambda epoch, *_: epoch is not None),
    "in the middle of a fold": _at(_before, Fold, "take"),
    "folded, no input read": _at(_after, Takeover, "fold"),
}
