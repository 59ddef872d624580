"""Proxies: which one is taken, what it is told, what is never shown, and how it fails."""

from __future__ import annotations

import asyncio
import base64
import logging
import pickle
import ssl
from typing import Any

import pytest
from promptlathe import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncClient,
    BadRequestError,
    ConfigurationError,
    EndpointRetiredError,
    InternalServerError,
    NotFoundError,
    Timeout,
)

from faults.outcome import KEY, TASK, client_for, failure
from faults.raw_server import (
    ANSWER,
    Connection,
    Handler,
    RawServer,
    answer,
    close_unanswered,
    each,
    hold,
    refused_port,
    serve,
    silent,
)
from faults.tls import Authority

HOST = "api.example.invalid"  # nobody looks it up but a proxy, and ours does not
PATH = "/v1/experimental/generate_prompt"
PASSWORD = "p@ss word/with:all"
QUOTED = "p%40ss%20word%2Fwith%3Aall"
ESTABLISHED = b"HTTP/1.1 200 Established\r\n\r\n"
HEADERS = b"x-more: and more\r\n" * 17_000
BASIC = "Basic " + base64.b64encode(f"maid:{PASSWORD}".encode()).decode()


@pytest.fixture(autouse=True)
def some_authorities(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a client for https also where the system trusts nobody."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


def plain(**options: Any) -> Any:
    return client_for(f"http://{HOST}", allow_http=True, **options)


def tunnel(context: ssl.SSLContext, inner: Handler = serve) -> Handler:
    """A proxy that lets the client through, to a server behind TLS that is this one too."""

    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(ESTABLISHED)
        connection.tls(context)
        inner(connection)

    return handle


# ---- Which proxy --------------------------------------------------------------------------------

TAKEN = [
    ("http", "http_proxy"),
    ("http", "all_proxy"),
    ("http", "ALL_PROXY"),
    ("https", "https_proxy"),
    ("https", "HTTPS_PROXY"),
    ("https", "all_proxy"),
    ("https", "ALL_PROXY"),
]


def reached(server: RawServer, scheme: str, **options: Any) -> bool:
    """Whether a call to the host by this scheme comes to the proxy, which leaves at once."""
    before = len(server.connections)
    client = client_for(f"{scheme}://{HOST}", allow_http=True, max_retries=0, **options)
    with client:
        failure(client, APIConnectionError)
    return len(server.connections) > before


@pytest.mark.parametrize(("scheme", "variable"), TAKEN)
def test_proxy_of_the_environment(
    scheme: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(close_unanswered) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        assert reached(proxy, scheme)


def test_environment_without_a_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(close_unanswered) as proxy:
        monkeypatch.setenv("https_proxy", proxy.authority)
        assert reached(proxy, "https")


# A label of 64 letters is refused by the resolver itself: without a proxy no server is asked.
UNKNOWN = "a" * 64 + ".invalid"


@pytest.mark.parametrize(
    ("scheme", "variable"),
    [("http", "HTTP_PROXY"), ("http", "https_proxy"), ("https", "http_proxy")],
)
def test_variables_that_are_not_for_the_scheme(
    scheme: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(close_unanswered) as proxy:
        monkeypatch.setenv(variable, proxy.url)
        with client_for(f"{scheme}://{UNKNOWN}", allow_http=True, max_retries=0) as client:
            assert failure(client, APIConnectionError).phase == "resolve"
        assert proxy.connections == []


def test_the_schemes_own_variable_comes_before_that_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with RawServer(close_unanswered) as proxy, RawServer(close_unanswered) as other:
        monkeypatch.setenv("all_proxy", other.url)
        monkeypatch.setenv("https_proxy", proxy.url)
        assert reached(proxy, "https") and other.connections == []


def test_argument_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(close_unanswered) as proxy, RawServer(close_unanswered) as other:
        monkeypatch.setenv("https_proxy", other.url)
        monkeypatch.setenv("no_proxy", "*")
        assert reached(proxy, "https", proxy=proxy.url) and other.connections == []


def test_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(close_unanswered) as proxy:
        monkeypatch.setenv("https_proxy", "")
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert reached(proxy, "https")


def test_empty_argument_is_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(close_unanswered) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with client_for(f"https://{UNKNOWN}", proxy="", max_retries=0) as client:
            assert failure(client, APIConnectionError).phase == "resolve"
        assert proxy.connections == []


EXCEPTED = ["*", "invalid", ".invalid", UNKNOWN, f"example.org, {UNKNOWN}", UNKNOWN.upper()]


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("value", EXCEPTED)
def test_no_proxy(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(close_unanswered) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv(variable, value)
        with client_for(f"https://{UNKNOWN}", max_retries=0) as client:
            assert failure(client, APIConnectionError).phase == "resolve"
        assert proxy.connections == []


@pytest.mark.parametrize("value", ["example.org", "nvalid", f"x{HOST}", "127.0.0.1", ""])
def test_no_proxy_for_others_changes_nothing(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(close_unanswered) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", value)
        assert reached(proxy, "https")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.9.10", "LOCALHOST"])
def test_loopback_is_never_sent_to_a_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(close_unanswered) as proxy, RawServer(serve) as server:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        url = f"http://{host}:{server.port}"
        for options in ({}, {"proxy": proxy.url}):
            if host == "127.8.9.10":  # nobody listens there: a refusal tells as much
                with client_for(url, max_retries=0, **options) as client:
                    assert failure(client, APIConnectionError).phase == "connect"
            else:
                with client_for(url, **options) as client:
                    assert client.generate(TASK) == ANSWER
        assert proxy.connections == []


def test_loopback_of_ipv6_is_never_sent_to_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(close_unanswered) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url)
        with client_for(f"http://[::1]:{refused_port()}", max_retries=0) as client:
            assert failure(client, APIConnectionError).phase == "connect"
        assert proxy.connections == []


# ---- What it is told ----------------------------------------------------------------------------


def test_http_is_asked_for_by_its_whole_address() -> None:
    with RawServer(serve) as proxy, plain(proxy=proxy.url) as client:
        assert client.generate(TASK) == ANSWER
        assert client.generate(TASK) == ANSWER
        request = proxy.requests[0]
        assert request.line == f"POST http://{HOST}{PATH} HTTP/1.1"
        assert request.headers["host"] == HOST
        assert "proxy-authorization" not in request.headers
        assert len(proxy.connections) == 1


def test_tunnel_knows_the_host_and_nothing_else(authority: Authority) -> None:
    with RawServer(tunnel(authority.issue(HOST))) as proxy:
        url = proxy.url.replace("//", f"//maid:{QUOTED}@")
        with client_for(f"https://{HOST}", proxy=url, ca_file=authority.file) as client:
            raw = client.with_raw_response.generate(TASK)
            assert (raw.data, raw.attempts) == (ANSWER, 1)
            assert "established" not in str(raw.headers).lower()
            assert client.generate(TASK) == ANSWER
        assert len(proxy.connections) == 1
        connect, inner, _ = proxy.requests
        assert connect.line == f"CONNECT {HOST}:443 HTTP/1.1"
        assert connect.headers["proxy-authorization"] == BASIC
        assert KEY not in str(connect) and "x-api-key" not in connect.headers
        assert "anthropic-beta" not in connect.headers
        assert inner.line == f"POST {PATH} HTTP/1.1"
        assert inner.headers["x-api-key"] == KEY
        assert "proxy-authorization" not in inner.headers


def test_certificate_is_verified_through_a_tunnel(
    authority: Authority, stranger: Authority
) -> None:
    for context in (stranger.issue(HOST), authority.issue("127.0.0.1")):
        with RawServer(tunnel(context)) as proxy:
            with client_for(f"https://{HOST}", proxy=proxy.url, ca_file=authority.file) as client:
                error = failure(client, APIConnectionError)
                assert (error.phase, error.attempts, error.host) == ("tls", 1, HOST)
            assert [request.line[:7] for request in proxy.requests] == ["CONNECT"]


def test_proxy_behind_tls(authority: Authority) -> None:
    context = authority.issue("127.0.0.1")

    def handle(connection: Connection) -> None:
        connection.tls(context)
        serve(connection)

    with RawServer(handle) as proxy:
        url = proxy.url.replace("http:", "https:")
        with plain(proxy=url, ca_file=authority.file) as client:
            assert client.generate(TASK) == ANSWER
        assert proxy.requests[0].line.startswith(f"POST http://{HOST}/")


def test_credentials_are_used() -> None:
    with RawServer(serve) as proxy:
        with plain(proxy=proxy.url.replace("//", f"//maid:{QUOTED}@")) as client:
            assert client.generate(TASK) == ANSWER
        assert proxy.requests[0].headers["proxy-authorization"] == BASIC


# ---- What is never shown ------------------------------------------------------------------------


def challenge(connection: Connection) -> None:
    while True:
        connection.request()
        connection.send(answer(407, b"who?", ['proxy-authenticate: Basic realm="x"']))


FAILING = {"asks": challenge, "leaves": close_unanswered}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("handler", FAILING.values(), ids=FAILING.keys())
def test_credentials_are_never_shown(
    scheme: str, handler: Handler, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, logger="promptlathe")
    with RawServer(handler) as proxy:
        monkeypatch.setenv("all_proxy", proxy.url.replace("//", f"//maid:{QUOTED}@"))
        with client_for(f"{scheme}://{HOST}", allow_http=True) as client:
            with pytest.raises((APIConnectionError, APIStatusError)) as caught:
                client.generate(TASK)
            shown = [repr(client), str(caught.value), repr(caught.value), repr(vars(caught.value))]
        shown += [str(pickle.dumps(caught.value)), caplog.text]
    assert caplog.records
    secrets = (PASSWORD, QUOTED, BASIC.split()[1], "maid")
    assert [text for text in shown if any(secret in text for secret in secrets)] == []


@pytest.mark.parametrize(
    "proxy", ["ftp://maid:secret@127.0.0.1:1", "http://maid:secret@[::1", "gopher://maid:secret@x"]
)
def test_unusable_proxy_is_refused_without_showing_it(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="proxy is no usable proxy") as caught:
        plain(proxy=proxy)
    assert "secret" not in repr(caught.value)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ConfigurationError, match="environment's proxy") as caught:
        plain()
    assert "secret" not in repr(caught.value)


# ---- Proxies that fail --------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.fault("Proxy", "refuses, for {scheme}")
def test_proxy_that_refuses(scheme: str) -> None:
    url = f"http://127.0.0.1:{refused_port()}"
    with client_for(f"{scheme}://{HOST}", allow_http=True, proxy=url) as client:
        error = failure(client, APIConnectionError, within=2)
    assert (error.phase, error.attempts, error.host) == ("connect", 2, HOST)


@pytest.mark.fault("Proxy", "name not found")
def test_proxy_whose_name_is_not_found() -> None:
    with plain(proxy=f"http://{UNKNOWN}:3128") as client:
        error = failure(client, APIConnectionError, within=2)
    assert (error.phase, error.attempts) == ("resolve", 2)


def dies(response: bytes) -> Handler:
    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(response)

    return handle


LOCATION = ["location: https://elsewhere.example.invalid/"]
CONNECTS = {
    "dies": dies(b""),
    "dies within its answer": dies(b"HTTP/1.1 200 Esta"),
    "answers 407": hold(answer(407, b"who?", ['proxy-authenticate: Basic realm="x"'])),
    "answers 403": hold(answer(403, b"not there")),
    "answers 502": hold(answer(502, b"not today")),
    "answers 302": hold(answer(302, b"over there", LOCATION)),
    "answers 307": hold(answer(307, b"over there", LOCATION)),
    "answers 502 and dies within the body": dies(answer(502, b"not today")[:-3]),
    "answers garbage": hold(b"\x00\xffgarbage\r\n\r\n"),
}


def assert_tunnel_fails(handler: Handler, authority: Authority, phase: str) -> None:
    """Twice, and the third time it is there."""
    with (
        RawServer(handler, handler, tunnel(authority.issue(HOST))) as proxy,
        client_for(f"https://{HOST}", proxy=proxy.url, ca_file=authority.file) as client,
    ):
        error = failure(client, APIConnectionError)
        assert (error.phase, error.attempts, error.host) == (phase, 2, HOST), str(error)
        assert [request.line[:7] for request in proxy.requests] == ["CONNECT"] * 2
        assert client.generate(TASK) == ANSWER


@pytest.mark.parametrize("handler", CONNECTS.values(), ids=CONNECTS.keys())
@pytest.mark.fault("Proxy", "CONNECT: {id}")
def test_proxy_that_fails_in_connect(handler: Handler, authority: Authority) -> None:
    assert_tunnel_fails(handler, authority, "connect")


LET_THROUGH = {
    "closes": dies(ESTABLISHED),
    "sends garbage": hold(ESTABLISHED + b"\x00\xffgarbage\r\n\r\n"),
    "sends a page": hold(answer(200, b"<html>welcome</html>")),
    "sends chunks": hold(
        ESTABLISHED[:-2] + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    "speaks HTTP to the end": dies(ESTABLISHED + answer()),
}


@pytest.mark.parametrize("handler", LET_THROUGH.values(), ids=LET_THROUGH.keys())
@pytest.mark.fault("Proxy", "CONNECT: answers 200 and {id}")
def test_proxy_that_fails_behind_its_200(handler: Handler, authority: Authority) -> None:
    """Nothing but the server's own handshake is believed."""
    assert_tunnel_fails(handler, authority, "tls")


def headers_that_drip(connection: Connection) -> None:
    connection.request()
    connection.send(ESTABLISHED[:-2])
    connection.drip(HEADERS)


def status_line_that_drips(connection: Connection) -> None:
    connection.request()
    connection.drip(ESTABLISHED, gap=0.5)


# To the client the way to the server is there as soon as the proxy has said 200.
DRIPS = {
    "a status line": (status_line_that_drips, "connect"),
    "a header": (headers_that_drip, "tls"),
}


def endless_headers(connection: Connection) -> None:
    connection.request()
    connection.send(ESTABLISHED[:-2])
    while True:
        connection.send(HEADERS)


def test_proxy_that_is_slow_in_connect(authority: Authority) -> None:
    context = authority.issue(HOST)

    def handle(connection: Connection) -> None:
        connection.request()
        connection.drip(ESTABLISHED)
        connection.tls(context)
        serve(connection)

    with (
        RawServer(handle) as proxy,
        client_for(f"https://{HOST}", proxy=proxy.url, ca_file=authority.file) as client,
    ):
        assert client.generate(TASK) == ANSWER


@pytest.mark.parametrize(("handler", "phase"), DRIPS.values(), ids=DRIPS.keys())
@pytest.mark.fault("Proxy", "CONNECT: {id} that drips")
def test_proxy_that_drips_in_connect(handler: Handler, phase: str, authority: Authority) -> None:
    with (
        RawServer(handler, tunnel(authority.issue(HOST))) as proxy,
        client_for(f"https://{HOST}", proxy=proxy.url, ca_file=authority.file) as client,
    ):
        timeout = Timeout(total=5, connect=0.3)
        error = failure(client, APITimeoutError, within=1.3, timeout=timeout, max_retries=0)
        assert (error.phase, error.attempts) == (phase, 1), str(error)
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("Proxy", "CONNECT: endless headers")
def test_proxy_whose_headers_never_end(authority: Authority) -> None:
    with (
        RawServer(endless_headers, endless_headers, tunnel(authority.issue(HOST))) as proxy,
        client_for(f"https://{HOST}", proxy=proxy.url, ca_file=authority.file) as client,
    ):
        # libcurl 7.88 reads a proxy's answer byte by byte, up to a limit of its own.
        error = failure(client, APIConnectionError, within=21, timeout=20)
        assert error.attempts == 2 and error.phase in ("connect", "tls"), str(error)
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("Proxy", "CONNECT: silence")
def test_proxy_that_is_silent_in_connect(authority: Authority) -> None:
    with (
        RawServer(silent, tunnel(authority.issue(HOST))) as proxy,
        client_for(f"https://{HOST}", proxy=proxy.url, ca_file=authority.file) as client,
    ):
        timeout = Timeout(total=5, connect=0.3)
        error = failure(client, APITimeoutError, within=1.3, timeout=timeout, max_retries=0)
        assert (error.phase, error.attempts) == ("connect", 1)
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("Proxy", "silence behind a tunnel")
def test_server_that_stalls_behind_a_tunnel(authority: Authority) -> None:
    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(ESTABLISHED)
        connection.until_closed()

    with (
        RawServer(handle) as proxy,
        client_for(f"https://{HOST}", proxy=proxy.url, ca_file=authority.file) as client,
    ):
        timeout = Timeout(total=5, connect=0.3)
        error = failure(client, APITimeoutError, within=1.3, timeout=timeout, max_retries=0)
        assert (error.phase, error.attempts) == ("tls", 1)


@pytest.mark.fault("Proxy", "407, for http")
def test_407_for_plain_http_is_an_answer() -> None:
    with RawServer(challenge) as proxy, plain(proxy=proxy.url) as client:
        error = failure(client, APIStatusError)
        assert (error.status_code, error.attempts, len(proxy.requests)) == (407, 1, 1)


@pytest.mark.fault("Proxy", "502, for http")
def test_502_for_plain_http_is_an_answer() -> None:
    with (
        RawServer(each(*[answer(502, b"not today")] * 2)) as proxy,
        plain(proxy=proxy.url) as client,
    ):
        error = failure(client, InternalServerError)
        assert (error.status_code, error.attempts, len(proxy.requests)) == (502, 2, 2)
        assert client.generate(TASK) == ANSWER


HTTP = {
    "closes": (close_unanswered, "wait"),
    "closes within its answer": (dies(answer()[:-5]), "read"),
    "answers garbage": (dies(b"\x00\xffgarbage\r\n\r\n"), "read"),
}


@pytest.mark.parametrize(("handler", "phase"), HTTP.values(), ids=HTTP.keys())
@pytest.mark.fault("Proxy", "{id}, for http")
def test_proxy_that_fails_for_plain_http(handler: Handler, phase: str) -> None:
    with RawServer(handler, handler, serve) as proxy, plain(proxy=proxy.url) as client:
        error = failure(client, APIConnectionError)
        assert (error.phase, error.attempts, error.host) == (phase, 2, HOST), str(error)
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("Proxy", "silence, for http")
def test_proxy_that_is_silent_for_plain_http() -> None:
    with RawServer(silent, serve) as proxy, plain(proxy=proxy.url) as client:
        error = failure(client, APITimeoutError, within=1.3, timeout=0.3)
        assert (error.phase, error.attempts) == ("wait", 1)
        assert client.generate(TASK) == ANSWER


# ---- In the other manners of calling ------------------------------------------------------------


def three(authority: Authority) -> RawServer:
    """A proxy that fails two calls in CONNECT, by a refusal each, and then lets through."""
    refuse = hold(answer(502, b"not today"))
    return RawServer(refuse, refuse, tunnel(authority.issue(HOST)))


def test_async_client_and_a_proxy(authority: Authority) -> None:
    async def calls(url: str) -> None:
        options: Any = {"proxy": url, "ca_file": str(authority.file), "timeout": 5}
        async with AsyncClient(KEY, base_url=f"https://{HOST}", max_retries=1, **options) as client:
            with pytest.raises(APIConnectionError) as caught:
                await client.generate(TASK)
            assert (caught.value.phase, caught.value.attempts) == ("connect", 2)
            assert await client.generate(TASK) == ANSWER

    with three(authority) as proxy:
        asyncio.run(calls(proxy.url))


def test_map_and_a_proxy(authority: Authority) -> None:
    request = {"verb": "generate", "task": TASK}
    with (
        three(authority) as proxy,
        client_for(
            f"https://{HOST}", proxy=proxy.url, ca_file=authority.file, max_retries=0
        ) as client,
    ):
        first, second, *rest = client.map([request] * 6, concurrency=1, return_exceptions=True)
        for error in (first, second):
            assert isinstance(error, APIConnectionError) and error.phase == "connect"
        assert rest == [ANSWER] * 4


# ---- SOCKS --------------------------------------------------------------------------------------


def socks(connection: Connection) -> None:
    """Let the client through by SOCKS 5, without asking who it is; the name comes unresolved."""
    assert connection.receive()[:1] == b"\x05"
    connection.send(b"\x05\x00")
    wanted = connection.receive()
    assert wanted[:4] == b"\x05\x01\x00\x03" and wanted[5:-2] == HOST.encode()
    connection.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50")
    serve(connection)


def socks_that_dies(connection: Connection) -> None:
    connection.receive()


def test_socks() -> None:
    with RawServer(socks) as proxy:
        with plain(proxy=proxy.url.replace("http:", "socks5h:")) as client:
            assert client.generate(TASK) == ANSWER
        assert proxy.requests[0].line == f"POST {PATH} HTTP/1.1"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.fault("Proxy", "SOCKS proxy that dies, for {scheme}")
def test_socks_that_dies(scheme: str) -> None:
    with RawServer(socks_that_dies) as proxy:
        url = proxy.url.replace("http:", "socks5h:")
        with client_for(f"{scheme}://{HOST}", allow_http=True, proxy=url) as client:
            error = failure(client, APIConnectionError, within=2)
            assert (error.phase, error.attempts) == ("connect", 2)


# ---- The vendor's own host ----------------------------------------------------------------------

GONE = b'{"type":"error","error":{"type":"not_found_error","message":"Not found"},"request_id":"r"}'
RETIRED = {"404": (404, b""), "410": (410, b"gone"), "not_found_error": (400, GONE)}


@pytest.mark.parametrize(("status", "body"), RETIRED.values(), ids=RETIRED.keys())
@pytest.mark.parametrize("verb", ["generate", "improve", "templatize"])
def test_retired_endpoints(verb: str, status: int, body: bytes) -> None:
    with RawServer(each(*[answer(status, body, ["x-should-retry: true"])] * 2)) as proxy:
        url = "http://api.anthropic.com"
        with client_for(url, allow_http=True, proxy=proxy.url) as client:
            with pytest.raises(EndpointRetiredError, match="retired") as caught:
                getattr(client, verb)(TASK)
            assert isinstance(caught.value, NotFoundError)
            assert (caught.value.status_code, caught.value.attempts) == (status, 1)
            assert len(proxy.requests) == 1


OTHERS = {
    "another host": ("http://api.anthropic.com.example.invalid", 404, NotFoundError),
    "another path": ("http://api.anthropic.com/gateway", 404, NotFoundError),
    "another fault": ("http://api.anthropic.com", 400, BadRequestError),
    "a failure": ("http://api.anthropic.com", 500, InternalServerError),
}


@pytest.mark.parametrize(("url", "status", "kind"), OTHERS.values(), ids=OTHERS.keys())
def test_not_retired(url: str, status: int, kind: type[APIStatusError]) -> None:
    with (
        RawServer(each(answer(status, b"{}"))) as proxy,
        client_for(url, allow_http=True, proxy=proxy.url, max_retries=0) as client,
    ):
        failure(client, kind)
        assert client.generate(TASK) == ANSWER
