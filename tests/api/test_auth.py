"""Who may do what: tokens, JWTs, a proxy's word, capabilities, and roles."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from processor import Client, InvalidArgument
from processor.api import HttpOptions
from processor.api.auth.capabilities import Capabilities
from processor.api.auth.config import ROLES, read_auth
from processor.api.problems import HttpProblem
from processor.api.routes import ENDPOINTS
from tests.api.serving import BASE, CODE, HUSH, Account, Basket, asked

Work = Callable[[httpx.AsyncClient, Client], Awaitable[None]]
TOKENS = "".join(
    f"""
[[tokens]]
name = "{role}"
sha256 = "{sha256(f"token of {role}".encode()).hexdigest()}"
roles = ["default:{role}"]
"""
    for role in ROLES
)
ELSEWHERE = f"""
[[tokens]]
name = "elsewhere"
sha256 = "{sha256(b"token of elsewhere").hexdigest()}"
roles = ["billing:admin"]
"""


def bearer(role: str) -> dict[str, str]:
    return {"authorization": f"Bearer token of {role}"}


def guarded(
    path: Path, work: Work, text: str = TOKENS + ELSEWHERE, code: Any = CODE, **options: Any
) -> None:
    file = path / "auth.toml"
    file.write_text(text)

    async def main() -> None:
        given = HttpOptions(auth=file, **options)
        async with asyncio.timeout(120), asked(path, given, **code) as (http, client):
            await work(http, client)

    asyncio.run(main())


START = f"{BASE}/workflows/Basket/runs"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer token of admi"},
        {"authorization": "Basic dG9rZW4gb2YgYWRtaW46"},
        {"authorization": f"Bearer {sha256(b'token of admin').hexdigest()}"},
        {"authorization": "Bearer a.b.c"},
        {"authorization": "Bearer \xff"},
        {"x-forwarded-user": "root"},
    ],
)
def test_who_is_not_known_gets_nothing(tmp_path: Path, headers: dict[str, str]) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        raw = {name: each.encode("latin-1") for name, each in headers.items()}
        for endpoint in ENDPOINTS:
            url = endpoint.path.replace("{", "").replace("}", "")
            url = url if url.startswith("/runtime") else BASE + url
            found = await http.request(endpoint.method, url, headers=raw)
            assert found.status_code in (401, 429), endpoint.path
        assert found.headers["www-authenticate"].startswith("Bearer")
        assert (await http.get("/health/live")).status_code == 200
        assert [run async for run in client.list()] == []

    guarded(tmp_path, work)


ALLOWED = {
    "viewer": {"view"},
    "reader": {"view", "read"},
    "starter": {"view", "start"},
    "operator": {"view", "read", "send", "control"},
    "admin": {"view", "read", "start", "send", "control", "admin"},
    "elsewhere": set(),
}


@pytest.mark.parametrize("role", ALLOWED)
def test_each_route_asks_for_its_permission(tmp_path: Path, role: str) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        for endpoint in ENDPOINTS:
            url = endpoint.path.replace("{", "").replace("}", "")
            url = url if url.startswith("/runtime") else BASE + url
            found = await http.request(endpoint.method, url, headers=bearer(role))
            is_let_in = found.status_code not in (401, 403)
            assert is_let_in == (endpoint.needs in ALLOWED[role]), (endpoint, found.text)

    guarded(tmp_path, work, TOKENS + ELSEWHERE + "[rate]\nper_second = 1e6\nburst = 1000000\n")


def test_a_viewer_sees_no_payload_by_any_route(tmp_path: Path) -> None:
    """Each value of the run has the word in it, and no answer to a viewer may have it."""

    async def work(http: httpx.AsyncClient, client: Client) -> None:
        handle = await client.start(
            Basket.run, HUSH, id="b", memo={"by": HUSH}, attributes={"by": HUSH}
        )
        await handle.raise_event("add", HUSH)
        await handle.raise_event(HUSH, 1)
        await handle.update("remove", HUSH, id="u")
        with pytest.raises(Exception, match=HUSH):
            await client.run("refuses", HUSH, id="f")
        await client.entity(Account, "a").call(Account.deposit, 5)
        await client.schedules.create("greet", HUSH, id="s", cron="@daily", note=HUSH)
        await client.schedules.handle("s").trigger()
        await client.start(Basket.run, HUSH, id="t")
        await client.handle("t").terminate(HUSH, output=HUSH)
        ids = ("b", "f", "t", "schedule:s")
        places = {"{id}": ids, "{schedule}": ("s",), "{entity}": ("Account",), "{key}": ("a",)}
        last = {"{name}": "owner", "{update}": "u"}
        for endpoint in ENDPOINTS:
            for id in ids:
                path = endpoint.path
                for name, values in places.items():
                    path = path.replace(name, id if name == "{id}" else values[0])
                for name, value in last.items():
                    path = path.replace(name, value)
                url = path if path.startswith("/runtime") else BASE + path
                headers = bearer("viewer")
                if endpoint.path.endswith("/watch"):
                    await client.handle("b").cancel()
                    await client.handle(id).terminate()
                found = await http.request(endpoint.method, url, headers=headers)
                assert HUSH not in found.text, (endpoint.path, found.text)
                assert HUSH not in str(found.headers)
        seen = await http.get(f"{BASE}/instances/b", headers=bearer("viewer"))
        assert seen.json()["workflow"] == "Basket"
        both = await http.get(f"{BASE}/instances/b", headers=bearer("reader"))
        assert HUSH in both.text

    guarded(tmp_path, work, TOKENS + "[rate]\nper_second = 1e6\nburst = 1000000\n")


def test_who_may_not_read_asks_for_no_attribute(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.start(Basket.run, "x", id="b", attributes={"customer": "ada"})
        params = {"query": "customer = 'ada'"}
        for role, status in (("viewer", 403), ("starter", 403), ("reader", 200)):
            for place in ("instances", "count"):
                found = await http.get(f"{BASE}/{place}", params=params, headers=bearer(role))
                assert found.status_code == status

    guarded(tmp_path, work)


def test_what_a_starter_starts_is_theirs_and_nothing_else(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        who = bearer("starter")
        made = await http.post(START, json={"arguments": ["ada"], "id": "b"}, headers=who)
        urls = made.json()["urls"]
        plain = f"{BASE}/instances/b"
        assert (await http.get(f"{plain}/result", headers=who)).status_code == 403
        run = await http.get(urls["describe"])
        assert run.json()["custom_status"] == {"owner": "ada"}
        event = await http.post(urls["events"].replace("{name}", "add"), json="apple")
        assert event.status_code == 202
        await http.post(urls["events"].replace("{name}", "pay"))
        result = await http.get(made.headers["location"] + "&wait=30")
        assert result.json() == {"result": ["apple"]}
        body = {"arguments": ["x"], "id": "b", "reuse": "use-existing"}
        found = await http.post(START, json=body, headers=who | {"prefer": "wait=30"})
        assert (found.status_code, found.json()["created"]) == (202, False)
        assert "capability" not in found.text and "apple" not in found.text
        for name in ("processor.schedule", "processor.activity:slow"):
            inside = await http.post(f"{BASE}/workflows/{name}/runs", json={}, headers=who)
            assert inside.status_code == 403

    guarded(tmp_path, work)


def test_a_capability_is_for_one_chain_one_verb_and_some_time(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        who = bearer("starter")
        made = (await http.post(START, json={"id": "b", "arguments": ["a"]}, headers=who)).json()
        other = await client.start(Basket.run, "eve", id="other")
        read, send, control = (
            httpx.URL(made["urls"][name]).params["capability"]
            for name in ("describe", "events", "cancel")
        )
        at = f"{BASE}/instances/b"
        cases = [
            ("GET", at, read, 200),
            ("GET", at, send, 403),
            ("POST", f"{at}/events/e", read, 403),
            ("POST", f"{at}/events/e", control, 403),
            ("POST", f"{at}/cancel", send, 403),
            ("POST", f"{at}/cancel", "control" + read.removeprefix("read"), 401),
            ("GET", at, read[:-2] + "AA", 401),
            ("GET", at, "", 401),
            ("GET", at, "....", 401),
            ("GET", at, "read.9999999999.x.y", 401),
            ("GET", f"{BASE}/instances/other", read, 401),
            ("GET", f"{BASE}/instances", read, 401),
            ("GET", f"{BASE}/schedules", read, 401),
            ("POST", START, control, 401),
            ("POST", f"{at}/queries/items", read, 200),
        ]
        for method, url, capability, status in cases:
            found = await http.request(method, url, params={"capability": capability})
            assert found.status_code == status, (method, url, found.text)
        params = {"capability": read, "run_id": other.run_id}
        assert (await http.get(at, params=params)).status_code == 403
        params = {"capability": read, "first_run_id": other.run_id}
        assert (await http.get(at, params=params)).json()["run_id"] == made["run_id"]
        await client.handle("b").terminate()
        await client.start(Basket.run, "secret", id="b")  # another run of the same id
        params = {"capability": read}
        assert (await http.get(at, params=params)).json()["run_id"] == made["run_id"]
        late = await http.post(f"{at}/cancel", params={"capability": control})
        assert late.status_code == 404
        assert (await client.handle("b").describe()).cancel_reason is None
        seen = await http.get(f"{at}/watch", params=params, headers={"last-event-id": "x:1"})
        assert seen.status_code == 403
        two = f"{at}?capability={read}&capability={read}"
        assert (await http.get(two)).status_code == 401

    guarded(tmp_path, work)


def test_a_capability_has_an_end_and_a_secret() -> None:
    now = [1_000.0]
    made = Capabilities("s" * 32, "default", 60, lambda: now[0])
    text = made.made("a.b", "run", "read")
    assert made.checked(text, "a.b") == ("read", "run")
    assert Capabilities("s" * 32, "default", 60, lambda: now[0]).checked(text, "a.b")
    for others in (
        Capabilities("t" * 32, "default", 60, lambda: now[0]),
        Capabilities("", "default", 60, lambda: now[0]),
        Capabilities("s" * 32, "other", 60, lambda: now[0]),
    ):
        with pytest.raises(HttpProblem, match="none for this run"):
            others.checked(text, "a.b")
    now[0] += 61
    with pytest.raises(HttpProblem, match="not good any more"):
        made.checked(text, "a.b")


def test_the_runs_of_ours_take_an_admin(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        await client.schedules.create("greet", "x", id="s", cron="@daily")
        await client.entity(Account, "a").call(Account.deposit, 1)
        for id in ("schedule:s", "@Account@a", "correlation:a=b"):
            for verb in ("cancel", "terminate", "events/e", "updates/change"):
                url = f"{BASE}/instances/{id}/{verb}"
                found = await http.post(url, headers=bearer("operator"))
                assert found.status_code == 403, url
        url = f"{BASE}/instances/schedule:s"
        assert (await http.get(url, headers=bearer("operator"))).status_code == 200
        gone = await http.post(f"{url}/terminate", headers=bearer("admin"))
        assert gone.status_code == 202

    guarded(tmp_path, work)


# --- JWTs -----------------------------------------------------------------------------------------

KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
CURVE = ec.generate_private_key(ec.SECP256R1())
JWT = """
[jwt]
issuer = "https://id.example.com/"
audience = "processor"
jwks = "{jwks}"
roles_claim = "groups"
[jwt.roles]
ops = ["operator"]
readers = ["default:reader", "billing:admin"]
"""


def keys(path: Path) -> str:
    rsa_key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))
    curve = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(CURVE.public_key()))
    known = [{**rsa_key, "kid": "one", "alg": "RS256"}, {**curve, "kid": "two"}]
    (path / "jwks.json").write_text(json.dumps({"keys": known}))
    return JWT.format(jwks=path / "jwks.json")


def signed(
    key: Any = KEY, algorithm: str = "RS256", kid: str | None = "one", **changes: Any
) -> str:
    claims = {
        "iss": "https://id.example.com/",
        "aud": "processor",
        "sub": "ada",
        "exp": int(time()) + 300,
        "groups": ["readers"],
        **changes,
    }
    claims = {name: each for name, each in claims.items() if each is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


def encoded(text: bytes) -> str:
    return urlsafe_b64encode(text).decode().rstrip("=")


def unsigned() -> str:
    head = encoded(b'{"alg":"none","kid":"one"}')
    return f"{head}.{signed().split('.')[1]}."


def confused() -> str:
    """A token that is signed with the public key, as if that were a secret."""
    import hmac

    head, body = encoded(b'{"alg":"HS256","kid":"one"}'), signed().split(".")[1]
    told = f"{head}.{body}"
    public = json.dumps(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())).encode()
    mac = hmac.new(public, told.encode(), sha256).digest()
    return f"{told}.{encoded(mac)}"


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (lambda: signed(), 200),
        (lambda: signed(CURVE, "ES256", "two"), 200),
        (lambda: signed(aud=["other", "processor"]), 200),
        (lambda: signed(groups=["ops"]), 200),
        (lambda: signed(groups=[]), 403),
        (lambda: signed(groups=None), 403),
        (lambda: signed(groups=["admin"]), 403),
        (lambda: signed(groups={"readers": 1}), 403),
        (lambda: signed(groups="readers"), 200),
        (lambda: signed(exp=int(time()) - 100), 401),
        (lambda: signed(exp=None), 401),
        (lambda: signed(nbf=int(time()) + 300), 401),
        (lambda: signed(iss="https://evil.example/"), 401),
        (lambda: signed(iss=None), 401),
        (lambda: signed(aud="other"), 401),
        (lambda: signed(aud=None), 401),
        (lambda: signed(OTHER), 401),
        (lambda: signed(kid="three"), 401),
        (lambda: signed(kid=None), 401),
        (lambda: signed(algorithm="RS512"), 401),
        (lambda: signed(CURVE, "ES256", "one"), 401),
        (lambda: signed(kid="two"), 401),
        (lambda: f"{encoded(b'[' * 9_000)}.x.y", 401),
        (lambda: f"{encoded(b'[]')}.x.y", 401),
        (unsigned, 401),
        (confused, 401),
        (lambda: signed() + "x", 401),
        (lambda: signed(sub="x" * 20_000), 401),
    ],
)
def test_a_token_of_the_issuer_is_believed_if_all_of_it_holds(
    tmp_path: Path, made: Callable[[], str], status: int
) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        headers = {"authorization": f"Bearer {made()}"}
        found = await http.get(f"{BASE}/instances", headers=headers)
        assert found.status_code == status, found.text

    guarded(tmp_path, work, keys(tmp_path))


def test_keys_that_cannot_be_read_let_nobody_in(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        headers = {"authorization": f"Bearer {signed()}"}
        for _ in range(2):  # the keys are not fetched again at once, and still are not there
            found = await http.get(f"{BASE}/instances", headers=headers)
            assert found.status_code == 503

    guarded(tmp_path, work, JWT.format(jwks=tmp_path / "none.json"))


# --- proxies --------------------------------------------------------------------------------------

PROXY = """
[proxy]
trusted = ["{trusted}"]
user_header = "X-Forwarded-User"
roles = ["viewer"]
[proxy.users]
ada = ["admin"]
"""


@pytest.mark.parametrize(
    ("trusted", "user", "status"),
    [
        ("127.0.0.0/8", "ada", 202),
        ("127.0.0.0/8", "bob", 403),
        ("127.0.0.0/8", "", 401),
        ("10.0.0.0/8", "ada", 401),
    ],
)
def test_a_proxy_is_believed_where_it_is_trusted(
    tmp_path: Path, trusted: str, user: str, status: int
) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        headers = {
            "x-forwarded-user": user,
            "x-forwarded-host": "api.example.com",
            "x-forwarded-proto": "https",
        }
        found = await http.post(START, json={"arguments": ["a"]}, headers=headers)
        assert found.status_code == status
        if status == 202:
            assert found.headers["location"].startswith("https://api.example.com/api/v1/")

    guarded(tmp_path, work, PROXY.format(trusted=trusted))


def test_urls_begin_as_the_public_one(tmp_path: Path) -> None:
    async def work(http: httpx.AsyncClient, client: Client) -> None:
        headers = bearer("admin") | {"x-forwarded-host": "evil.example"}
        found = await http.post(START, json={"arguments": ["a"]}, headers=headers)
        assert found.headers["location"].startswith("https://api.example.com/durable/api/v1/")
        assert "evil" not in found.text

    guarded(tmp_path, work, public_url="https://api.example.com/durable/")


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lets nobody in"),
        ("[proxy]\ntrusted = ['10.0.0.0/8']", "lets nobody in"),
        ("tokens = 1", "Expected `array`"),
        ("= 1", "is no TOML"),
        ("more = 1", "unknown field `more`"),
        ("[[tokens]]\nname = 'a'\nsha256 = 'b'\nroles = []", "sha256"),
        (TOKENS.replace("default:viewer", "vewer"), "there is no role 'vewer'"),
        (JWT.format(jwks="http://keys.example.com/jwks"), "give an https:// URL"),
        (JWT.format(jwks="file:///etc/passwd"), "give an https:// URL"),
        (JWT.format(jwks="x").replace("[jwt.roles]", "algorithms = ['HS256']\n[jwt.roles]"),
         "'HS256' is none that keys of others"),
        (JWT.format(jwks="x").replace("[jwt.roles]", "algorithms = ['none']\n[jwt.roles]"),
         "'none' is none that keys of others"),
        (PROXY.format(trusted="everybody"), "does not appear to be an IPv4 or IPv6"),
        (PROXY.format(trusted="x").replace('["x"]', "[]"), "name the addresses of the proxy"),
        ("capability_secret = 'short'\n" + TOKENS, "has 32 bytes at least"),
    ],
)  # fmt: skip
def test_a_file_that_says_nothing_safe_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "auth.toml"
    file.write_text(text)
    with pytest.raises(InvalidArgument, match=why) as raised:
        read_auth(file)
    assert "auth.toml" in str(raised.value)
    assert "short" not in str(raised.value)
    with pytest.raises(InvalidArgument, match="cannot be read"):
        read_auth(tmp_path / "none.toml")
