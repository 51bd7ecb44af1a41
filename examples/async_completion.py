"""An activity that somebody else ends: a carrier takes a parcel, and calls back days later.

processor start order '"lamp"' --id order-1
processor activity ls order-1
processor activity complete --id order-1 1 --result '"shipped"'
"""

from datetime import timedelta

from processor import ActivityNotOpen, Client, RetryPolicy, activity, workflow


async def hand_over(what: str, callback: str) -> None:
    """Ask the carrier for a shipment; it calls ``callback`` when that is on its way."""


@activity.define(
    start_to_close=timedelta(days=5),
    retry=RetryPolicy(initial_interval=timedelta(minutes=10), maximum_attempts=3),
)
async def ship(what: str) -> str:
    token = activity.info().task_token
    await hand_over(what, f"https://example.com/shipments/{token}")
    activity.heartbeat(token)  # so that `processor activity ls` shows it
    raise activity.CompleteAsync


@workflow.define
async def order(what: str) -> str:
    return f"{what}: {await ship(what)}"


async def webhook(client: Client, token: str, status: str) -> None:
    """Take a call of the carrier, in a process of the web server. It may come twice, or too late.

    A carrier that fails is asked again, as the retry policy says.
    """
    try:
        if status == "lost":
            await client.fail(token, RuntimeError("the carrier has lost it"))
        else:
            await client.complete(token, status)
    except ActivityNotOpen:
        pass
