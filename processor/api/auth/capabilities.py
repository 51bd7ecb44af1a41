"""Keys in URLs, each good for one chain of runs, one permission and some time."""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from time import time
from typing import Final

from processor.api.problems import HttpProblem
from processor.api.routing import Permission

__all__ = ("GRANTS", "Capabilities")

GRANTS: Final[Mapping[str, frozenset[Permission]]] = {
    "read": frozenset(("view", "read")),
    "send": frozenset(("send",)),
    "control": frozenset(("control",)),
}
"""What each kind of capability allows, of its run."""


class Capabilities:
    """Makes and checks them. Servers with the same ``secret`` know each other's."""

    def __init__(
        self, secret: str, namespace: str, lasts_s: float, clock: Callable[[], float] = time
    ) -> None:
        self._secret = secret.encode() or secrets.token_bytes(32)
        self._namespace = namespace
        self._lasts_s = lasts_s
        self._clock = clock

    def made(self, workflow_id: str, first_run_id: str, grant: str) -> str:
        """Return a capability: its grant, its end, its chain, and the signature over these."""
        until = str(int(self._clock() + self._lasts_s))
        told = (grant, until, first_run_id)
        return ".".join((*told, self._signed(workflow_id, *told)))

    def checked(self, text: str, workflow_id: str) -> tuple[str, str]:
        """Return the grant of a capability and its chain. Raises ``HttpProblem``."""
        grant, until, first_run_id, signature = (*text.split("."), "", "", "")[:4]
        expected = self._signed(workflow_id, grant, until, first_run_id)
        if not hmac.compare_digest(signature.encode(), expected.encode()) or grant not in GRANTS:
            raise HttpProblem(401, "the capability in this URL is none for this run")
        if self._clock() > int(until):
            raise HttpProblem(401, "the capability in this URL is not good any more")
        return grant, first_run_id

    def _signed(self, workflow_id: str, grant: str, until: str, first_run_id: str) -> str:
        parts = ("1", self._namespace, workflow_id, grant, until, first_run_id)
        told = "".join(f"{len(each.encode())}:{each}," for each in parts).encode()
        signature = hmac.new(self._secret, told, sha256).digest()
        return urlsafe_b64encode(signature).decode().rstrip("=")
