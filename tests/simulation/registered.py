"""The workflows, activities and entities that the hosts of a story run."""

from __future__ import annotations

from typing import Final

from examples import orders
from processor.codec.payloads import JsonPayloads
from processor.injection.interceptors import Injected
from processor.registry import Registry

from . import asking, chains, deeds, families, programs, services, shipments, transfers, vaults
from .outside import OPEN_ACTIVITIES, opens
from .promised import PROMISED, announces

__all__ = ("ORDER_ACTIVITIES", "PAYLOADS", "registered")

ORDER_ACTIVITIES: Final = (
    orders.reserve_inventory,
    orders.process_payment,
    orders.notify_fraud_team,
    orders.refund_payment,
    orders.deduct_inventory,
    orders.send_order_confirmation_email,
    orders.send_follow_up_email,
)
PAYLOADS: Final = JsonPayloads()


def registered() -> Registry:
    return Registry(
        [
            *(orders.order_processing, *programs.WORKFLOWS, *families.WORKFLOWS),
            *(*chains.WORKFLOWS, *asking.WORKFLOWS, transfers.account, opens, PROMISED),
            *(*vaults.WORKFLOWS, *shipments.WORKFLOWS, *services.WORKFLOWS),
        ],
        [
            *(*ORDER_ACTIVITIES, *deeds.ACTIVITIES, transfers.audited),
            *(*OPEN_ACTIVITIES, announces, *services.ACTIVITIES),
        ],
        Injected(PAYLOADS),
        vaults.ENTITIES,
    )
