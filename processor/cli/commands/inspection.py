"""Commands that look at runs: describe, history, list."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor import checks
from processor.cli.options import (
    AskedView,
    EmbeddedModules,
    Json,
    RunId,
    Target,
    WorkflowId,
    checked,
    target_options,
)
from processor.cli.output import (
    STATUS_STYLES,
    cut,
    say,
    show_found,
    show_table,
    shown_time,
    shown_value,
    to_plain,
    write_json,
)
from processor.cli.session import connected
from processor.policy import Status
from processor.readable import readable

if TYPE_CHECKING:
    from processor.client import HistoryEvent, RunDescription, ViewPosition

__all__ = ("essentials", "register")

PANEL = "Runs"
CELL_MAX = 100
SHOWN_MAX = 20
LABEL_WIDTH = 18
VALUE_MAX = 1_000
WorkflowOnly = Annotated[
    str | None, typer.Option(callback=checked(checks.name), help="Only runs of this workflow.")
]
LATEST = (
    *("arguments", "result", "payload", "failure", "error", "reason", "value", "output"),
    *("previous_failure",),
)
"""What a person looks for first in an event, after its names."""
NAMES = (
    *("workflow", "name", "workflow_id", "status", "attempt"),
    *("due_ms", "retry_at_ms", "start_at_ms"),
)
PARTS = ("lineage", "plan", "to", "start", "outcome")
"""Of a run that follows another one: which, when, and why; of a child and of a call: who, and what
came of it.
"""


@target_options(injects=True)
def describe(
    target: Target,
    id: WorkflowId,
    run_id: RunId = None,
    views_dir: AskedView = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Show where a run stands, and what it waits for."""

    async def work() -> None:
        async with connected(target, module, views_dir) as client:
            found = await client.handle(id, run_id).describe()
        if as_json:
            write_json(found)
            return
        for name, value in description_lines(found):
            style = STATUS_STYLES.get(value, "") if name == "status" else ""
            text = readable(value, lines=True).replace("\n", "\n" + LABEL_WIDTH * " ")
            say(f"{name + ':':<{LABEL_WIDTH}}{text}", style, lines=True)

    asyncio.run(work())


@target_options(injects=True)
def history(
    target: Target,
    id: WorkflowId,
    run_id: RunId = None,
    views_dir: AskedView = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Show all events of a run, in order."""

    async def work() -> None:
        async with connected(target, module, views_dir) as client:
            events = await client.handle(id, run_id).history()
        if as_json:
            for event in events:
                write_json(event)
            return
        rows = [(str(e.number), shown_time(e.time), e.type, essentials(e)) for e in events]
        show_table(("#", "time", "type", "what"), rows)
        if events.view is not None:
            say(view_line(events.view))

    asyncio.run(work())


@target_options(injects=True)
def list_runs(
    target: Target,
    query: Annotated[
        str | None,
        typer.Option(
            metavar="QUERY",
            help="""All runs that fit, also closed ones: "status = 'failed' AND sum > 5".""",
        ),
    ] = None,
    status: Annotated[Status | None, typer.Option(help="Only runs that stand so.")] = None,
    workflow: WorkflowOnly = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 100,
    views_dir: AskedView = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """List the latest run of each workflow id, or the runs that a query finds."""

    async def work() -> None:
        async with connected(target, module, views_dir) as client:
            wanted = client.list(query, status=status, workflow=workflow, limit=limit + 1)
            found = [each async for each in wanted]
        columns = ("workflow id", "workflow", "status", "started", "events", "run")
        show_found(found, columns, list_row, as_json=as_json, limit=limit)
        told = [run.view for run in found[:limit] if run.view is not None]
        if told and not as_json:
            say(view_line(max(told, key=lambda view: view.behind)))

    asyncio.run(work())


@target_options(injects=True)
def count(
    target: Target,
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY", help="Which runs: \"closed > now() - '1d' GROUP BY workflow\"."
        ),
    ] = "",
    views_dir: AskedView = None,
    module: EmbeddedModules = None,
    as_json: Json = False,
) -> None:
    """Count the runs that a query finds, and those in each group."""

    async def work() -> None:
        async with connected(target, module, views_dir) as client:
            found = await client.count(query)
        if as_json:
            write_json(found)
            return
        say(f"{found.count:,}" + _figures(found.figures))
        for group in found.groups:
            values = ", ".join("none" if each is None else str(each) for each in group.values)
            say(f"  {readable(values)}: {group.count:,}{_figures(group.figures)}")

    asyncio.run(work())


def _figures(figures: Mapping[str, Any]) -> str:
    """Return what a count has selected, behind it."""
    return "".join(f"  {readable(text)} = {value}" for text, value in figures.items())


def list_row(run: RunDescription) -> tuple[str, ...]:
    """Return one line of the list."""
    status = run.status.value
    started = shown_time(run.started)
    return (run.workflow_id, run.workflow, status, started, str(run.events), run.run_id)


def view_line(view: ViewPosition) -> str:
    """Return that a view has answered, and how far it was."""
    behind = f", {view.behind:,} records behind the log" if view.behind else ""
    unknown = ""
    if view.unknown:
        unknown = "; where the code waits, only a worker knows"
    return f"the view, as of {shown_time(view.time)}{behind}: no worker answered{unknown}"


def description_lines(run: RunDescription) -> Iterator[tuple[str, str]]:
    """Yield what a description says, without what is empty."""
    yield "workflow id", run.workflow_id
    yield "run id", run.run_id
    yield "workflow", run.workflow
    yield "status", run.status.value
    yield "started", shown_time(run.started)
    if run.closed is not None:
        yield "closed", shown_time(run.closed)
    if run.begins is not None:
        yield "begins", shown_time(run.begins)
    if run.cron is not None:
        then = run.next_begins
        yield "cron", run.cron + (f", next {shown_time(then)}" if then is not None else "")
    yield "events", str(run.events)
    yield "shard", str(run.shard)
    if run.view is not None:
        yield "told by", view_line(run.view)
    if run.producer:
        yield "producer", run.producer
    if run.cancel_reason is not None:
        terminated = run.status is Status.TERMINATED
        yield "reason" if terminated else "cancel reason", run.cancel_reason
    if run.parent is not None:
        elsewhere = run.parent_namespace
        of = "" if elsewhere is None else f", in namespace {elsewhere}"
        yield "parent", f"{run.parent.workflow_id}, run {run.parent.run_id}{of}"
    if run.root is not None and run.root != run.parent:
        yield "root", f"{run.root.workflow_id}, run {run.root.run_id}"
    if run.successor is not None:
        yield "followed by", run.successor
    if run.failure is not None:
        yield "error", "\n".join(failure_lines(run.failure))
    if run.status is Status.COMPLETED:
        yield "result", cut(shown_value(run.result), VALUE_MAX)
    elif run.result is not None:
        yield "output", cut(shown_value(run.result), VALUE_MAX)
    for name in ("custom_status", "memo"):
        if (value := getattr(run, name)) is not None:
            yield name.replace("_", " "), cut(shown_value(value), VALUE_MAX)
    for name, value in run.attributes.items():
        shown = value.isoformat() if isinstance(value, datetime) else shown_value(value)
        yield f"attribute {name}", cut(shown, VALUE_MAX)
    for name, value in shortened(run.parked or {}).items():
        yield f"parked {name}", str(value)
    if (attempt := run.attempt) is not None:
        yield "attempt", "\n".join(attempt_lines(attempt))
    if run.undelivered is not None:
        count, reasons = run.undelivered["count"], run.undelivered["reasons"]
        yield "undelivered", "\n".join((f"{count} in dead-letters", *reasons))
    for activity in run.pending.get("activities", ()):
        yield "activity", "\n".join(activity_lines(activity))
    for timer in run.pending.get("timers", ()):
        if timer["id"]:  # 0 begins the code
            signal = timer.get("signal")
            what = f"#{timer['id']}" if signal is None else f"signal {readable(signal)}"
            yield "timer", f"{what}, due {at(timer['due_ms'])}"
    for call in run.pending.get("calls", ()):
        yield "call", f"#{call['id']} {call['operation']}, {call['to']} has not answered"
    for update in run.pending.get("updates", ()):
        yield "update", f"{update['name']} (id {update['id']}), its handler has not ended"
    yield from children_lines(run.pending)
    for key in run.correlations:
        yield "business key", f"{key.name} {key.key}"
    yield from lock_lines(run.pending)
    yield from promise_lines(run.pending)
    for name, value in run.pending.get("values", {}).items():
        yield f"value {name}", cut(shown_value(value), VALUE_MAX)
    for name, count in run.pending.get("unread", {}).items():
        yield "unread event", f"{name}, {count} that the code has not taken"
    for place in run.pending.get("waiting", ()):
        yield "waiting", place


def promise_lines(pending: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the promises that nobody has settled, the first ones."""
    promises = pending.get("promises", ())
    for promise in promises[:SHOWN_MAX]:
        yield "promise", f"#{promise['number']}, made {at(promise['made_ms'])}, id {promise['id']}"
    if (more := pending.get("promises_open", 0) - SHOWN_MAX) > 0:
        yield "promise", f"and {more:,} more"


def lock_lines(pending: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the locks of a run, and who holds an entity, or waits for it, the first ones."""
    for each in pending.get("locks", ()):
        stands = "it waits" if each["number"] is None else f"held under number {each['number']}"
        yield "lock", f"#{each['id']} of {each['entity']}: {stands}"
    if (lock := pending.get("lock")) is not None:
        since = f"since {at(lock['since_ms'])} under number {lock['number']}"
        yield "locked by", f"{lock['workflow_id']}, run {lock['run_id']}, {since}"
    for each in pending.get("lock_waits", ())[:SHOWN_MAX]:
        yield "waits for lock", f"{each['workflow_id']}, run {each['run_id']}"
    if (more := pending.get("lock_waiting", 0) - SHOWN_MAX) > 0:
        yield "waits for lock", f"and {more:,} more"


def children_lines(pending: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the children that a run waits for, the first ones."""
    children = pending.get("children", ())
    for child in children[:SHOWN_MAX]:
        asked = ", asked to cancel itself" if child["cancelled"] else ""
        of = "" if child["namespace"] is None else f" in namespace {child['namespace']}"
        end = f"{child['parent_close']} when this run ends"
        named = f"#{child['id']} {child['workflow']} {child['workflow_id']}{of}"
        yield "child", f"{named}: {end}{asked}"
    if (more := pending.get("children_open", 0) - SHOWN_MAX) > 0:
        yield "child", f"and {more:,} more"


def attempt_lines(attempt: Mapping[str, Any]) -> Iterator[str]:
    """Yield which attempt of its chain a run is, when it begins, and why the one before failed."""
    number, most, begins_ms = attempt["number"], attempt["maximum"], attempt["begins_ms"]
    begins = f", begins {at(begins_ms)}" if begins_ms else ""
    yield f"{number}{f' of {most}' if most else ''}{begins}"
    if failure := attempt["last_failure"]:
        yield from failure_lines(failure, "the one before failed with ")


def failure_lines(failure: Mapping[str, Any], lead: str = "") -> Iterator[str]:
    """Yield why a run failed, and what caused that, the outermost error first."""
    each: Mapping[str, Any] | None = failure
    while each is not None:
        type, message = each["type"], each["message"]
        said = message if message.startswith(f"{type}: ") else f"{type}: {message}"
        yield cut(lead + said, VALUE_MAX)
        lead, each = "because of ", each.get("cause")


def activity_lines(activity: Mapping[str, Any]) -> Iterator[str]:
    """Yield where an open activity stands: its attempt, its heartbeat, its last failure."""
    if activity["retry_at_ms"] is not None and activity["paused"]:
        where = "waits until it is resumed"
    elif activity["retry_at_ms"] is not None:
        where = f"is tried again {at(activity['retry_at_ms'])}"
    elif activity["left_open"]:
        where = f"left open by its function, which began {at(activity['started_ms'])}"
    elif activity["started_ms"] is not None:
        where = f"runs since {at(activity['started_ms'])} on {activity['worker']}"
    elif activity["eager"]:
        where = f"runs beside its shard since {at(activity['dispatched_ms'])}"
    else:
        where = f"in queue {activity['queue']} since {at(activity['dispatched_ms'])}"
    paused = " (paused)" if activity["paused"] else ""
    asked = " (asked to stop)" if activity["asked_to_stop"] else ""
    attempt = f"attempt {activity['attempt']}{paused}{asked}"
    yield f"#{activity['id']} {activity['name']}, {attempt}: {where}"
    if activity["heartbeat_ms"] is not None:
        details = shown_value(to_plain(activity["details"]))
        yield f"heartbeat {at(activity['heartbeat_ms'])}: {details}"
    if failure := activity["last_failure"]:
        count = activity["failures"]
        yield f"{count} failed, the last with {failure['type']}: {failure['message']}"


def at(time_ms: int) -> str:
    """Return a time of the engine's for people."""
    return shown_time(datetime.fromtimestamp(time_ms / 1000, UTC))


def shortened(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value not in (None, "", [])}


def essentials(event: HistoryEvent, width: int = CELL_MAX) -> str:
    """Return an event's fields for one line: its names first, cut to ``width``."""
    fields = shortened(event.fields)
    for part in PARTS:
        fields |= shortened(fields.get(part, {}))
    parts = [f"#{fields[name]}" for name in ("id", "call") if name in fields]
    parts += [labelled(name, fields[name]) for name in NAMES if name in fields]
    parts += [shown_value(told(fields[name])) for name in LATEST if name in fields]
    if successor := fields.get("successor"):
        parts.append(f"followed by {successor['run_id']}")
    text = " ".join(parts)
    return cut(text, width)


def labelled(name: str, value: Any) -> str:
    """Return a field with its name where the value alone would not explain itself."""
    if name.endswith("_ms"):
        return f"{name.removesuffix('_ms').removesuffix('_at')} {at(value)}"
    return str(value) if name in ("workflow", "name", "status") else f"{name}={value}"


def told(value: Any) -> Any:
    """Return a failure's message instead of all of its fields."""
    return value["message"] if isinstance(value, dict) and "message" in value else value


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command, name in (
        (describe, "describe"),
        (history, "history"),
        (list_runs, "list"),
        (count, "count"),
    ):
        app.command(name, rich_help_panel=PANEL)(command)
