"""Which versions of its requests a producer writes, and which of them a broker takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

__all__ = (
    "API_VERSIONS",
    "INIT_PRODUCER_ID",
    "METADATA",
    "PRODUCE",
    "PRODUCING",
    "SASL",
    "SASL_AUTHENTICATE",
    "SASL_HANDSHAKE",
    "Unfit",
    "agreed",
)

PRODUCE: Final = 0
METADATA: Final = 3
SASL_HANDSHAKE: Final = 17
API_VERSIONS: Final = 18
INIT_PRODUCER_ID: Final = 22
SASL_AUTHENTICATE: Final = 36

PRODUCING: Final = (PRODUCE, METADATA, INIT_PRODUCER_ID)
SASL: Final = (SASL_HANDSHAKE, SASL_AUTHENTICATE)

_OURS: Final[Mapping[int, tuple[str, int, int]]] = {
    PRODUCE: ("Produce", 7, 8),
    METADATA: ("Metadata", 4, 4),
    SASL_HANDSHAKE: ("SaslHandshake", 1, 1),
    INIT_PRODUCER_ID: ("InitProducerId", 0, 1),
    SASL_AUTHENTICATE: ("SaslAuthenticate", 0, 1),
}
"""The first and the last one that ``protocol`` writes: those before "flexible" encoding.

Redpanda takes Produce up to 7, Kafka 2.8 up to 9, Kafka 4.3 up to 13; all of them store batches of
format 2.
"""


class Unfit(Exception):
    """A broker takes no version of a request that our producer writes."""


def agreed(apis: Iterable[int], offered: Mapping[int, tuple[int, int]]) -> dict[int, int]:
    """Return for each API the highest version that both know. Raises ``Unfit``."""
    found = {}
    for api in apis:
        name, first, last = _OURS[api]
        lowest, highest = offered.get(api, (-1, -1))
        found[api] = min(last, highest)
        if found[api] < max(first, lowest):
            takes = "none" if highest < 0 else f"{lowest} to {highest}"
            raise Unfit(f"of {name} it takes version {takes}, and ours writes {first} to {last}")
    return found
