"""A simulated client: sends a command until it is answered, as real ones do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from processor.core.data.address import ReplyTo
from processor.core.inputs import ClientCommand
from processor.core.records.answers import ReplyBody
from processor.core.records.effects import Reply
from processor.gateway import Requester
from processor.simulation.broker import SimulatedBroker
from processor.simulation.faults import Faults
from processor.simulation.scheduler import Scheduler, Step, Ways

__all__ = ("SimulatedClient",)

_ASK_AGAIN_MS: Final = 10_000
_ASK_AGAIN_MAX_MS: Final = 4 * 3600 * 1000


class SimulatedClient:
    """Asks again after ``ask_again_ms``, then after twice that, and so on.

    ``ask_again_ms`` is None for a client that trusts its runtime to answer.
    """

    def __init__(
        self,
        name: str,
        broker: SimulatedBroker,
        scheduler: Scheduler,
        faults: Faults,
        ask_again_ms: int | None = _ASK_AGAIN_MS,
    ) -> None:
        self._name = name
        self._broker = broker
        self._scheduler = scheduler
        self._faults = faults
        self._ask_again_ms = ask_again_ms
        self._requester = Requester(ReplyTo(0, name))
        self._waiting: dict[int, Callable[[ReplyBody], None]] = {}
        self._retries: dict[int, Step] = {}
        self._taken: set[int] = set()
        self._uplink = Ways(scheduler, name, faults)
        broker.clients[name] = self._replied

    @property
    def waiting(self) -> int:
        """How many requests have no answer yet."""
        return len(self._waiting)

    def request(
        self,
        command: ClientCommand,
        answered: Callable[[ReplyBody], None],
        partition: int | None = None,
    ) -> int:
        """Send a command; returns the request's number."""
        if partition is None:
            partition = self._broker.partition_of(command.workflow_id)
        command = self._requester.identified(command, partition)
        number = _number(command)
        self._waiting[number] = answered
        self._send(command, partition, self._ask_again_ms)
        return number

    def forget(self, number: int) -> None:
        """Wait no more for an answer."""
        self._waiting.pop(number, None)
        self._taken.discard(number)
        retry = self._retries.pop(number, None)
        if retry is not None:
            retry.cancel()

    def _send(self, command: ClientCommand, partition: int, ask_again_ms: int | None) -> None:
        """Send a command, or lose it: Kafka refuses a record now and then, and says so."""
        number = _number(command)
        command = replace(command, again=number in self._taken)
        refused = self._scheduler.strikes(self._faults, "refused")
        copies = 2 if self._scheduler.strikes(self._faults, "duplicated") else 1
        for _ in range(0 if refused else copies):
            self._uplink.send(f"commands-{partition}", lambda: self._arrive(command, partition))
        if ask_again_ms is not None:
            later_ms = min(ask_again_ms * 2, _ASK_AGAIN_MAX_MS)
            self._retries[number] = self._scheduler.after(
                ask_again_ms,
                f"{self._name} asks again",
                lambda: self._send_again(command, partition, later_ms),
            )

    def _send_again(self, command: ClientCommand, partition: int, ask_again_ms: int) -> None:
        """Send once more; never while an earlier copy is still on its way."""
        if self._uplink.idle:
            self._send(command, partition, ask_again_ms)
        else:
            self._retries[_number(command)] = self._scheduler.after(
                ask_again_ms,
                f"{self._name} asks again",
                lambda: self._send_again(command, partition, ask_again_ms),
            )

    def _arrive(self, command: ClientCommand, partition: int) -> None:
        self._taken.add(_number(command))
        self._broker.command(command, partition)

    def _replied(self, reply: Reply) -> None:
        answered = self._waiting.get(reply.to.request)
        if answered is not None:
            self.forget(reply.to.request)
            answered(reply.body)


def _number(command: ClientCommand) -> int:
    assert command.reply_to is not None, "it has an identity"
    return command.reply_to.request
