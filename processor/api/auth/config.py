"""The file that says who may do what: tokens, an issuer of JWTs, a proxy that signs people in."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec

from processor.api.routing import Permission
from processor.errors import InvalidArgument

__all__ = (
    "ROLES",
    "AuthFile",
    "JwtIssuer",
    "TrustedProxy",
    "hash_of",
    "permissions_of",
    "read_auth",
)

ROLES: Final[Mapping[str, frozenset[Permission]]] = {
    "viewer": frozenset(("view",)),
    "reader": frozenset(("view", "read")),
    "starter": frozenset(("view", "start")),
    "operator": frozenset(("view", "read", "send", "control")),
    "admin": frozenset(("view", "read", "start", "send", "control", "admin")),
}
"""What each role may do. Who has several may do what any of them may."""

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "EdDSA")
_SECRET_BYTES_MIN: Final = 32
_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))

_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


def hash_of(token: str) -> str:
    """Return the SHA-256 by which a token that was sent is known."""
    return sha256(token.encode("latin-1", "replace")).hexdigest()


class StaticToken(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A token is known by the SHA-256 of it alone: the file has no secret."""

    name: _Name
    sha256: _Sha256
    roles: tuple[str, ...]


class JwtIssuer(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Who signs tokens. ``roles`` says which roles each value of ``roles_claim`` has.

    Without ``roles``, the values are the roles.
    """

    issuer: _Name
    audience: _Name
    jwks: _Name
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    name_claim: str = "sub"
    roles_claim: str = "roles"
    roles: Mapping[str, tuple[str, ...]] | None = None


class TrustedProxy(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A proxy that signs people in, and names them in ``user_header``; from ``trusted`` alone."""

    trusted: tuple[str, ...]
    user_header: str = ""
    roles: tuple[str, ...] = ()
    users: Mapping[str, tuple[str, ...]] = {}

    @property
    def networks(self) -> Sequence[IPv4Network | IPv6Network]:
        return [ip_network(each) for each in self.trusted]


class RateOfCalls(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How many requests one caller may make, and one address: as many as so many callers.

    Of a trusted proxy, only callers are counted.
    """

    per_second: Annotated[float, msgspec.Meta(gt=0)]
    burst: Annotated[int, msgspec.Meta(ge=1)]
    callers_per_address: Annotated[int, msgspec.Meta(ge=1)] = 10


class AuthFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file. ``capability_secret`` makes the URLs that are good for one run alone."""

    tokens: tuple[StaticToken, ...] = ()
    jwt: JwtIssuer | None = None
    proxy: TrustedProxy | None = None
    rate: RateOfCalls = RateOfCalls(per_second=100.0, burst=200)
    capability_secret: str = ""
    capability_s: Annotated[float, msgspec.Meta(gt=0)] = 86_400.0


def read_auth(given: Path | str) -> AuthFile:
    """Return what a file says. Raises ``InvalidArgument``, which names no secret."""
    path = Path(given)
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), AuthFile)
    except OSError as error:
        raise InvalidArgument(f"http: auth: {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"http: auth: {path} is no TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"http: auth: {path}: {error}; docs/http-api.md has one") from None
    try:
        _check(found)
    except ValueError as error:
        raise InvalidArgument(f"http: auth: {path}: {error}") from None
    return found


def _check(found: AuthFile) -> None:
    """Raise ``ValueError`` for what would let in nobody, or more than was meant."""
    if not found.tokens and found.jwt is None and not (found.proxy and found.proxy.user_header):
        raise ValueError("it lets nobody in: add [[tokens]], [jwt] or [proxy] with a user_header")
    for token in found.tokens:
        _check_roles(token.roles, f"token {token.name!r}")
    if found.capability_secret and len(found.capability_secret.encode()) < _SECRET_BYTES_MIN:
        raise ValueError(f"capability_secret has {_SECRET_BYTES_MIN} bytes at least")
    if found.jwt is not None:
        _check_issuer(found.jwt)
    if found.proxy is not None:
        if not found.proxy.networks:
            raise ValueError("[proxy] trusted: name the addresses of the proxy")
        for user, roles in {"everybody": found.proxy.roles, **found.proxy.users}.items():
            _check_roles(roles, f"user {user!r}")


def _check_issuer(issuer: JwtIssuer) -> None:
    for each in issuer.algorithms:
        if each not in ALGORITHMS:
            raise ValueError(
                f"[jwt] algorithms: {each!r} is none that keys of others can sign with: give some "
                f"of {', '.join(ALGORITHMS)}"
            )
    if "://" in issuer.jwks and not _is_safe(issuer.jwks):
        raise ValueError(f"[jwt] jwks: {issuer.jwks!r} is not read safely: give an https:// URL")
    for value, roles in (issuer.roles or {}).items():
        _check_roles(roles, f"[jwt] roles of {value!r}")


def _is_safe(url: str) -> bool:
    """Whether nobody on the way can change what is read there."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _check_roles(roles: Sequence[str], whose: str) -> None:
    for each in roles:
        if each.rpartition(":")[2] not in ROLES:
            raise ValueError(
                f"{whose}: there is no role {each!r}: give {', '.join(ROLES)}, or one of a "
                "namespace, as 'billing:reader'"
            )


def permissions_of(roles: Any, namespace: str) -> frozenset[Permission]:
    """Return what roles allow in a namespace; what is no role allows nothing.

    A role is for all namespaces, or for the one in front of it: ``billing:reader``.
    """
    found: set[Permission] = set()
    for each in roles if isinstance(roles, list | tuple) else ():
        of, _, role = each.rpartition(":") if isinstance(each, str) else ("", "", "")
        if of in ("", namespace):
            found |= ROLES.get(role, frozenset())
    return frozenset(found)
