"""Human interaction: ask for an approval, remind once, and escalate when nobody answers.

processor start expense '{"who": "Ada", "amount": 120}' --id expense-1
processor event expense-1 approval '{"by": "Grace", "approved": true}'
"""

from dataclasses import dataclass
from datetime import timedelta

from processor import activity, workflow


@dataclass
class Expense:
    who: str
    amount: float
    answer_within_s: float = 24 * 3600.0


@dataclass
class Approval:
    by: str
    approved: bool


@activity.define
async def ask(manager: str, expense: Expense) -> None:
    """Send the request, for example as a mail with a link that raises the event."""


@workflow.define
async def expense(expense: Expense) -> str:
    for manager in ("team lead", "team lead, again", "head of department"):
        await ask(manager, expense)
        workflow.set_status(f"waiting for the {manager}")
        try:
            answer = await workflow.wait_for_event(
                "approval", Approval, timeout=timedelta(seconds=expense.answer_within_s)
            )
        except TimeoutError:
            continue
        verdict = "approved" if answer.approved else "rejected"
        return f"{verdict} by {answer.by}"
    return "nobody answered"
