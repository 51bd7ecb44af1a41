"""How an application of Faust's runs in an asyncio program, until it is stopped or fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, TopicDescription

from processor.errors import LogTruncated, ProcessorError
from processor.kafka.shards.identity import describe
from processor.views.stream.app import ViewsApp

__all__ = ("run_until", "shown_lag", "topics_stay")

_log = logging.getLogger("processor.views")

_LOOK_S: Final = 0.2
_TELL_EVERY_S: Final = 60.0
_CHECK_EVERY_S: Final = 5.0
_STOP_S: Final = 20.0


async def run_until(
    app: ViewsApp, stopped: asyncio.Event, what: str, check: Callable[[], None]
) -> None:
    """Run an application until ``stopped``, or until it fails, and raise why.

    It logs the lag once it is up to date, and each minute; ``what`` is named there. ``check`` is
    called now and then, blocks, and raises what ends it.
    """
    told_at, behind = monotonic(), True
    checking = asyncio.create_task(_checks(check))
    starting = asyncio.create_task(app.start())  # Faust's ends when all tables are recovered
    try:
        while not (stopped.is_set() or app.failed.done()):
            for each in (checking, starting):
                if each.done():
                    await each
            if app.crashed:
                raise app.crash_reason or ProcessorError("Faust ended and did not say why")
            await asyncio.wait((app.failed,), timeout=_LOOK_S)
            lag = app.lag()
            caught_up = behind and bool(lag) and not any(lag.values())
            if caught_up or (lag and monotonic() > told_at + _TELL_EVERY_S):
                told_at, behind = monotonic(), any(lag.values())
                _log.info("%s: %s", what, shown_lag(lag))
        if app.failed.done():
            app.failed.result()
    finally:
        checking.cancel()
        starting.cancel()
        app.failed.cancel()
        await _ended(app, what)
        app.close()


async def _ended(app: ViewsApp, what: str) -> None:
    """Stop an application. Raises ``ProcessorError`` where it does not end, and why it failed.

    Faust does not while it recovers a table, whatever fails there: it tries it again for ever.
    """
    try:
        async with asyncio.timeout(_STOP_S):
            await app.stop()
    except TimeoutError:
        failed = None if app.failed.cancelled() else app.failed.exception()
        why = "" if failed is None else f": {failed}"
        raise ProcessorError(f"the {what} did not stop within {_STOP_S:g} s{why}") from failed


async def _checks(check: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(_CHECK_EVERY_S)
        await asyncio.to_thread(check)


def topics_stay(admin: AdminClient, *topics: TopicDescription) -> Callable[[], None]:
    """Return what raises ``LogTruncated`` where topics are gone, or are others by now.

    What reads them does not hear of it: it would fold another log onto what it has.
    """
    ids, missing = {topic.name: str(topic.topic_id) for topic in topics}, set[str]()

    def check() -> None:
        try:
            there = describe(admin, [*ids])
        except KafkaException:  # a broker that is away is waited for
            return
        gone = ids.keys() - there.keys()
        others = {name for name, topic in there.items() if str(topic.topic_id) != ids[name]}
        if found := others | (gone & missing):  # a broker that has just started may not know all
            again = ", and made again," if others else ""
            raise LogTruncated(
                f"{', '.join(sorted(found))} was deleted{again} while it was read: start this "
                "process again, and what it keeps is made anew"
            )
        missing.clear()
        missing.update(gone)

    return check


def shown_lag(lag: Mapping[int, int]) -> str:
    """Return how far views are behind the log, in words."""
    behind = {partition: count for partition, count in sorted(lag.items()) if count}
    if not behind:
        return f"up to date with {len(lag)} partitions"
    each = ", ".join(f"partition {partition} by {count:,}" for partition, count in behind.items())
    return f"{sum(behind.values()):,} records behind ({each})"
