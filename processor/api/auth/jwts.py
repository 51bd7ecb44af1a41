"""JWTs of an issuer: signature, issuer, audience and time are checked, and its keys kept."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Final
from urllib.request import urlopen

import jwt

from processor.api.auth.config import JwtIssuer
from processor.api.problems import HttpProblem

__all__ = ("JwtCheck",)

_log = logging.getLogger("processor.api")

_LEEWAY_S: Final = 30
_FETCH_S: Final = 5
_AGAIN_S: Final = 30.0
"""An unknown key lets the keys be fetched again, and so seldom that strangers cannot have it."""

_FRESH_S: Final = 600.0
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
        return found

    async def _key(self, kid: Any) -> jwt.PyJWK:
        now = self._clock()
        known = self._keys.get(kid) if isinstance(kid, str) else None
        if known is None or now - self._fetched > _FRESH_S:
            async with self._fetching:
                if now - self._fetched > _AGAIN_S:
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
            found = json.loads(await asyncio.to_thread(_read, self._issuer.jwks))
            keys = jwt.PyJWKSet.from_dict(found).keys
            self._keys = {each.key_id or "": each for each in keys}
        except (OSError, ValueError, AttributeError, jwt.PyJWTError) as error:
            _log.error("the keys at %s cannot be read: %s", self._issuer.jwks, error)


def _read(place: str) -> bytes:
    if "://" not in place:
        return Path(place).read_bytes()
    with urlopen(place, timeout=_FETCH_S) as answer:
        content: bytes = answer.read(_KEYS_BYTES_MAX)
        return content


def _refused(why: str) -> HttpProblem:
    told = {"www-authenticate": 'Bearer error="invalid_token"'}
    return HttpProblem(401, f"the token is refused: {why}", told)
