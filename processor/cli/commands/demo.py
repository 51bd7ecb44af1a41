"""The command ``demo``: the order with its fraud review, live; kill it, and it goes on.

The order under way is remembered in a file beside its state, so that the next start takes it up
again. The file is written before the order is started: whenever this process dies, the next one
finds either no order, or one whose history says how far it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
import uuid
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from processor.cli.commands.demo_view import Feed, awaits_review, is_closed
from processor.cli.modules import code_in, load_example
from processor.cli.options import Json, Target, target_options
from processor.cli.output import on_terminal, say, write_json
from processor.cli.session import new_client
from processor.errors import ShardUnavailable, WorkflowError, WorkflowNotFound

if TYPE_CHECKING:
    from processor.client import Client, Handle
    from processor.worker import Worker

__all__ = ("register",)

EMBEDDED_DEFAULT = "embedded:./processor-state/demo"
KAFKA_FOLDER = Path("processor-state/demo")
ORDER_FILE = "demo-order.json"
POLL_S = 0.1
FOLLOW_UP_S = 3.0
PAYMENT_RETRY_S = 1.0
ANSWER_AFTER_S = 1.0
"""How long the demo thinks before it answers the review itself."""
WORKERS_WITHIN_S = 60.0
REVIEW_EVENT = "fraudReviewApproved"

Amount = Annotated[float, typer.Option(min=0.01, help="Above 1000 the order needs a review.")]
Review = Annotated[
    bool | None,
    typer.Option("--approve/--reject", help="Answer the review so; else you are asked."),
]
PaymentFailures = Annotated[
    int, typer.Option(min=0, metavar="N", help="Attempts that fail; with 5 the order fails.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Give an unfinished order up; begin anew.")]
ClientOnly = Annotated[
    bool, typer.Option("--client-only", help="On Kafka: workers run elsewhere, start none here.")
]


@dataclass(frozen=True)
class DemoPlan:
    """The order of this demo, as it is remembered. ``approve`` None: somebody is asked."""

    id: str
    amount: float
    payment_failures: int
    approve: bool | None


@target_options(EMBEDDED_DEFAULT)
def demo(
    target: Target,
    amount: Amount = 5_000.0,
    approve: Review = None,
    payment_failures: PaymentFailures = 0,
    fresh: Fresh = False,
    client_only: ClientOnly = False,
    as_json: Json = False,
) -> None:
    """Watch an order go through payment, fraud review and follow-up, and survive being killed.

    Started again after Ctrl-C or kill -9, it resumes the same order where it was.
    """
    from processor.assembly import embedded_path
    from processor.store.folder import take_folder

    path = embedded_path(target.server)
    if client_only and path is not None:
        raise typer.BadParameter("--client-only needs workers elsewhere, so a Kafka --server")
    logging.getLogger("processor.shard").setLevel(logging.ERROR)  # payments fail, and it shows that
    if path is not None:
        take_folder(path)  # before the order is remembered in it
    memory = DemoMemory((path or KAFKA_FOLDER) / ORDER_FILE)
    before = memory.recall()
    given_up = before if fresh else None
    if before is None or fresh:
        order_id = f"order-{uuid.uuid4().hex[:8]}"
        plan = DemoPlan(order_id, amount, payment_failures, approve)
        memory.keep(plan)
    else:
        plan = before
    stage = Stage(target, plan, given_up, approve, as_json, client_only)
    try:
        result = asyncio.run(stage.play())
    except KeyboardInterrupt:
        say(f"\nstopped; `processor demo` resumes {plan.id} where it is now", "yellow", lines=True)
        raise
    except WorkflowError:
        memory.forget()
        raise
    memory.forget()
    if as_json:
        write_json({"workflow_id": plan.id, "result": result})
    else:
        say(result, "bold")


class DemoMemory:
    """The file that holds the plan of an unfinished order."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self) -> DemoPlan | None:
        """Return the unfinished plan; a file that cannot be read counts as none."""
        try:
            return DemoPlan(**json.loads(self._path.read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError, ValueError):
            return None

    def keep(self, plan: DemoPlan) -> None:
        """Write the plan so that a crash leaves the old file or the new one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(plan)), encoding="utf-8")
        os.replace(draft, self._path)

    def forget(self) -> None:
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Stage:
    """One performance of the demo."""

    target: Target
    plan: DemoPlan
    given_up: DemoPlan | None
    approve: bool | None
    as_json: bool
    client_only: bool

    async def play(self) -> str:
        """Start or resume the order, show it until it ends, and return its result."""
        orders = load_example("orders")
        async with AsyncExitStack() as stack:
            if not self.client_only:
                await stack.enter_async_context(await self._worker())
            client = await stack.enter_async_context(new_client(self.target))
            if self.given_up is not None:
                with suppress(WorkflowNotFound, ShardUnavailable):
                    await client.handle(self.given_up.id).terminate("a fresh demo was asked for")
            handle, before = await self._begin(client, orders)
            return await self._follow(handle, before)

    async def _worker(self) -> Worker:
        """Return a worker of our own; on Kafka with the topics that it needs."""
        from processor.assembly import embedded_path
        from processor.cli.commands.worker import new_worker

        code = code_in([load_example("orders")])
        if embedded_path(self.target.server) is not None:
            return new_worker(code, self.target)
        from processor.cli.commands.topics import planned
        from processor.kafka.topics import upkeep as topics

        topics.apply(*await asyncio.to_thread(planned, self.target))
        name = f"{socket.gethostname()}-demo"
        return new_worker(code, self.target, state_dir=KAFKA_FOLDER / "worker", instance_id=name)

    async def _begin(self, client: Client, orders: Any) -> tuple[Handle[Any], int]:
        """Return the order's run, and how many events it has: the one there, or a new one."""
        plan = self.plan
        try:
            found = await self._patiently(client, plan.id)
        except WorkflowNotFound:
            order = orders.Order(
                plan.id,
                plan.amount,
                payment_failures=plan.payment_failures,
                payment_retry_s=PAYMENT_RETRY_S,
                follow_up_s=FOLLOW_UP_S,
            )
            self._tell(f"new order {plan.id} of {plan.amount:,.2f}", "bold")
            self._explain()
            workflow = orders.order_processing
            return await client.start(workflow, order, id=plan.id, conflict="use-existing"), 0
        so_far = f"{found.events} events so far"
        self._tell(f"resuming order {plan.id} where it was: {so_far}", "bold yellow")
        self._explain()
        return client.handle(plan.id), found.events

    async def _patiently(self, client: Client, id: str) -> Any:
        """Describe a run; workers elsewhere may still be starting."""
        deadline = asyncio.get_running_loop().time() + WORKERS_WITHIN_S
        while True:
            try:
                return await client.handle(id).describe()
            except ShardUnavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                self._tell("no worker answers yet; asking again", "dim")

    def _explain(self) -> None:
        if on_terminal() and not self.as_json:
            say(
                "Kill me with Ctrl-C (or kill -9) and start me again: I resume here.\n",
                "dim",
                lines=True,
            )

    def _tell(self, text: str, style: str = "") -> None:
        if not self.as_json:
            say(text, style)

    async def _follow(self, handle: Handle[Any], before: int) -> str:
        """Show events as they happen and answer the review."""
        feed = Feed(self.as_json, before)
        answering: asyncio.Task[None] | None = None
        try:
            while True:
                events = await handle.history()
                await feed.show(events)
                if is_closed(events):
                    return str(await handle.result())
                if awaits_review(events) and answering is None:
                    answering = asyncio.create_task(self._answer(handle))
                if answering is not None and answering.done():
                    answering.result()
                await asyncio.sleep(POLL_S)
        finally:
            if answering is not None:
                answering.cancel()

    async def _answer(self, handle: Handle[Any]) -> None:
        approve = self.plan.approve if self.approve is None else self.approve
        if approve is None and sys.stdin.isatty() and not self.as_json:
            approve = await asked(f"Approve {self.plan.id} of {self.plan.amount:,.2f}? [y/n] ")
        else:
            await asyncio.sleep(ANSWER_AFTER_S)
            approve = approve is not False
            self._tell(f"the demo answers the review: {'yes' if approve else 'no'}", "bold")
        await handle.raise_event(REVIEW_EVENT, approve)


async def asked(question: str) -> bool:
    """Ask on the terminal until the answer is yes or no.

    On the event loop and not in a thread: a thread that waits for a line cannot be stopped, and
    Ctrl-C would have to wait for it.
    """
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()
    descriptor = sys.stdin.fileno()
    loop.add_reader(descriptor, lambda: lines.put_nowait(os.read(descriptor, 1024)))
    try:
        while True:
            sys.stdout.write(question)
            sys.stdout.flush()
            line = await lines.get()
            if not line:
                raise KeyboardInterrupt
            answer = line.decode(errors="replace").strip().lower()
            if answer in ("y", "yes", "n", "no"):
                return answer.startswith("y")
    finally:
        loop.remove_reader(descriptor)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command(rich_help_panel="Try it")(demo)
