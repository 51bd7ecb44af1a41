"""The durable-task routes of Azure Functions, so that their clients reach workflows of ours.

Each answer has their shape: statuses, headers, names of fields, and the form of times.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from processor.api.azure_views import SHOWN_STATUSES, event_view, output_of, status_view
from processor.api.calls import HttpCall
from processor.api.problems import HttpProblem, NotThereYet
from processor.api.requests import AZURE
from processor.api.routes.instances import page_of_history, run_page
from processor.api.routes.messages import RunClosed
from processor.api.routing import HttpAnswer, Permission, route
from processor.client import Handle, RunDescription
from processor.errors import InvalidArgument, WorkflowError, WorkflowNotFound, WorkflowNotRegistered
from processor.policy import Status
from processor.remote.urls import url_part

__all__ = ("ENDPOINTS",)

_START_AGAIN_S: Final = 10
_STATUS_AGAIN_S: Final = 5
_SCANNED_MAX: Final = 1_000
_PAGE: Final = 100
_TOKEN: Final = "x-ms-continuation-token"


class AzureQuery(msgspec.Struct, forbid_unknown_fields=True, frozen=True, rename="camel"):
    """``taskHub`` is the namespace. ``connection`` names a storage there, and nothing here."""

    task_hub: str | None = None
    connection: str | None = None


class StartQuery(AzureQuery, frozen=True, rename="camel"):
    """Seconds, both or neither: how long to wait, and how often they would have asked."""

    timeout: float | None = None
    polling_interval: float | None = None


class RestartQuery(StartQuery, frozen=True, rename="camel"):
    restart_with_new_instance_id: bool = True


class StatusQuery(AzureQuery, frozen=True, rename="camel"):
    show_history: bool = False
    show_history_output: bool = False
    show_input: bool = True
    return_internal_server_error_on_failure: bool = False


class InstancesQuery(AzureQuery, frozen=True, rename="camel"):
    instance_id_prefix: str = ""
    created_time_from: datetime | None = None
    created_time_to: datetime | None = None
    runtime_status: str = ""
    show_input: bool = True
    top: int = _PAGE


class ReasonQuery(AzureQuery, frozen=True, rename="camel"):
    reason: str = ""


class SignalQuery(AzureQuery, frozen=True, rename="camel"):
    """``op`` is the operation."""

    op: str = ""


def _in_hub(call: HttpCall) -> None:
    hub = call.query.task_hub
    if hub not in (None, call.api.namespace):
        raise HttpProblem(404, f"this server has task hub {call.api.namespace!r}, and not {hub!a}")


def _json(call: HttpCall) -> tuple[Any, ...]:
    """Return the one value of a body; none where the body is empty."""
    if not call.body:
        return ()
    if call.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise InvalidArgument("the body is JSON: send Content-Type: application/json")
    try:
        return (msgspec.json.decode(call.body),)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(f"the body is no JSON: {error}") from None


# --- starts ---------------------------------------------------------------------------------------


@route("POST", f"{AZURE}/orchestrators/{{name}}", "start", body=bytes, query=StartQuery,
       answers={200: Any, 202: Any})  # fmt: skip
async def start_new(call: HttpCall) -> HttpAnswer:
    """Start an orchestration: a workflow, whose one argument is the body."""
    return await _started(call, None)


@route("POST", f"{AZURE}/orchestrators/{{name}}/{{id}}", "start", body=bytes, query=StartQuery,
       answers={200: Any, 202: Any})  # fmt: skip
async def start_named(call: HttpCall) -> HttpAnswer:
    """Start an orchestration under an instance id."""
    return await _started(call, call.path["id"])


async def _started(call: HttpCall, id: str | None) -> HttpAnswer:
    _in_hub(call)
    return await _begun(call, call.path["name"], _json(call), id)


async def _begun(call: HttpCall, name: str, args: tuple[Any, ...], id: str | None) -> HttpAnswer:
    timeout, every = call.query.timeout, call.query.polling_interval
    if (timeout is None) != (every is None):
        raise InvalidArgument("give timeout and pollingInterval, or neither")
    call.needs_to_start(name, id)
    wait_s = call.bounded(timeout)
    with call.watching(waits=timeout is not None):
        try:
            handle = await call.client.start(name, *args, id=id)
        except WorkflowNotRegistered as error:
            raise HttpProblem(400, str(error)) from error
        try:
            if timeout is not None:
                return HttpAnswer(await call.api.waited(handle.result(wait_s)))
        except TimeoutError:
            pass
        except WorkflowError:
            run = await handle.describe()
            return HttpAnswer(await _status(call, handle, run, StatusQuery()))
    told = _management(call, handle)
    headers = {"location": told["statusQueryGetUri"], "retry-after": str(_START_AGAIN_S)}
    return HttpAnswer(told, 202, headers)


def _management(call: HttpCall, handle: Handle[Any]) -> dict[str, str]:
    """Return the URLs of an instance; each has a key that is good for that, where there are any."""
    first_run_id = handle._which[1] or handle.run_id or ""
    hub = f"taskHub={call.api.namespace}&connection=Storage"

    def url(rest: str, may: Permission, query: str = "") -> str:
        code = call.api.auth.capability(handle.id, first_run_id, may)
        place = f"{call.base}{AZURE}/instances/{url_part(handle.id)}{rest}"
        return f"{place}?{query}{hub}" + (f"&code={code}" if code else "")

    reason = "reason={text}&"
    return {
        "id": handle.id,
        "statusQueryGetUri": url("", "read"),
        "sendEventPostUri": url("/raiseEvent/{eventName}", "send"),
        "terminatePostUri": url("/terminate", "control", reason),
        "rewindPostUri": url("/rewind", "control", reason),
        "purgeHistoryDeleteUri": url("", "control"),
        "restartPostUri": url("/restart", "control"),
        "suspendPostUri": url("/suspend", "control", reason),
        "resumePostUri": url("/resume", "control", reason),
    }


@route("POST", f"{AZURE}/instances/{{id}}/restart", "start", query=RestartQuery,
       answers={200: Any, 202: Any})  # fmt: skip
async def restart(call: HttpCall) -> HttpAnswer:
    """Start an orchestration again with the input that it had."""
    _in_hub(call)
    handle = call.handle
    try:
        run = await handle.describe()
    except WorkflowNotFound as error:
        raise HttpProblem(400, str(error)) from error
    call.needs("read")  # the input is sent again, and what comes of it may be read
    _, events, _ = await page_of_history(handle, (run.run_id, None), 0)
    args = tuple(events[0].fields.get("arguments") or ())
    id = None if call.query.restart_with_new_instance_id else handle.id
    return await _begun(call, run.workflow, args, id)


# --- what is seen ---------------------------------------------------------------------------------


@route("GET", f"{AZURE}/instances/{{id}}", "view", query=StatusQuery,
       answers={200: Any, 202: Any, 500: Any})  # fmt: skip
async def status(call: HttpCall) -> HttpAnswer:
    """Return the status of an orchestration: 202 while it runs, 200 when it has ended."""
    _in_hub(call)
    handle = call.handle
    run = await handle.describe()
    view = await _status(call, handle, run, call.query)
    if run.status.is_open or run.status is Status.CONTINUED:
        place = f"{call.base}{AZURE}/instances/{url_part(handle.id)}"
        code = call.caller.first_run_id
        key = call.api.auth.capability(handle.id, code, "read") if code else ""
        again = f"{place}?taskHub={call.api.namespace}&connection=Storage"
        again += f"&code={key}" if key else ""
        return HttpAnswer(view, 202, {"location": again, "retry-after": str(_STATUS_AGAIN_S)})
    fails = call.query.return_internal_server_error_on_failure
    return HttpAnswer(view, 500 if fails and view["runtimeStatus"] == "Failed" else 200)


async def _status(
    call: HttpCall, handle: Handle[Any], run: RunDescription, query: StatusQuery
) -> dict[str, Any]:
    which = run.run_id, None
    _, events, more = await page_of_history(handle, which, 0)
    last = events
    if query.show_history:
        while more is not None and len(events) < _SCANNED_MAX * _PAGE:
            _, last, more = await page_of_history(handle, which, more)
            events += last
    elif more is not None:
        _, last, _ = await page_of_history(handle, which, run.events - 1)
    may_read = call.may("read")
    first = events[0].fields.get("arguments") if events and query.show_input and may_read else None
    updated = last[-1].time if last else run.closed or run.started
    view = status_view(run, first, updated, payloads=may_read)
    if query.show_history:
        outputs = query.show_history_output and may_read
        view["historyEvents"] = [event_view(each, outputs=outputs) for each in events]
    return view


@route(
    "GET",
    f"{AZURE}/instances",
    "view",
    query=InstancesQuery,
    answers={200: Any},
    headers=(_TOKEN,),
)
async def list_instances(call: HttpCall) -> HttpAnswer:
    """List orchestrations; a header has the token for what follows."""
    _in_hub(call)
    query = call.query
    if not 1 <= query.top <= _SCANNED_MAX:
        raise InvalidArgument(f"top: give 1 to {_SCANNED_MAX}")
    wanted = {each.strip().lower() for each in query.runtime_status.split(",") if each.strip()}
    if unknown := wanted - {each.lower() for each in SHOWN_STATUSES}:
        raise InvalidArgument(f"runtimeStatus: there is no {', '.join(unknown)!a}")
    cursor = call.headers.get(_TOKEN) or None
    found: list[RunDescription] = []
    scanned = 0
    while len(found) < query.top and scanned < _SCANNED_MAX:
        page, cursor = await run_page(call, None, None, min(_PAGE, query.top - len(found)), cursor)
        fit = [_looked_at(call, run) for run in page if _fits(run, query)]
        shown = await asyncio.gather(*fit)
        found += [run for run in shown if not wanted or output_of(run)[0].lower() in wanted]
        scanned += len(page)
        if cursor is None:
            break
    seen = StatusQuery(show_input=query.show_input)
    views: list[Any] = []
    for begin in range(0, len(found), _PAGE):
        some = found[begin : begin + _PAGE]
        looked = [_status(call, call.client.handle(run.workflow_id), run, seen) for run in some]
        views += await asyncio.gather(*looked)
    return HttpAnswer(views, 200, {} if cursor is None else {_TOKEN: cursor})


async def _looked_at(call: HttpCall, run: RunDescription) -> RunDescription:
    """Return a run of a list with what only its description tells: whether its code has begun."""
    if run.status is not Status.RUNNING:
        return run
    return await call.client.handle(run.workflow_id, run.run_id).describe()


def _fits(run: RunDescription, query: InstancesQuery) -> bool:
    begin, end = _aware(query.created_time_from), _aware(query.created_time_to)
    return (
        run.workflow_id.startswith(query.instance_id_prefix)
        and (begin is None or run.started >= begin)
        and (end is None or run.started <= end)
    )


def _aware(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo is not None else time.replace(tzinfo=UTC)


# --- what is sent ---------------------------------------------------------------------------------


async def _of_running(call: HttpCall) -> Handle[Any]:
    """Return the orchestration, which runs. Raises ``RunClosed``: 410."""
    _in_hub(call)
    handle = call.handle
    run = await handle.describe()
    if not run.status.is_open:
        raise RunClosed(410, f"instance {handle.id!r} is {output_of(run)[0]}")
    return handle


@route("POST", f"{AZURE}/instances/{{id}}/raiseevent/{{event}}", "send", body=bytes,
       query=AzureQuery, answers={202: None})  # fmt: skip
async def raise_to_instance(call: HttpCall) -> HttpAnswer:
    """Send an event to an orchestration; the body is its value."""
    value = _json(call)
    handle = await _of_running(call)
    await handle.raise_event(call.path["event"], value[0] if value else None)
    return HttpAnswer(None, 202)


@route("POST", f"{AZURE}/instances/{{id}}/terminate", "control", query=ReasonQuery,
       answers={202: None})  # fmt: skip
async def terminate_instance(call: HttpCall) -> HttpAnswer:
    """End an orchestration at once."""
    handle = await _of_running(call)
    await handle.terminate(call.query.reason)
    return HttpAnswer(None, 202)


async def _not_yet(call: HttpCall, verb: str) -> HttpAnswer:
    await _of_running(call)
    raise NotThereYet(verb)


@route("POST", f"{AZURE}/instances/{{id}}/suspend", "control", query=ReasonQuery,
       answers={501: None})  # fmt: skip
async def suspend(call: HttpCall) -> HttpAnswer:
    """Not there yet: suspend an orchestration."""
    return await _not_yet(call, "suspend")


@route("POST", f"{AZURE}/instances/{{id}}/resume", "control", query=ReasonQuery,
       answers={501: None})  # fmt: skip
async def resume_instance(call: HttpCall) -> HttpAnswer:
    """Not there yet: resume an orchestration."""
    return await _not_yet(call, "resume")


@route("POST", f"{AZURE}/instances/{{id}}/rewind", "control", query=ReasonQuery,
       answers={501: None})  # fmt: skip
async def rewind(call: HttpCall) -> HttpAnswer:
    """Not there yet: rewind an orchestration that failed."""
    raise NotThereYet("rewind")


@route("DELETE", f"{AZURE}/instances/{{id}}", "control", query=AzureQuery, answers={501: None})
async def purge(call: HttpCall) -> HttpAnswer:
    """Not there yet: purge the history of an orchestration."""
    raise NotThereYet("purge")


@route("DELETE", f"{AZURE}/instances", "admin", query=InstancesQuery, answers={501: None})
async def purge_many(call: HttpCall) -> HttpAnswer:
    """Not there yet: purge the histories of orchestrations that ended."""
    raise NotThereYet("purge")


# --- entities -------------------------------------------------------------------------------------


@route("GET", f"{AZURE}/entities/{{entity}}/{{key}}", "read", query=AzureQuery, answers={200: Any})
async def entity_state(call: HttpCall) -> HttpAnswer:
    """Return the state of an entity; 404 where there is none."""
    _in_hub(call)
    found = await call.client.entity(call.path["entity"], call.path["key"]).state()
    if found is None:
        raise WorkflowNotFound(f"entity {call.path['entity']!r} {call.path['key']!r} has no state")
    return HttpAnswer(found)


@route("POST", f"{AZURE}/entities/{{entity}}/{{key}}", "send", body=bytes, query=SignalQuery,
       answers={202: None})  # fmt: skip
async def signal_of_entity(call: HttpCall) -> HttpAnswer:
    """Signal an entity; the body is the argument of the operation."""
    _in_hub(call)
    if not call.query.op:
        raise InvalidArgument("op: name the operation")
    found = call.client.entity(call.path["entity"], call.path["key"])
    await found.signal(call.query.op, *_json(call))
    return HttpAnswer(None, 202)


ENDPOINTS = (
    start_new,
    start_named,
    restart,
    status,
    list_instances,
    raise_to_instance,
    terminate_instance,
    suspend,
    resume_instance,
    rewind,
    purge,
    purge_many,
    entity_state,
    signal_of_entity,
)
