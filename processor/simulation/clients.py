"""A simulated client: sends a command until it is answered, as real ones do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from processor.core.effects import Reply, ReplyBody
from processor.core.inputs import ClientCommand, ReplyTo
from processor.simulation.broker import Broker
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
        broker: Broker,
        scheduler: Scheduler,
        faults: Faults,
        ask_again_ms: int | None = _ASK_AGAIN_MS,
    ) -> None:
        self._name = name
        self._broker = broker
        self._scheduler = scheduler
        self._faults = faults
        self._ask_again_ms = ask_again_ms
        self._numbers = 0
        self._waiting: dict[str, Callable[[ReplyBody], None]] = {}
        self._retries: dict[str, Step] = {}
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
    ) -> str:
        """Send a command; returns the request's id."""
        self._numbers += 1
        request_id = command.request_id or f"{self._name}-{self._numbers}"
        command = command.asked(request_id, ReplyTo(0, self._name))
        self._waiting[request_id] = answered
        self._send(command, partition, self._ask_again_ms)
        return request_id

    def forget(self, request_id: str) -> None:
        """Wait no more for an answer."""
        self._waiting.pop(request_id, None)
        retry = self._retries.pop(request_id, None)
        if retry is not None:
            retry.cancel()

    def _send(
        self, command: ClientCommand, partition: int | None, ask_again_ms: int | None
    ) -> None:
        copies = 2 if self._scheduler.strikes(self._faults, "duplicated") else 1
        where = self._broker.partition_of(command.workflow_id) if partition is None else partition
        for _ in range(copies):
            self._uplink.send(f"commands-{where}", lambda: self._broker.command(command, where))
        if ask_again_ms is not None:
            later_ms = min(ask_again_ms * 2, _ASK_AGAIN_MAX_MS)
            self._retries[command.request_id] = self._scheduler.after(
                ask_again_ms,
                f"{self._name} asks again",
                lambda: self._send(command, partition, later_ms),
            )

    def _replied(self, reply: Reply) -> None:
        answered = self._waiting.get(reply.request_id)
        if answered is not None:
            self.forget(reply.request_id)
            answered(reply.body)
