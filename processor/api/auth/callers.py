"""Who makes a request, by what they show: a token, a JWT, a proxy's word, or a capability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final
from urllib.parse import parse_qs

from processor.api.auth.capabilities import GRANTS, Capabilities
from processor.api.auth.config import ROLES, AuthFile, hash_of, permissions_of, read_auth
from processor.api.auth.jwts import JwtCheck
from processor.api.auth.rates import Rates
from processor.api.options import HttpOptions, whole_seconds
from processor.api.problems import HttpProblem
from processor.api.requests import ApiRequest
from processor.api.routing import KEYS, Permission
from processor.checks import RESERVED_IDS

__all__ = ("OURS", "Auth", "HttpCaller")

OURS: Final = tuple(each.prefix for each in RESERVED_IDS)
"""So begin the ids of runs of ours, which have routes of their own."""


@dataclass(frozen=True, slots=True)
class HttpCaller:
    """Whoever asks. ``first_run_id``: only this chain of runs is theirs."""

    name: str
    permissions: frozenset[Permission]
    first_run_id: str | None = None


_ANYBODY: Final = HttpCaller("anybody on this machine", ROLES["admin"])


class Auth:
    """Knows callers. Without a file, whoever reaches this machine's loopback may do all."""

    def __init__(self, options: HttpOptions, namespace: str) -> None:
        self._namespace = namespace
        self._public_url = options.public_url
        self._file = AuthFile() if options.auth is None else read_auth(options.auth)
        self._is_open = options.auth is None
        found = self._file
        self._tokens = {
            each.sha256: HttpCaller(each.name, permissions_of(each.roles, namespace))
            for each in found.tokens
        }
        self._jwt = None if found.jwt is None else JwtCheck(found.jwt)
        self._networks: Sequence[IPv4Network | IPv6Network] = (
            () if found.proxy is None else found.proxy.networks
        )
        lasts_s = found.capability_s
        self._capabilities = Capabilities(found.capability_secret, namespace, lasts_s)
        rate, many = found.rate, found.rate.callers_per_address
        self._rates = Rates(rate.per_second, rate.burst)
        self._rates_of_addresses = Rates(rate.per_second * many, rate.burst * many)

    async def caller(self, request: ApiRequest, needs: Permission, id: str | None) -> HttpCaller:
        """Return who asks, if they may. Raises ``HttpProblem``: 401, 403, 429."""
        if self._is_open:
            return _ANYBODY
        peer = request.peer or ""
        if not self._is_trusted(request):
            _count(self._rates_of_addresses, peer)
        try:
            caller = await self._known(request, id)
        except HttpProblem as problem:
            _count(self._rates, f"nobody at {peer}")
            raise problem
        _count(self._rates, caller.name)
        if needs in ("send", "control") and id is not None and id.startswith(OURS):
            needs = "admin"
        if needs not in caller.permissions:
            raise HttpProblem(403, f"{caller.name} has no permission to {needs} here")
        return caller

    def capability(self, workflow_id: str, first_run_id: str, may: Permission) -> str:
        """Return what lets whoever has it do something with a chain of runs; "" without auth."""
        if self._is_open:
            return ""
        return self._capabilities.made(workflow_id, first_run_id, may)

    def base_url(self, request: ApiRequest) -> str:
        """Return how the caller reaches this server; proxies are believed if they are trusted."""
        if self._public_url is not None:
            return self._public_url
        scheme, host = request.scheme, request.headers["host"]
        if self._is_trusted(request):
            scheme = _first(request, "x-forwarded-proto") or scheme
            host = _first(request, "x-forwarded-host") or host
        return f"{scheme}://{host}"

    async def _known(self, request: ApiRequest, id: str | None) -> HttpCaller:
        given = parse_qs(request.query)
        if text := [each for name in KEYS for each in given.get(name, ())]:
            if id is None or len(text) > 1:
                raise HttpProblem(401, "a capability is for the addresses of one run")
            grant, first_run_id = self._capabilities.checked(text[0], id)
            return HttpCaller(f"the capability of run {first_run_id}", GRANTS[grant], first_run_id)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not scheme and (token := request.headers.get("x-functions-key", "")):
            scheme = "bearer"  # what clients of Azure call a token
        if scheme.lower() == "bearer" and token:
            return await self._bearer(token.strip())
        if scheme:
            raise HttpProblem(401, "send Authorization: Bearer TOKEN", _CHALLENGE)
        proxy = self._file.proxy
        if proxy is not None and proxy.user_header and self._is_trusted(request):
            if user := request.headers.get(proxy.user_header.lower()):
                roles = proxy.users.get(user, proxy.roles)
                return HttpCaller(user[:200], permissions_of(roles, self._namespace))
        raise HttpProblem(401, "say who you are: send Authorization: Bearer TOKEN", _CHALLENGE)

    async def _bearer(self, token: str) -> HttpCaller:
        known = self._tokens.get(hash_of(token))
        if known is not None:
            return known
        if self._jwt is None or token.count(".") != 2:
            raise HttpProblem(401, "nobody has this token", _CHALLENGE)
        claims = await self._jwt.claims(token)
        issuer = self._file.jwt
        assert issuer is not None, "its tokens are checked"
        said = claims.get(issuer.roles_claim, [])
        said = said.split() if isinstance(said, str) else said
        if issuer.roles is not None:
            listed = said if isinstance(said, list) else []
            said = [r for each in listed for r in issuer.roles.get(str(each), ())]
        name = str(claims.get(issuer.name_claim, "a token without a name"))[:200]
        return HttpCaller(name, permissions_of(said, self._namespace))

    def _is_trusted(self, request: ApiRequest) -> bool:
        if request.peer is None or not self._networks:
            return False
        try:
            address = ip_address(request.peer)
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # what listens on :: sees these
        return any(address in each for each in self._networks)


_CHALLENGE: Final = {"www-authenticate": "Bearer"}


def _count(rates: Rates, name: str) -> None:
    """Count a request. Raises ``HttpProblem`` (429) for one too many."""
    if waits_s := rates.wait_s(name):
        told = {"retry-after": str(whole_seconds(waits_s))}
        raise HttpProblem(429, f"{name} asks too often: wait {waits_s:.1f} s", told)


def _first(request: ApiRequest, header: str) -> str:
    return request.headers.get(header, "").partition(",")[0].strip()
