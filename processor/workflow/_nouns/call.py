"""Messages to other workflows."""

from __future__ import annotations

from typing import Any

from processor import checks
from processor.core.data.address import Address
from processor.core.nouns.call import MessageSent
from processor.workflow._context import current
from processor.workflow._frames import line_here

__all__ = ("cancel", "signal")


def signal(workflow_id: str, name: str, payload: Any = None) -> None:
    """Send an external event to another workflow; nothing happens if it does not run."""
    decisions, line = current("signal").decisions, line_here()
    workflow_id = checks.workflow_id(workflow_id, "workflow.signal: workflow_id")
    name = checks.name(name, "workflow.signal: name")
    what = f"a message to {workflow_id!r}"
    encoded = decisions.encode(payload, what)
    sent = MessageSent(Address(None, workflow_id), "event", name, "", encoded)
    decisions.add(sent, line, len(encoded or b""), what)


def cancel(workflow_id: str, reason: str = "") -> None:
    """Ask another workflow to cancel; nothing happens if it does not run."""
    decisions, line = current("cancel").decisions, line_here()
    workflow_id = checks.workflow_id(workflow_id, "workflow.cancel: workflow_id")
    reason = checks.text(reason, "workflow.cancel: reason")
    sent = MessageSent(Address(None, workflow_id), "cancel", "", reason, None)
    decisions.add(sent, line, len(reason), f"a message to {workflow_id!r}")
