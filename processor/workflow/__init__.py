"""The verbs of workflow code.

Plain ``asyncio`` works too: ``sleep``, ``gather``, ``wait``, ``TaskGroup``, ``timeout``, ``Queue``
and the rest run on a deterministic loop, where a sleep is a durable timer. What these verbs add is
what asyncio has no word for.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast, overload
from uuid import UUID

from processor import checks
from processor.core.data.options import DEFAULTS
from processor.errors import InvalidArgument
from processor.workflow._context import WorkflowInfo, current, in_workflow, passing, runtime_or_none
from processor.workflow._definition import Workflow, define
from processor.workflow._frames import line_here
from processor.workflow._options import Options, options_with

if TYPE_CHECKING:
    from processor.activity import Activity
    from processor.workflow._options import TypeForm

__all__ = (
    "Workflow",
    "WorkflowInfo",
    "call_activity",
    "cancel",
    "define",
    "in_workflow",
    "info",
    "logger",
    "now",
    "passthrough",
    "publish",
    "random",
    "set_status",
    "side_effect",
    "signal",
    "sleep",
    "timer",
    "uuid4",
    "wait_for_event",
    "wait_until",
)

T = TypeVar("T")
R = TypeVar("R")


@overload
def wait_for_event(
    name: str, type: type[T], timeout: timedelta | float | None = None
) -> Coroutine[object, None, T]: ...


@overload
def wait_for_event(
    name: str, type: TypeForm = ..., timeout: timedelta | float | None = None
) -> Coroutine[object, None, Any]: ...


def wait_for_event(
    name: str, type: Any = Any, timeout: timedelta | float | None = None
) -> Coroutine[object, None, Any]:
    """Wait for the next external event of a name, and return its value.

    Events are kept from the start of the run, in the order in which they arrived. Each event is
    given to one wait. An event that does not fit ``type`` goes to the dead letters, and the wait
    goes on. ``timeout`` is a ``timedelta`` or seconds (default: none). Raises ``TimeoutError`` when
    no event came in time.
    """
    runtime = current("wait_for_event")
    name = checks.name(name, "workflow.wait_for_event: name")
    timeout_ms = _milliseconds(timeout, "workflow.wait_for_event: timeout")
    return runtime.wait_for_event(name, type, timeout_ms, line_here())


def wait_until(
    predicate: Callable[[], object], timeout: timedelta | float | None = None
) -> Coroutine[object, None, None]:
    """Wait until a predicate over the workflow's own variables holds.

    The predicate is asked again whenever the code has run: it has to be cheap, and must not change
    anything. ``timeout`` is a ``timedelta`` or seconds (default: none). Raises ``TimeoutError``
    when the predicate did not hold in time.
    """
    runtime = current("wait_until")
    _check_plain(predicate, "workflow.wait_until: predicate")
    timeout_ms = _milliseconds(timeout, "workflow.wait_until: timeout")
    return runtime.wait_until(predicate, timeout_ms, line_here())


def sleep(delay: timedelta | float) -> Coroutine[object, None, None]:
    """Sleep durably, however long: a ``timedelta``, or seconds. ``asyncio.sleep`` does the same.

    ``math.inf`` sleeps until the run is cancelled.
    """
    runtime = current("sleep")
    return runtime.sleep(checks.lasting_ms(delay, "workflow.sleep: delay"), line_here())


def timer(when: timedelta | float | datetime) -> Coroutine[object, None, None]:
    """Wait for a delay (``timedelta`` or seconds), or until a time (an aware ``datetime``).

    A time that has passed does not wait. Raises ``InvalidArgument`` for a time without a zone.
    """
    runtime = current("timer")
    if isinstance(when, datetime):
        if when.tzinfo is None:
            raise InvalidArgument(
                f"workflow.timer: when: {when!r} has no time zone, so it names no time; give an "
                "aware datetime, for example workflow.now() + timedelta(days=1)"
            )
        when = when - runtime.now()
    return runtime.sleep(checks.lasting_ms(when, "workflow.timer: when"), line_here())


@overload
def call_activity(
    activity: Activity[..., R], *args: Any, **options: Unpack[Options]
) -> Coroutine[object, None, R]: ...


@overload
def call_activity(
    activity: str, *args: Any, result_type: type[T], **options: Unpack[Options]
) -> Coroutine[object, None, T]: ...


@overload
def call_activity(
    activity: str, *args: Any, result_type: TypeForm = ..., **options: Unpack[Options]
) -> Coroutine[object, None, Any]: ...


def call_activity(
    activity: Activity[..., Any] | str, *args: Any, result_type: Any = None, **options: Any
) -> Coroutine[object, None, Any]:
    """Call an activity, also by its name alone: for one that runs in another code base.

    ``options`` are those of ``@activity.define``, for this call. Under a name, ``result_type`` says
    what the result is read as (default: plain JSON). Raises ``InvalidArgument`` at the call, and an
    ``ActivityError`` where the activity is awaited.
    """
    runtime = current("call_activity")
    if not isinstance(activity, str):
        if not callable(getattr(activity, "options", None)):
            raise InvalidArgument(
                "workflow.call_activity: activity: give an activity (@activity.define) or its "
                f"name, not {checks.shown(activity)}"
            )
        if result_type is not None:
            raise InvalidArgument(
                "workflow.call_activity: result_type is for activities called by name"
            )
        return activity.options(**options)(*args) if options else activity(*args)
    activity = checks.name(activity, "workflow.call_activity: activity")
    wire = options_with(DEFAULTS, options, "workflow.call_activity")  # type: ignore[arg-type]
    expected = Any if result_type is None else result_type
    coroutine: Any = runtime.call_activity(activity, args, wire, expected, line_here())
    coroutine.__qualname__ = activity
    return cast("Coroutine[object, None, Any]", coroutine)


def publish(topic: str, key: str | bytes | None, value: Any) -> None:
    """Send a record to a Kafka topic of yours, exactly once for ``read_committed`` consumers.

    ``bytes`` are sent as they are, any other value as JSON. Records of a run leave in order. A
    record that its topic will never take is a dead letter. Raises ``InvalidArgument`` for a name
    that no topic can have.
    """
    runtime = current("publish")
    topic = checks.topic(topic, "workflow.publish: topic")
    if isinstance(key, str):
        key = checks.text(key, "workflow.publish: key")
    elif not (key is None or isinstance(key, bytes)):
        raise InvalidArgument(
            f"workflow.publish: key: give text, bytes or None, not {checks.shown(key)}"
        )
    runtime.publish(topic, key, value, line_here())


def signal(workflow_id: str, name: str, payload: Any = None) -> None:
    """Send an external event to another workflow. If that does not run, it is a dead letter."""
    runtime = current("signal")
    workflow_id = checks.workflow_id(workflow_id, "workflow.signal: workflow_id")
    runtime.signal(workflow_id, checks.name(name, "workflow.signal: name"), payload, line_here())


def cancel(workflow_id: str, reason: str = "") -> None:
    """Ask another workflow to cancel. If that does not run, the request is a dead letter."""
    runtime = current("cancel")
    workflow_id = checks.workflow_id(workflow_id, "workflow.cancel: workflow_id")
    runtime.cancel(workflow_id, checks.text(reason, "workflow.cancel: reason"), line_here())


def set_status(value: Any) -> None:
    """Set the custom status: any value that can be encoded; ``describe`` shows it as JSON."""
    current("set_status").set_status(value, line_here())


@overload
def side_effect(function: Callable[[], Any], type: type[T]) -> T: ...


@overload
def side_effect(function: Callable[[], R]) -> R: ...


@overload
def side_effect(function: Callable[[], Any], type: TypeForm) -> Any: ...


def side_effect(function: Callable[[], Any], type: Any = Any) -> Any:
    """Call a function once, record what it returns, and return the recorded value at replay.

    For something short that replay could not repeat, such as reading an environment variable. The
    function may run again if the process dies before the turn is stored. The function must not
    raise, and its value must fit into a record: else the run is parked, even if the code catches
    the error.
    """
    runtime = current("side_effect")
    _check_plain(function, "workflow.side_effect: function")
    return runtime.side_effect(function, type, line_here())


@contextmanager
def passthrough() -> Iterator[None]:
    """Let the code inside reach files, sockets and threads, which the guard refuses elsewhere.

    For libraries that need them and whose answers are the same at each replay. Clocks and random
    numbers still answer from the run. ``Worker(passthrough=[...])`` does it for whole modules.
    """
    token = passing.set(True)
    try:
        yield
    finally:
        passing.reset(token)


def now() -> datetime:
    """Return the time of this turn (aware, UTC). It stands still while the code runs."""
    return current("now").now()


def random() -> Random:
    """Return this run's random generator, seeded by random bytes in the run's history."""
    return current("random").random()


def uuid4() -> UUID:
    """Return a random UUID that replay repeats."""
    return UUID(int=current("uuid4").random().getrandbits(128), version=4)


def info() -> WorkflowInfo:
    """Return which run of which workflow this is."""
    return current("info").info()


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Silent during replay, and with the run's ids in ``extra``. A plain logger elsewhere."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  logging's name
        runtime = runtime_or_none()
        if runtime is not None and runtime.replaying:
            return False
        return self.logger.isEnabledFor(level)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        runtime = runtime_or_none()
        if runtime is not None:
            run = runtime.info()
            ids = {"workflow_id": run.workflow_id, "run_id": run.run_id, "workflow": run.workflow}
            kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return msg, kwargs


logger = _Logger(logging.getLogger("processor.workflow"), {})


def _milliseconds(timeout: timedelta | float | None, what: str) -> int | None:
    return None if timeout is None else checks.lasting_ms(timeout, what)


def _check_plain(function: Any, what: str) -> None:
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise InvalidArgument(
            f"{what}: give a plain function (not async) without arguments, not "
            f"{checks.shown(function)}"
        )
