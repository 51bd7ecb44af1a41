"""Report: a run each morning, which is told what the run before it found (cron).

processor start report '["Rome"]' --id report --cron 'CRON_TZ=Europe/Rome 30 6 * * MON-FRI'
processor start-now report
"""

from datetime import timedelta

from processor import RetryPolicy, activity, workflow


@activity.define(start_to_close=timedelta(minutes=1))
async def count_orders(shop: str) -> int:
    return 10 * len(shop)


@workflow.define(retry=RetryPolicy(timedelta(minutes=5), maximum_attempts=3))
async def report(shops: list[str]) -> dict[str, int]:
    before = workflow.info().last_result(dict[str, int]) or {}
    counts = {shop: await count_orders(shop) for shop in shops}
    for shop, count in counts.items():
        workflow.publish("report", shop, {"orders": count, "before": before.get(shop, 0)})
    return counts
