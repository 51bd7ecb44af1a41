"""JWTs of an issuer: signature, issuer, audience and time are checked, and its keys kept."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Final

import httpx
import jwt

from processor.api.auth.config import JwtIssuer
from processor.api.problems import HttpProblem

__all__ = ("JwtCheck",)

_log = logging.getLogger("processor.api")

_LEEWAY_S: Final = 30
_FETCH_S: Final = 5.0
"""So long the keys may take, all of them together."""

_AGAIN_S: Final = 30.0
"""An unknown key lets the keys be fetched again, and so seldom that strangers cannot have it."""

_FRESH_S: Final = 600.0
"""Older keys are read again; those who show one that is known do not wait for that."""

_KEYS_BYTES_MAX: Final = 1_000_000
_TOKEN_BYTES_MAX: Final = 16_000
_NEEDED: Final = ("exp", "iss", "aud")


class JwtCheck:
    """Checks the tokens of one issuer."""

    def __init__(self, issuer: JwtIssuer, clock: Callable[[], float] = monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")
        self._fetching = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def claims(self, token: str) -> dict[str, Any]:
        """Return what a token says. Raises ``HttpProblem`` where it cannot be believed."""
        if len(token) > _TOKEN_BYTES_MAX:
            raise _refused(f"it has more than {_TOKEN_BYTES_MAX:,} characters")
        issuer = self._issuer
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
            key = await self._key(kid)
            found: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(issuer.algorithms),
                issuer=issuer.issuer,
                audience=issuer.audience,
                leeway=_LEEWAY_S,
                options={"require": list(_NEEDED)},
            )
        except jwt.PyJWTError as error:
            raise _refused(str(error)) from None
        except (RecursionError, TypeError, ValueError, OverflowError):
            raise _refused("it is none that an issuer makes") from None
        return found

    async def _key(self, kid: Any) -> jwt.PyJWK:
        age_s = self._clock() - self._fetched
        known = self._keys.get(kid) if isinstance(kid, str) else None
        if known is not None:
            if age_s > _FRESH_S:
                self._fetched = self._clock()
                self._refreshing = asyncio.create_task(self._fetch())
            return known
        async with self._fetching:
            if self._clock() - self._fetched > _AGAIN_S:
                await self._fetch()
        if not self._keys:
            raise HttpProblem(503, "the keys of the issuer of tokens cannot be read")
        known = self._keys.get(kid) if isinstance(kid, str) else None
        if known is None:
            raise _refused("the issuer has no such key")
        return known

    async def _fetch(self) -> None:
        self._fetched = self._clock()
        try:
            found = json.loads(await _read(self._issuer.jwks))
            keys = jwt.PyJWKSet.from_dict(found).keys
        except _UNREADABLE as error:
            why = str(error) or type(error).__name__
            _log.error("the keys at %s cannot be read: %s", self._issuer.jwks, why)
            return
        self._keys = {each.key_id or "": each for each in keys}


_UNREADABLE: Final = (
    *(OSError, ValueError, TypeError, AttributeError, RecursionError),
    *(httpx.HTTPError, httpx.InvalidURL, jwt.PyJWTError),
)
"""What reading keys raises where they are away, or are none. A time-out is an ``OSError``."""


async def _read(place: str) -> bytes:
    if "://" not in place:
        return await asyncio.to_thread(Path(place).read_bytes)
    found = bytearray()
    as_it_is = {"accept-encoding": "identity"}
    async with asyncio.timeout(_FETCH_S), httpx.AsyncClient(headers=as_it_is) as http:
        async with http.stream("GET", place) as answer:
            if answer.status_code != 200:
                raise ValueError(
                    f"the answer is {answer.status_code}, and has to be 200: name the address that "
                    "has the keys itself"
                )
            async for chunk in answer.aiter_raw():
                found += chunk
                if len(found) > _KEYS_BYTES_MAX:
                    raise ValueError(f"there are more than {_KEYS_BYTES_MAX:,} bytes")
    return bytes(found)


def _refused(why: str) -> HttpProblem:
    told = {"www-authenticate": 'Bearer error="invalid_token"'}
    return HttpProblem(401, f"the token is refused: {why}", told)
