"""Who is meant, who asks, and where answers go."""

from __future__ import annotations

from typing import TypeAlias

from processor.core.data.fields import Int32, RunId, WorkflowId
from processor.core.data.frozen import frozen

__all__ = ("Address", "Caller", "ReplyAddress", "ReplyTo", "ReplyToTopic", "RunRef")


@frozen
class RunRef:
    """One run of another instance."""

    workflow_id: WorkflowId
    run_id: RunId


@frozen
class Address:
    """An instance, in this namespace or in another one."""

    namespace: str | None
    """The namespace; None means the sender's own."""
    workflow_id: WorkflowId

    @property
    def shown(self) -> str:
        """How a message of an error names it."""
        of = "" if self.namespace is None else f" of namespace {self.namespace!r}"
        return f"{self.workflow_id!r}{of}"


@frozen
class Caller:
    """Who waits for the answer to a call."""

    address: Address
    """The instance that called."""
    run_id: str
    """The run that called."""
    call: int
    """Number of the call among all requests of that run."""


@frozen
class ReplyTo:
    """Where the sender reads its replies."""

    partition: Int32
    """Partition of replies that the sender reads."""
    client: str
    """Client id of the sender, the key of the reply."""
    request: int = 0
    """Number by which the sender knows which request was answered; 0 where it needs none."""

    @property
    def topic(self) -> str:
        """The topic of the sender's namespace, without the name of the namespace."""
        return "replies"

    def numbered(self, request: int) -> ReplyTo:
        """Return the address of the answer to one request."""
        return ReplyTo(self.partition, self.client, request)


@frozen
class ReplyToTopic(ReplyTo):
    """Where a sender reads its replies who has a topic of its own for them."""

    name: str = ""
    """How the name of the topic ends: it is replies.<name> of the namespace."""

    @property
    def topic(self) -> str:
        return f"replies.{self.name}"

    def numbered(self, request: int) -> ReplyToTopic:
        return ReplyToTopic(self.partition, self.client, request, self.name)


ReplyAddress: TypeAlias = ReplyTo | ReplyToTopic
