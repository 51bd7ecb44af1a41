"""For code that is not async: each call blocks until it has its answer.

    from processor.sync import Client

    with Client("localhost:9092") as client:
        print(client.run(order_processing, order, id="order-7"))

Threads may share a client. All of a process run in one thread of their own, and so does a
``Worker`` of this package, which serves until its block ends. ``processor.dev.sync_client`` writes
the classes from those of ``processor``.
"""

from __future__ import annotations

from processor.sync.client import Client
from processor.sync.correlated import Correlated
from processor.sync.entities import EntityHandle
from processor.sync.handles import ActivityHandle, Handle, UpdateHandle
from processor.sync.schedules import ScheduleHandle, Schedules
from processor.sync.worker import Worker

__all__ = (
    "ActivityHandle",
    "Client",
    "Correlated",
    "EntityHandle",
    "Handle",
    "ScheduleHandle",
    "Schedules",
    "UpdateHandle",
    "Worker",
)
