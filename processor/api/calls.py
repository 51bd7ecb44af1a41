"""One request, as the function behind its route sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final, Literal

from processor import checks
from processor.api.auth.callers import OURS, HttpCaller
from processor.api.options import whole_seconds
from processor.api.problems import HttpProblem
from processor.api.requests import ApiRequest
from processor.api.routing import BASE, Permission
from processor.api.serving import ServedNamespace
from processor.client import Client, Handle
from processor.core.records.answers import Accepted
from processor.errors import InvalidArgument
from processor.remote.urls import url_part

__all__ = ("HttpCall",)

_OUR_WORKFLOWS: Final = "processor."
_WAIT: Final = re.compile(
    r"(?:^|[,;]\s*)wait\s*=\s*\"?(\d{1,18}(?:\.\d{1,3})?)\"?\s*(?:[,;]|$)", re.I
)


def _text(header: str) -> str:
    """Return a header as text: what is UTF-8 is that, and all else Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


@dataclass(slots=True)
class HttpCall:
    """``path`` has the parameters of the address, ``query`` and ``body`` what the route takes."""

    api: ServedNamespace
    request: ApiRequest
    caller: HttpCaller
    path: Mapping[str, str]
    query: Any
    body: Any

    @property
    def headers(self) -> Mapping[str, str]:
        return self.request.headers

    @property
    def base(self) -> str:
        """How URLs in answers begin."""
        return self.api.auth.base_url(self.request)

    @property
    def client(self) -> Client:
        return self.api.client

    def may(self, permission: Permission) -> bool:
        return permission in self.caller.permissions

    def needs(self, permission: Permission) -> None:
        """Refuse a caller who may not do this. Raises ``HttpProblem``."""
        if not self.may(permission):
            raise HttpProblem(403, f"{self.caller.name} has no permission to {permission} here")

    def needs_to_start(self, workflow: str, id: str | None) -> None:
        """Refuse a caller who may start no such run: those of ours take an admin."""
        if workflow.startswith(_OUR_WORKFLOWS) or (id is not None and id.startswith(OURS)):
            self.needs("admin")

    @property
    def handle(self) -> Handle[Any]:
        """The run that the address names: the latest one of the id, or as its query says.

        Who has a capability reaches the chain of runs that it is for, and no other: that a
        ``run_id`` is one of it, ``check_chain`` has seen.
        """
        run_id = getattr(self.query, "run_id", None)
        first_run_id = getattr(self.query, "first_run_id", None)
        if run_id is not None and first_run_id is not None:
            raise InvalidArgument("give run_id (one run), or first_run_id (its chain), not both")
        if run_id is None:
            first_run_id = self.caller.first_run_id or first_run_id
        handle = self.client.handle(self.path["id"], run_id)
        if first_run_id is not None:
            handle._begun(Accepted(first_run_id, False, first_run_id))
        return handle

    @property
    def key(self) -> str | None:
        """The idempotency key: what is sent again with it counts once."""
        given = self.headers.get("idempotency-key")
        return None if given is None else _text(given)

    @property
    def wait_s(self) -> float | None:
        """How long the caller wants to wait (``Prefer: wait=30``); None: not at all."""
        found = _WAIT.search(self.request.listed("prefer"))
        most = self.api.options.wait_max_s
        return None if found is None else min(float(found[1]), most)

    def bounded(self, seconds: float | None) -> float:
        """Return how long a request waits that may wait so long."""
        most = self.api.options.wait_max_s
        return most if seconds is None else min(checks.seconds(seconds, "wait"), most)

    def url(self, *parts: str, **query: str | None) -> str:
        """Return the URL of what is in the namespace, each part of the path encoded."""
        path = "/".join(map(url_part, (self.api.namespace, *parts)))
        given = "&".join([f"{name}={url_part(each)}" for name, each in query.items() if each])
        return f"{self.base}{BASE}/{path}" + (f"?{given}" if given else "")

    def run_url(self, id: str, first_run_id: str, *parts: str, may: Permission) -> str:
        """Return the URL of something of a chain of runs; the key in it is good for that alone."""
        return self.url("instances", id, *parts) + self.which_run(id, first_run_id, may)

    def which_run(self, id: str, first_run_id: str, may: Permission | None) -> str:
        """Return the query that names a chain of runs: a key that is good for it, if there are any.

        ``may`` is what its key is good for; None: there is to be no key.
        """
        capability = "" if may is None else self.api.auth.capability(id, first_run_id, may)
        if capability:
            return f"?capability={url_part(capability)}"
        return f"?first_run_id={url_part(first_run_id)}" if first_run_id else ""

    def later(self, location: str, seconds: float = 1.0) -> dict[str, str]:
        """Return the headers of an answer that says where to ask later."""
        return {"location": location, "retry-after": str(whole_seconds(seconds))}

    @contextmanager
    def watching(
        self, what: Literal["requests", "streams"] = "requests", *, waits: bool = True
    ) -> Iterator[None]:
        """Count this request, if it waits, among those that wait. Raises ``HttpProblem``: 503.

        Who is refused so may send the same again: what changes something comes after.
        """
        with self.api.watching(what) if waits else nullcontext():
            yield
