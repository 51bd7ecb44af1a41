"""Activities that a client runs without a workflow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack, overload

from processor import arguments as given
from processor import checks
from processor.activity import Activity
from processor.client.calls import ClientCalls, deadline_of
from processor.client.handle import Handle
from processor.client.options import ActivityRunOptions
from processor.client.vigil import Parked
from processor.core.data.options import DEFAULTS
from processor.core.nouns.start import StartRun
from processor.errors import InvalidArgument, SchemaMismatch
from processor.workflow._alone import arguments_of
from processor.workflow._definition import ALONE
from processor.workflow._options import TypeForm, cancellation_in, options_with

__all__ = ("RunsActivities",)

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_OF_START: Final = ("id", "reuse", "conflict", "memo", "attributes", "delay", "at")


class RunsActivities(ABC):
    """The part of a client that runs an activity alone."""

    _calls: ClientCalls

    @abstractmethod
    def _prepared(self, *args: Any, **how: Any) -> tuple[Handle[Any], StartRun]: ...

    @overload
    async def start_activity(
        self,
        activity: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        **how: Unpack[ActivityRunOptions],
    ) -> Handle[R]: ...

    @overload
    async def start_activity(
        self,
        activity: str,
        *args: Any,
        result_type: type[T],
        **how: Unpack[ActivityRunOptions],
    ) -> Handle[T]: ...

    @overload
    async def start_activity(
        self,
        activity: str,
        *args: Any,
        result_type: TypeForm = ...,
        **how: Unpack[ActivityRunOptions],
    ) -> Handle[Any]: ...

    async def start_activity(  # type: ignore[misc]  # mypy cannot match *Ts with *Any
        self, activity: Any, *args: Any, result_type: Any = None, **how: Any
    ) -> Handle[Any]:
        """Start an activity without a workflow, durably, and return its handle.

        It is run, tried again and recorded as one that a workflow calls. ``queue``, ``retry``, the
        time-outs, ``eager`` and ``cancellation`` are as for ``@activity.define``; what is not given
        is as defined (under a name: the defaults). ``id``, ``reuse``, ``conflict``, ``memo``,
        ``attributes``, ``delay``, ``at`` and ``timeout`` are as for ``start``, since it is the one
        activity of a run: ``list`` and ``describe`` show that as the workflow
        ``processor.activity:NAME``. ``reuse="use-existing"``: an id that was used has the result of
        its first run. Under a name, ``result_type`` says what the result is read as. Raises as
        ``start`` does.
        """
        timeout_s = given.seconds(how.pop("timeout", None), "start_activity: timeout")
        handle, body = self._alone("start_activity", activity, args, result_type, how)
        handle._begun(await self._calls.accepted(handle.id, body, timeout_s))
        return handle

    @overload
    async def run_activity(
        self,
        activity: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        parked: Parked | None = None,
        **how: Unpack[ActivityRunOptions],
    ) -> R: ...

    @overload
    async def run_activity(
        self,
        activity: str,
        *args: Any,
        result_type: type[T],
        parked: Parked | None = None,
        **how: Unpack[ActivityRunOptions],
    ) -> T: ...

    @overload
    async def run_activity(
        self,
        activity: str,
        *args: Any,
        result_type: TypeForm = ...,
        parked: Parked | None = None,
        **how: Unpack[ActivityRunOptions],
    ) -> Any: ...

    async def run_activity(  # type: ignore[misc]  # as above
        self,
        activity: Any,
        *args: Any,
        result_type: Any = None,
        parked: Parked | None = None,
        **how: Any,
    ) -> Any:
        """Start an activity without a workflow, and return its result.

        ``timeout`` (a ``timedelta`` or seconds; default: none) is for all of it; the activity goes
        on after that. The rest is as for ``start_activity``. Raises as ``Handle.result`` does:
        ``WorkflowFailed``, whose ``__cause__`` is what the activity failed with.
        """
        limit_s = given.seconds(how.pop("timeout", None), "run_activity: timeout")
        deadline = deadline_of(limit_s)
        handle, body = self._alone("run_activity", activity, args, result_type, how)
        async with handle._vigil(parked, "run_activity: parked") as vigil:
            patience_s = self._calls.settings.request_timeout_s
            within_s = patience_s if limit_s is None else min(limit_s, patience_s)
            handle._begun(await self._calls.accepted(handle.id, body, within_s))
            return await handle._result(limit_s, deadline, vigil)

    def _alone(
        self,
        call: str,
        activity: Any,
        args: tuple[Any, ...],
        result_type: Any,
        how: dict[str, Any],
    ) -> tuple[Handle[Any], StartRun]:
        """Return the handle of an activity that is to be run, and what starts that."""
        for each in how:
            if each not in ActivityRunOptions.__annotations__:
                raise TypeError(f"{call}() got an unexpected keyword argument {each!r}")
        start = {name: how.pop(name) for name in _OF_START if name in how}
        names: Callable[[int], str] = lambda number: str(number + 1)  # noqa: E731
        if isinstance(activity, Activity):
            if result_type is not None:
                raise InvalidArgument(f"{call}: result_type is for activities called by name")
            signature = activity.definition.signature
            args, names = signature.positions(args, {}), signature.parameter
            name, wire, before = activity.name, activity.wire_options, activity.cancellation
            result_type = signature.result
        elif isinstance(activity, str):
            name, wire, before = checks.name(activity, f"{call}: activity"), DEFAULTS, "try"
            result_type = Any if result_type is None else result_type
        else:
            raise InvalidArgument(
                f"{call}: activity: give an activity (@activity.define) or its name, not "
                f"{checks.shown(activity)}"
            )
        options = options_with(wire, how, call)  # type: ignore[arg-type]
        cancellation = cancellation_in(how, before, call)  # type: ignore[arg-type]
        values = arguments_of(options, cancellation, args)
        try:
            handle, body = self._prepared(call, ALONE + name, values, **start)
        except SchemaMismatch:
            for number, each in enumerate(args):  # which one is it?
                self._calls.encoded(f"argument {names(number)} of activity {name!r}", each)
            raise
        handle._result_type = result_type
        return handle, body
