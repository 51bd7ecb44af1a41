"""``workflow.call_http``: requests, retries, polling, bounds, and what must not be told."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import resource
import threading
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from processor import (
    Client,
    InvalidArgument,
    PayloadTooLarge,
    RetryPolicy,
    Worker,
    WorkflowFailed,
    WorkflowParked,
    http,
    workflow,
)
from processor.activities import functions
from processor.http import calling
from processor.testing import ActivityNotRegistered, Environment

SECRET = "top-secret-5c1"


class Service:
    """A server on this machine. ``answers`` are given in order, the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"ok")]
        service = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                size = int(self.headers.get("content-length", 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                service.asked.append((self.command, self.path, headers, self.rfile.read(size)))
                answers = service.answers
                status, more, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        for method in ("GET", "POST", "PUT"):
            setattr(Handler, f"do_{method}", Handler.handle_one)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    yield service
    service.close()


@workflow.define
async def reads_json(url: str) -> str:
    answer = await workflow.call_http("GET", url)
    try:
        return f"found {answer.json()}"
    except ValueError as error:
        return str(error)


@workflow.define
async def calls_out(method: str, url: str, how: dict[str, Any]) -> dict[str, Any]:
    retry = RetryPolicy(maximum_attempts=how.pop("attempts", 3))
    began = workflow.now()
    answer = await workflow.call_http(method, url, retry=retry, **how)
    return {
        "status": answer.status,
        "success": answer.is_success,
        "text": answer.text,
        "type": answer.headers.get("content-type", ""),
        "waited": (workflow.now() - began).total_seconds(),
    }


def run(work: Callable[[Environment], Any], activities: list[Any] | None = None) -> Any:
    async def main() -> Any:
        async with Environment([calls_out, reads_json], activities or []) as env:
            return await work(env)

    return asyncio.run(main())


def called(url: str, method: str = "GET", **how: Any) -> Any:
    return run(lambda env: env.run(calls_out, method, url, how))


def test_a_request_and_its_answer(service: Service) -> None:
    service.answers = [(404, {"Content-Type": "text/x"}, "nö".encode())]
    found = called(f"{service.url}/a?b=1", "post", headers={"X-One": "1"}, json={"ä": [1, None]})
    assert found == {
        "status": 404, "success": False, "text": "nö", "type": "text/x", "waited": found["waited"],
    }  # fmt: skip
    ((method, path, headers, body),) = service.asked
    assert (method, path, json.loads(body)) == ("POST", "/a?b=1", {"ä": [1, None]})
    assert (headers["x-one"], headers["content-type"]) == ("1", "application/json")
    assert "/" in headers["idempotency-key"], "the one of the activity"
    called(service.url, "PUT", body="text", headers={"Content-Type": "text/plain"})
    _, _, headers, body = service.asked[-1]
    assert (headers["content-type"], body) == ("text/plain", b"text")
    assert "idempotency-key" not in headers, "a PUT may come twice as it is"
    called(service.url, "POST", headers={"Idempotency-Key": "mine"})
    assert service.asked[-1][2]["idempotency-key"] == "mine"


def test_statuses_and_connections_are_tried_again_as_the_policy_says(service: Service) -> None:
    moment = format_datetime(datetime(2026, 1, 1, tzinfo=UTC), usegmt=True)
    service.answers = [
        (503, {"Retry-After": "90"}, b"busy"),
        (429, {"Retry-After": moment}, b""),
        (200, {}, b"ok"),
    ]
    found = called(service.url, "POST", retry_on=[503, 429], attempts=3)
    assert found["text"] == "ok" and 90 <= found["waited"] < 95
    keys = {headers["idempotency-key"] for _, _, headers, _ in service.asked}
    assert len(service.asked) == 3 and len(keys) == 1
    service.answers = [(503, {}, b"busy")]
    with pytest.raises(WorkflowFailed, match="answered 503") as failed:
        called(service.url, retry_on=[503], attempts=2)
    cause: Any = failed.value.__cause__
    assert (cause.type, cause.details) == ("HttpStatus", {"status": 503, "body": "busy"})
    assert called(service.url, retry_on=[500])["status"] == 503
    service.answers = [(503, {}, b"x" * 5_000)]
    with pytest.raises(WorkflowFailed) as failed:
        called(service.url, retry_on=[503], attempts=1)
    cause = failed.value.__cause__
    assert len(cause.details["body"]) == 1_000, "the beginning says why"
    service.close()
    with pytest.raises(WorkflowFailed, match=r"GET http://127.0.0.1:\d+/x: ConnectError"):
        called(f"{service.url}/x?{SECRET}", attempts=2)


def test_an_answer_202_is_followed_without_a_history_that_grows(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "processor")
    later = {"Location": "/status/1?q=2"}
    service.answers = [
        (202, {**later, "Retry-After": "100"}, b""),
        *[(202, {**later, "Retry-After": "100"}, b"")] * 20,
        (202, {"Location": f"{service.url}/status/2"}, b""),
        (202, {}, b"no place to ask: it is the answer"),
    ]

    async def work(env: Environment) -> None:
        how = {"json": 1, "headers": {"Authorization": SECRET}, "attempts": 1}
        handle = await env.start(calls_out, "POST", f"{service.url}/start", how, id="h")
        found = await handle.result()
        assert found["text"] == "no place to ask: it is the answer"
        assert 2130 <= found["waited"] < 2140, "21 times 100 s, and 30 s"
        assert len(await handle.history()) == 8

    run(work)
    assert "answered 202" not in caplog.text, "it is no failure"
    assert [path for _, path, _, _ in service.asked] == [
        "/start", *["/status/1?q=2"] * 21, "/status/2",
    ]  # fmt: skip
    first, *polls = service.asked
    assert first[0] == "POST" and {each[0] for each in polls} == {"GET"}
    for _, _, headers, body in polls:
        assert (headers["authorization"], body) == (SECRET, b"")
        assert "content-type" not in headers and "idempotency-key" not in headers


def test_polling_is_left_alone_where_it_is_not_wanted(service: Service) -> None:
    service.answers = [(202, {"Location": "/status"}, b"later")]
    assert called(service.url, poll=False)["text"] == "later"
    assert len(service.asked) == 1


@pytest.mark.parametrize("before", [0, 2], ids=["at once", "while it is polled"])
def test_another_host_gets_no_credentials(service: Service, before: int) -> None:
    other = Service()
    here = (202, {"Location": f"{service.url}/status", "Retry-After": "0"}, b"")
    there = (202, {"Location": f"{other.url}/status", "Retry-After": "0"}, b"")
    service.answers = [*[here] * before, there]
    headers = {"X-Trace": "5", "Host": SECRET}
    headers |= dict.fromkeys(("authorization", "Cookie", "Proxy-Authorization"), SECRET)
    assert called(service.url, headers=headers)["text"] == "ok"
    ((_, _, sent, _),) = other.asked
    assert sent["x-trace"] == "5" and SECRET not in str(sent)
    other.close()


@pytest.mark.parametrize(
    ("url", "is_same"),
    [
        ("https://a.example/other?q", True),
        ("https://user:word@a.example/", True),
        ("http://a.example/", False),
        ("https://a.example:8443/", False),
        ("https://a.example.evil/", False),
        ("https://a.example@evil/", False),
        ("https://evil/https://a.example/", False),
        ("https://[", False),
    ],
)
def test_the_same_host_is_that_of_scheme_name_and_port(url: str, is_same: bool) -> None:
    secret = {"authorization": SECRET}
    request = http.HttpRequest("GET", "https://a.example/x", secret | {"a": "b"})
    assert request.headers_for(url) == (secret if is_same else {}) | {"a": "b"}


def test_an_answer_is_bounded(service: Service) -> None:
    service.answers = [(200, {}, b"x" * http.BODY_BYTES_MAX)]
    assert len(called(service.url)["text"]) == http.BODY_BYTES_MAX
    service.answers = [(200, {}, b"x" * (http.BODY_BYTES_MAX + 1))]
    with pytest.raises(
        WorkflowFailed, match=r"has more than 500,000 bytes\. Fetch it in"
    ) as failed:
        called(service.url)
    assert isinstance(failed.value.__cause__, PayloadTooLarge)
    assert len(service.asked) == 2, "it is not tried again"


def test_a_body_is_unpacked_within_its_bound(service: Service) -> None:
    """Without the bound, the 2,000 bytes of the last one take gigabytes."""
    text = "ä" * 10_000
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = {
        "gzip": gzip.compress(text[:5].encode()) + gzip.compress(text[5:].encode()),
        "GZIP ": gzip.compress(text.encode()) + b"\0" * 20,
        "deflate": zlib.compress(text.encode()),
        " deflate": raw.compress(text.encode()) + raw.flush(),
    }
    for coding, body in packed.items():
        service.answers = [(200, {"Content-Encoding": coding}, body)]
        assert called(service.url)["text"] == text, coding
        assert service.asked[-1][2]["accept-encoding"] == "gzip, deflate"
    service.answers = [(200, {"Content-Encoding": "br"}, b"as it is")]
    assert called(service.url, headers={"Accept-Encoding": "br"})["text"] == "as it is"
    assert service.asked[-1][2]["accept-encoding"] == "br"
    bomb = gzip.compress(b"\0" * 200_000_000, 9)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for body in (bomb, gzip.compress(b"\0" * 300_000) * 2):
        service.answers = [(200, {"Content-Encoding": "gzip"}, body)]
        with pytest.raises(WorkflowFailed, match="more than 500,000 bytes"):
            called(service.url)
    service.answers = [(200, {"Content-Encoding": "gzip, gzip"}, gzip.compress(bomb, 9))]
    assert called(service.url)["text"], "what is packed twice is left to the caller"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000
    for body in (b"hello", gzip.compress(b"hello")[:-9]):
        service.answers = [(200, {"Content-Encoding": "gzip"}, body)]
        with pytest.raises(WorkflowFailed, match="DecodingError: "):
            called(service.url)


@pytest.mark.parametrize("location", ["http://[", "http://a:b/", "http://xn--/", "ftp://a"])
@pytest.mark.parametrize("before", [0, 1], ids=["at once", "while it is polled"])
def test_a_location_that_leads_nowhere_fails_the_call(
    service: Service, before: int, location: str
) -> None:
    """It is the service's, so it neither parks the run nor is asked for ever."""
    here = (202, {"Location": "/status", "Retry-After": "0"}, b"")
    service.answers = [*[here] * before, (202, {"Location": location, "Retry-After": "0"}, b"")]
    with pytest.raises(WorkflowFailed, match=r"GET|the URL \(an answer 202") as failed:
        called(service.url, attempts=50)
    assert len(service.asked) == before + 1
    assert not getattr(failed.value.__cause__, "retryable", True)


def test_an_error_does_not_tell_all_of_a_long_path(service: Service) -> None:
    service.answers = [(503, {}, b"")]
    with pytest.raises(WorkflowFailed, match=r"GET http://.*/xxx.* \.\.\. answered 503") as failed:
        called(f"{service.url}/{'x' * 20_000}", retry_on=[503], attempts=1)
    assert len(str(failed.value)) < 1_500


def test_a_server_that_asks_for_no_pause_is_not_asked_without_one(service: Service) -> None:
    later = (202, {"Location": "/status", "Retry-After": "0"}, b"")
    service.answers = [*[later] * 31, (200, {}, b"ok")]
    found = called(service.url)
    assert found["text"] == "ok" and 30 <= found["waited"] < 33
    service.answers = [*[(503, {"Retry-After": "0"}, b"")] * 4, (200, {}, b"ok")]
    found = called(service.url, retry_on=[503], attempts=5)
    assert found["text"] == "ok" and 15 <= found["waited"] < 17, "1, 2, 4 and 8 s of the policy"


@pytest.mark.parametrize(("body", "told"), [(b"[" * 100_000, "nested too deeply"), (b"<", "Expec")])
def test_what_is_no_json_is_a_value_error(service: Service, body: bytes, told: str) -> None:
    service.answers = [(200, {}, body)]
    assert told in run(lambda env: env.run(reads_json, service.url))


def test_headers_of_the_worker_stand_in_for_those_of_the_code(service: Service) -> None:
    added = {"AUTHORIZATION": SECRET, "X-More": "1"}
    how = {"headers": {"Authorization": "of the code", "host": "other"}}
    run(
        lambda env: env.run(calls_out, "GET", service.url, how),
        [http.calls(headers=lambda url: added)],
    )
    sent = service.asked[-1][2]
    assert (sent["authorization"], sent["x-more"], sent["host"]) == (SECRET, "1", "other")


@pytest.mark.parametrize("headers", [{"a": 5}, {"a": f"ü{SECRET}"}, ["a"], {"a b": SECRET}])
def test_headers_of_the_worker_that_cannot_be_sent_say_so(service: Service, headers: Any) -> None:
    with pytest.raises(
        WorkflowFailed, match=r"GET http://.*: a header cannot be sent: http\.calls: headers"
    ) as failed:
        run(
            lambda env: env.run(calls_out, "GET", service.url, {"attempts": 50}),
            [http.calls(headers=lambda url: headers)],
        )
    assert not service.asked and SECRET not in str(failed.value)


def test_a_slow_answer_is_a_time_out() -> None:
    async def main() -> None:
        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(never, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            path = Path(__file__).name
            worker = Worker(f"embedded:{folder}", workflows=[calls_out])
            async with worker, Client(f"embedded:{folder}") as client:
                how = {"timeout": 0.2, "attempts": 1}
                with pytest.raises(WorkflowFailed, match="start-to-close time-out"):
                    await client.run(calls_out, "GET", f"http://127.0.0.1:{port}/{path}", how)

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main())


def test_secrets_of_the_worker_are_recorded_nowhere(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def secrets(url: str) -> dict[str, str]:
        assert url.startswith(service.url)
        return {"Authorization": SECRET if service.answers[0][0] != 418 else f"{SECRET}\n"}

    async def work(env: Environment) -> str:
        handle = await env.start(calls_out, "GET", service.url, {"headers": {"a": "b"}})
        await handle.result()
        return str(await handle.history()) + str(await handle.describe())

    told = run(work, [http.calls(headers=secrets)])
    assert service.asked[0][2]["authorization"] == SECRET
    service.answers = [(418, {}, b"")]
    with pytest.raises(WorkflowFailed, match="a header cannot be sent") as failed:
        run(work, [http.calls(headers=lambda url: {"x": f"{SECRET}\n"})])
    notes = str(getattr(failed.value.__cause__, "__notes__", ""))
    assert SECRET not in f"{told}{notes}{failed.value}{caplog.text}"


def test_a_mock_stands_in_for_it() -> None:
    def answers(request: http.HttpRequest) -> http.HttpResponse:
        assert (request.method, request.body) == ("POST", b'{"a":1}')
        return http.HttpResponse(201, {"content-type": "text/plain"}, b"made")

    async def main() -> None:
        async with Environment([calls_out], mocks={"processor.http": answers}) as env:
            found = await env.run(calls_out, "POST", "https://example.invalid", {"json": {"a": 1}})
            assert (found["status"], found["text"]) == (201, "made")

    asyncio.run(main())


def test_without_httpx_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calling, "default", lambda: None)
    monkeypatch.setattr(calling, "is_installed", lambda: False)
    with pytest.raises(
        ActivityNotRegistered, match=r"'processor\.http', which is not .* pip install '\.\[http\]'"
    ):
        called("http://127.0.0.1:1")
    assert "pip install '.[http]'" in caplog.text
    assert functions.MISSING == calling.MISSING
    with pytest.raises(InvalidArgument, match=r"pip install '\.\[http\]'"):
        http.calls()


def test_without_httpx_a_call_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(calling, "default", lambda: None)

    async def main() -> None:
        server = f"embedded:{tmp_path}"
        async with Worker(server, workflows=[reads_json]), Client(server) as client:
            with pytest.raises(WorkflowFailed, match=r"pip install '\.\[http\]'"):
                await client.run(reads_json, "http://127.0.0.1:1", timeout=20)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "url", "how", "said"),
    [
        ("GET it", "http://a", {}, "method: give"),
        ("GET", "ftp://a", {}, "url: give a URL"),
        ("GET", "http://a b", {}, "url: give a URL"),
        ("GET", "http://a", {"headers": ["a"]}, "headers: give a dictionary"),
        ("GET", "http://a", {"headers": {"a b": "c"}}, "'a b' is no name of a header"),
        ("GET", "http://a", {"headers": {"a": f"{SECRET}\n"}}, "the value of 'a' has to be ASCII"),
        ("GET", "http://a", {"headers": {"a": 5}}, "the value of 'a' has to be ASCII"),
        ("GET", "http://a", {"body": 5}, "body: give bytes or text"),
        ("GET", "http://a", {"body": "a", "json": 1}, "a body or json, not both"),
        ("GET", "http://a", {"timeout": 0}, "timeout"),
        ("GET", "http://a", {"retry_on": 503}, "retry_on"),
        ("GET", "http://a", {"poll": "no"}, "poll"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_the_call(
    method: str, url: str, how: dict[str, Any], said: str
) -> None:
    with pytest.raises(WorkflowParked, match=said) as failed:
        called(url, method, **how)
    assert SECRET not in str(failed.value)


@workflow.define
async def sends_what_is_no_text(which: str) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    odd = {"nan": float("nan"), "surrogate": "\ud800", "deep": deep}
    if which == "body":
        await workflow.call_http("POST", "http://a", body="\ud800")
    await workflow.call_http("POST", "http://a", json=odd[which])


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("body", "body: the text holds half of a surrogate pair"),
        ("nan", "json: Out of range float values .* give plain values"),
        ("surrogate", "json: .* give plain values"),
        ("deep", "json: .* give plain values"),
    ],
)
def test_what_no_service_could_read_is_refused_at_the_call(which: str, said: str) -> None:
    async def main() -> None:
        async with Environment([sends_what_is_no_text]) as env:
            with pytest.raises(
                WorkflowParked, match=f"InvalidArgument: workflow.call_http: {said}"
            ):
                await env.run(sends_what_is_no_text, which)

    asyncio.run(main())


def test_times_of_retry_after() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    assert calling._wait_s("7") == 7
    assert 45 < (calling._wait_s(soon) or 0) < 51
    assert calling._wait_s("9" * 30) == 86_400
    assert calling._wait_s("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert [calling._wait_s(each) for each in (None, "soon", "-5", "1.5")] == [None] * 4
