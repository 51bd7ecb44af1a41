"""Those who send besides the clients of the cases: other namespaces, strangers, and rivals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

from processor.core.data.cause import NamedRequest, Origin
from processor.core.inputs import ClientCommand
from processor.core.nouns.external import RaiseEvent
from processor.core.nouns.start import StartRun
from processor.core.nouns.stop import TerminateRun
from processor.core.operation import Request
from processor.core.questions import AwaitResult
from processor.core.records.answers import Accepted, Closed, Refused, ReplyBody
from processor.simulation.clients import SimulatedClient
from processor.simulation.scheduler import Ways
from processor.simulation.world import World

__all__ = ("Contest", "Foreign", "Rival", "Stranger")

_FOREIGN_LOG: Final = b"another log's id"
_CONTEST: Final = "contest"


class Teller(Protocol):
    """What sends needs of a story."""

    world: World
    forgetful: bool

    def encode(self, value: Any) -> bytes | None: ...


Sent = tuple[str, str, Any]
"""An event for a workflow id: its name and value."""


class Foreign:
    """A shard of another namespace: its messages have origins, and come in order.

    Like a shard that is taken over it sends again, from some message on, all that it has sent.
    """

    def __init__(self, story: Teller, random: Random, events: list[Sent]) -> None:
        self._world = story.world
        self._random = random
        self.commands = [
            ClientCommand(
                workflow_id,
                RaiseEvent(name, story.encode(value)),
                Origin(_FOREIGN_LOG, 0, 1_000 + number // 2, number % 2),
            )
            for number, (workflow_id, name, value) in enumerate(events)
        ]
        scheduler, faults = self._world.scheduler, self._world.faults
        self._ways = Ways(scheduler, "another namespace", faults)
        self._sent = 0

    def begin(self) -> None:
        self._world.scheduler.after(self._random.randint(0, 30_000), "a message", self._go_on)

    def _go_on(self) -> None:
        again = self._random.randint(0, self._sent) if self._random.random() < 0.5 else self._sent
        self._sent = min(self._sent + 1, len(self.commands))
        for command in self.commands[again : self._sent]:
            self._send(command)
        if self._sent < len(self.commands) or again < self._sent:
            self.begin()

    def _send(self, command: ClientCommand) -> None:
        broker = self._world.broker
        partition = broker.partition_of(command.workflow_id)
        self._ways.send(f"commands-{partition}", lambda: broker.command(command, partition))


class Stranger:
    """Produces commands by hand, with an id or without, and hears of nothing.

    With an id, the same record may come several times, unless shards are forgetful. ``lost`` are
    those that were sent and cannot be taken.
    """

    def __init__(self, story: Teller, random: Random, events: list[Sent], lost: int) -> None:
        self._world = story.world
        self._again = not story.forgetful
        self._random = random
        self._commands = [
            ClientCommand(
                workflow_id,
                RaiseEvent(name, story.encode(value)),
                NamedRequest(f"by hand {number}"),
            )
            for number, (workflow_id, name, value) in enumerate(events)
        ]
        self.lost: list[ClientCommand] = []
        self._in_vain = [
            ClientCommand(
                f"nobody-{number}",
                RaiseEvent("anything", b"%d" % number),
                random.choice((None, NamedRequest(f"lost {number}"))),
            )
            for number in range(lost)
        ]

    def begin(self) -> None:
        for command in self._commands:
            for _ in range(self._random.choice((1, 2, 3)) if self._again else 1):
                self._later(command)
        for command in self._in_vain:
            for _ in range(1 if command.cause is None else self._random.choice((1, 2))):
                self._later(command)

    def _later(self, command: ClientCommand) -> None:
        delay_ms = self._random.randint(0, 120_000)
        self._world.scheduler.after(delay_ms, "by hand", lambda: self._send(command))

    def _send(self, command: ClientCommand) -> None:
        self._world.broker.command(command)
        if command in self._in_vain:
            self.lost.append(command)


@dataclass
class Rival:
    """Tries to start what is started already, and has to be told so."""

    client: SimulatedClient
    workflow_id: str
    workflow: str
    answer: ReplyBody | None = None

    def begin(self) -> None:
        body = StartRun(self.workflow, b"[]", reuse="reject")
        self.client.request(ClientCommand(self.workflow_id, body), self._answered)

    def _answered(self, reply: ReplyBody) -> None:
        assert isinstance(reply, Refused), f"{self.workflow_id} is started once more: {reply}"
        assert reply.error in ("WorkflowAlreadyStarted", "RequestExpired"), reply
        self.answer = reply


@dataclass
class Entrant:
    """One of several clients that start the same id, each a run of its own if it may."""

    client: SimulatedClient
    conflict: str
    ends_it: bool
    answer: ReplyBody | None = None
    closed: ReplyBody | None = None

    @property
    def done(self) -> bool:
        return isinstance(self.answer, Refused) or self.closed is not None


@dataclass
class Contest:
    """Clients that start one id at about the same time: the program ``steps``."""

    world: World
    random: Random
    steps: bytes | None
    workflow_id: str = _CONTEST
    entrants: list[Entrant] = field(default_factory=list)

    def enter(self, client: SimulatedClient) -> None:
        conflict = self.random.choice(("fail", "use-existing", "terminate", "terminate"))
        self.entrants.append(Entrant(client, conflict, self.random.random() < 0.3))

    @property
    def done(self) -> bool:
        return all(entrant.done for entrant in self.entrants)

    def begin(self) -> None:
        for entrant in self.entrants:
            self._later(lambda entrant=entrant: self._start(entrant))  # type: ignore[misc]

    def _start(self, entrant: Entrant) -> None:
        body = StartRun("program", self.steps, conflict=entrant.conflict)

        def answered(reply: ReplyBody) -> None:
            entrant.answer = reply
            if isinstance(reply, Accepted):
                self._started(entrant, reply)

        self._ask(entrant, body, answered)

    def _started(self, entrant: Entrant, reply: Accepted) -> None:
        chain = reply.first_run_id or reply.run_id

        def closed(reply: ReplyBody) -> None:
            assert isinstance(reply, Closed), reply
            entrant.closed = reply

        self._ask(entrant, AwaitResult(first_run_id=chain), closed)
        if entrant.ends_it and reply.created:
            body = TerminateRun(f"ended by {entrant.client._name}", first_run_id=chain)
            self._later(lambda: self._ask(entrant, body, lambda reply: None))

    def _ask(self, entrant: Entrant, body: Request, answered: Callable[[ReplyBody], None]) -> None:
        entrant.client.request(ClientCommand(self.workflow_id, body), answered)

    def _later(self, action: Callable[[], None]) -> None:
        self.world.scheduler.after(self.random.randint(0, 10_000), "a contest", action)
