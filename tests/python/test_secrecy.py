"""The key and the proxy's password are seen by the service and the proxy, and by nobody else."""

from __future__ import annotations

import base64
import copy
import io
import json
import logging
import pickle
import socket
import traceback
from typing import Any

import promptlathe
import pytest
from one_call import TASK, client_of, fault
from promptlathe import APIError, APIResponseValidationError, APIStatusError, Client
from promptlathe.mock import Server

KEY = "sk-lathe-api03-T0p/S3cr3t+Key=Value_0123456789"
PASSWORD = "proxy-Passw0rd-98765"

GOOD = {"messages": [], "system": "", "usage": {}}


def everything_shown(error: BaseException) -> list[str]:
    """All the ways by which an exception reaches a terminal, a log, a file or another process."""
    frames = "".join(traceback.format_exception(error))
    shown = [str(error), repr(error), repr(error.args), repr(vars(error)), frames]
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        shown.append(pickle.dumps(error, protocol).decode("latin-1"))
    twins = [copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))]
    shown += [repr(vars(twin)) + repr(twin) for twin in twins]
    for other in (error.__cause__, error.__context__):
        if other is not None:
            shown += everything_shown(other)
    return shown


def assert_hidden(secret: str, shown: list[str]) -> None:
    """Neither as it is, nor as JSON or an encoding of it would show it; nor a half of it."""
    half = len(secret) // 2
    forms = {secret, secret.replace("/", "\\/"), repr(secret)[1:-1], secret[:half], secret[half:]}
    forms.add(base64.b64encode(secret.encode()).decode())
    for text in shown:
        assert [form for form in forms if form in text] == []


@pytest.fixture(params=["api_key", "auth_token"])
def client(request: pytest.FixtureRequest, promptlathe_server: Server) -> Client:
    return client_of(promptlathe_server, **{request.param: KEY, "max_retries": 1})


# ---- What errors show ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [202, 301, 400, 401, 403, 404, 409, 413, 422, 429, 500, 529])
def test_errors_of_a_service_that_echoes_the_key(
    client: Client, promptlathe_server: Server, status: int
) -> None:
    """In any header and at any place of the body."""
    body = {
        **fault(f"bad {KEY}", f"the key {KEY} is not known"),
        "headers": {KEY: [f"x{KEY}x", KEY]},
    }
    headers = {
        "request-id": f"req_{KEY}",
        "x-echo": f"Bearer {KEY}",
        "location": f"https://elsewhere.example/?key={KEY}",
        "retry-after-ms": "1",
        "anthropic-ratelimit-tokens-reset": KEY,
    }
    step = {"status": status, "headers": headers, "body": body}
    promptlathe_server.script([step] * 2)
    with pytest.raises(APIError) as caught:
        client.generate(TASK)
    error = caught.value
    assert isinstance(error, (APIStatusError, APIResponseValidationError))
    assert error.headers["x-echo"] == "Bearer " + "*" * len(KEY)
    if status != 202:
        assert error.body["error"]["message"] == f"the key {'*' * len(KEY)} is not known"
    assert_hidden(KEY, [*everything_shown(error), repr(client.rate_limits), repr(client)])


SPELLINGS = {
    "plain": KEY,
    "slash": KEY.replace("/", "\\/"),
    "escaped": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "escaped in capitals": "".join(f"\\u{ord(c):04X}" for c in KEY),
    "some": KEY.replace("+", "\\u002b").replace("=", "\\u003D"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.parametrize("status", [200, 203, 400, 500])
def test_a_key_that_json_spells_in_another_way(
    client: Client, promptlathe_server: Server, spelling: str, status: int
) -> None:
    body = f'{{"error": {{"message": "not {spelling}!", "type": "{spelling}"}}}}'
    step = {"status": status, "body": body, "headers": {"retry-after-ms": "1"}}
    promptlathe_server.script([step] * 2)
    with pytest.raises(APIError) as caught:
        client.generate(TASK)
    assert_hidden(KEY, everything_shown(caught.value))
    assert "not ***" in repr(vars(caught.value))


@pytest.mark.parametrize(
    "body",
    [
        f"you sent {KEY}",
        f'{{"messages": "{KEY}"}}',
        f'{{"{KEY}": 1}}',
        json.dumps({"type": "error", "error": {"message": KEY}, "request_id": KEY}),
        "x" * (65536 - 20) + KEY,  # what is kept ends within it
        KEY * 3000,
    ],
    ids=["text", "value", "key", "error", "cut", "many"],
)
def test_an_unusable_200_that_echoes_the_key(
    client: Client, promptlathe_server: Server, body: str
) -> None:
    headers = {"request-id": f"r-{KEY}", "x-echo": KEY}
    promptlathe_server.script([{"body": body, "headers": headers}])
    with pytest.raises(APIResponseValidationError) as caught:
        client.generate(TASK)
    assert_hidden(KEY, everything_shown(caught.value))
    assert caught.value.request_id == "r-" + "*" * len(KEY)


def test_a_short_key_does_not_garble_what_the_service_said(promptlathe_server: Server) -> None:
    """Stand-ins such as "test" are words of many messages."""
    promptlathe_server.script([{"status": 400, "body": fault(message="your test failed")}])
    with client_of(promptlathe_server, api_key="test") as client:
        with pytest.raises(APIStatusError, match="your test failed"):
            client.generate(TASK)


def test_errors_without_an_answer(client: Client, promptlathe_server: Server) -> None:
    garbage = f"x-api-key: {KEY}\r\n\r\n".encode()
    endings: list[dict[str, Any]] = [
        {"raw": garbage},
        {"raw": b"HTTP/1.1 200 OK\r\n" + garbage},
        {"raw": b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n" + garbage},
        {"raw": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + garbage},
        {"raw": b"HTTP/1.1 200 OK\r\ncontent-length: " + KEY.encode() + b"\r\n\r\n"},
        {"raw": b"HTTP/1.1 " + KEY.encode() + b"\r\n\r\n"},
        {"raw": b"HTTP/1.1 200 OK\r\ncontent-encoding: " + KEY.encode() + b"\r\n\r\n"},
        {"close": True},
        {"reset": True},
    ]
    for step in endings:
        promptlathe_server.script([step] * 2)
        with pytest.raises(APIError) as caught, client.with_options(max_retries=0) as once:
            once.generate(TASK)
        assert_hidden(KEY, everything_shown(caught.value))


def test_errors_without_a_connection() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"  # bound, and nobody listens
        with Client(KEY, base_url=url, max_retries=0) as client:
            with pytest.raises(promptlathe.APIConnectionError) as caught:
                client.generate(TASK)
    assert_hidden(KEY, everything_shown(caught.value))


def test_a_timeout(client: Client, promptlathe_server: Server) -> None:
    promptlathe_server.script([{"delay": 5}])
    with pytest.raises(promptlathe.APITimeoutError) as caught:
        client.generate(TASK, timeout=0.05)
    assert_hidden(KEY, everything_shown(caught.value))


def test_a_closed_client_and_wrong_input(client: Client) -> None:
    shown: list[str] = []
    for call in (lambda: client.generate(5), lambda: client.generate(TASK, timeout=-1)):
        with pytest.raises(ValueError) as caught:
            call()
        shown += everything_shown(caught.value)
    client.close()
    with pytest.raises(promptlathe.ClientClosedError) as closed:
        client.generate(TASK)
    assert_hidden(KEY, shown + everything_shown(closed.value))


# ---- What clients and answers show --------------------------------------------------------------


def test_a_client_shows_no_key(client: Client) -> None:
    shown = [repr(client), str(client), repr(client.with_raw_response)]
    for name in dir(client):
        shown.append(repr(getattr(client, name)))
    with pytest.raises(TypeError) as caught:
        pickle.dumps(client)
    with pytest.raises(TypeError):
        copy.copy(client)
    with client.with_options(timeout=5) as other:
        shown += [repr(other), repr(vars(caught.value))]
    assert_hidden(KEY, shown)


def test_a_raw_response_of_a_service_that_echoes_the_key(
    client: Client, promptlathe_server: Server
) -> None:
    headers = {"request-id": KEY, "x-echo": f"Bearer {KEY}"}
    promptlathe_server.script([{"body": GOOD, "headers": headers}])
    raw = client.with_raw_response.generate(TASK)
    shown = [repr(raw), repr(raw.headers), repr(raw.request_id)]
    shown.append(pickle.dumps(raw).decode("latin-1"))
    assert_hidden(KEY, shown)


# ---- Logs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_bodies", [False, True])
@pytest.mark.parametrize("option", ["api_key", "auth_token"])
def test_logs(
    promptlathe_server: Server,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    option: str,
    log_bodies: bool,
) -> None:
    """Not at any level, not with bodies, not from a prompt or an answer that holds the key."""
    caplog.set_level(1)
    headers = {"request-id": KEY, "retry-after-ms": "1", "x-echo": KEY}
    answers = [
        {"status": 500, "headers": headers, "body": KEY},
        {"body": {**GOOD, "system": KEY, "usage": {"also": "plain words"}}, "headers": headers},
        {"body": KEY, "headers": headers},
        {"status": 401, "headers": headers, "body": fault(KEY, KEY)},
        {"close": True},
    ]
    promptlathe_server.script(answers)
    task = f"{TASK}: {KEY}"
    options: dict[str, Any] = {option: KEY, "log_bodies": log_bodies}
    with client_of(promptlathe_server, **options, max_retries=1) as client:
        assert client.generate(task)["system"] == KEY  # a result is what was sent
        for _ in range(3):
            with pytest.raises(APIError):
                client.generate(task, max_retries=0)
    assert promptlathe_server.requests[0].json["task"] == task
    logged = [
        record.getMessage() + repr(record.args) + repr(record.__dict__) for record in caplog.records
    ]
    assert_hidden(KEY, [*logged, caplog.text, *capfd.readouterr()])
    levels = {record.levelno for record in caplog.records if record.name == "promptlathe"}
    assert levels == {logging.DEBUG, logging.INFO, logging.WARNING}
    assert ("zeppelin" in caplog.text) == ("plain words" in caplog.text) == log_bodies


# ---- What is refused without being shown --------------------------------------------------------

BAD_KEYS = [
    f"{KEY}\n", f"{KEY}\r\n", f"\n{KEY}", f"{KEY}\r\nx-evil: 1", f" {KEY}", f"{KEY} ", f"{KEY}\t",
    f"{KEY}\0", f"{KEY} {KEY}", f"{KEY}é", f"{KEY}\x7f", f"{KEY}\ud800", f"{KEY}\u2028", "",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: ascii(key[-3:] + key[:2]))
@pytest.mark.parametrize("option", ["api_key", "auth_token"])
def test_a_malformed_key_is_refused_without_showing_it(option: str, key: str) -> None:
    made = {option: key}
    with pytest.raises(promptlathe.ConfigurationError) as caught:
        Client(**made)
    assert option in str(caught.value)
    frames = traceback.format_exception(caught.value)
    assert_hidden(KEY, [str(caught.value), repr(caught.value), repr(vars(caught.value)), *frames])


@pytest.mark.parametrize("key", [key for key in BAD_KEYS if key and not set("\0\ud800") & set(key)])
@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
def test_a_malformed_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    monkeypatch.setenv(name, key)
    with pytest.raises(promptlathe.ConfigurationError, match=name) as caught:
        Client()
    assert_hidden(KEY, [str(caught.value), repr(vars(caught.value))])


def test_a_key_of_the_wrong_type() -> None:
    for key in (KEY.encode(), [KEY], {KEY: 1}, bytearray(KEY, "ascii")):
        for option in ("api_key", "auth_token"):
            made: Any = {option: key}
            with pytest.raises(TypeError, match=option) as caught:
                Client(**made)
            assert_hidden(KEY, [str(caught.value), repr(vars(caught.value))])


@pytest.mark.parametrize(
    "name",
    [
        "x-api-key", "X-Api-Key", "authorization", "AUTHORIZATION", "host", "Host",
        "content-length", "Transfer-Encoding", "connection", "Expect", "accept-encoding",
        "Content-Type", "anthropic-beta",
    ],
)  # fmt: skip
def test_headers_that_a_caller_may_not_set(promptlathe_server: Server, name: str) -> None:
    """The error names the header and the way to do it, and does not show the value."""
    refused: list[pytest.ExceptionInfo[promptlathe.ConfigurationError]] = []
    with pytest.raises(promptlathe.ConfigurationError, match=f"default_headers.*{name}") as caught:
        client_of(promptlathe_server, default_headers={name: KEY})
    refused.append(caught)
    with client_of(promptlathe_server) as client:
        with pytest.raises(promptlathe.ConfigurationError, match=f"extra_headers.*{name}") as call:
            client.generate(TASK, extra_headers={"x-good": "1", name: KEY})
        refused.append(call)
        with pytest.raises(promptlathe.ConfigurationError, match=name) as copied:
            client.with_options(default_headers={name: KEY})
        refused.append(copied)
    for each in refused:
        assert_hidden(KEY, [str(each.value), repr(vars(each.value))])
    assert promptlathe_server.connections == 0


def test_a_malformed_header_does_not_show_its_value(promptlathe_server: Server) -> None:
    with client_of(promptlathe_server) as client:
        for value in (f"{KEY}\r\nx: y", f"{KEY}\n", f"{KEY}\0", f"{KEY}é", f" {KEY}"):
            with pytest.raises(promptlathe.ConfigurationError) as caught:
                client.generate(TASK, extra_headers={"x-mine": value})
            assert_hidden(KEY, [str(caught.value), repr(vars(caught.value))])
    assert promptlathe_server.connections == 0


@pytest.mark.parametrize(
    "url", ["https://{0}@h.example", "https://u:{0}@h.example", "https://h.example/?key={0}",
            "https://h.example/#{0}"],
)  # fmt: skip
def test_a_url_with_a_secret_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(promptlathe.ConfigurationError, match="base_url") as caught:
        Client("some-key", base_url=url.format(KEY.replace("/", "")))
    assert_hidden(KEY.replace("/", ""), [str(caught.value), repr(vars(caught.value))])


# ---- Where the secrets do go --------------------------------------------------------------------


def test_the_service_gets_the_key_once(client: Client, promptlathe_server: Server) -> None:
    client.generate(TASK)
    headers = promptlathe_server.requests[0].headers
    holding = {name: value for name, value in headers.items() if KEY in value}
    assert holding in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"})


# ---- The proxy's password -----------------------------------------------------------------------

USER_INFO = f"lathe:{PASSWORD}"
BASIC = base64.b64encode(USER_INFO.encode()).decode()


def through(proxy: str, **options: Any) -> Client:
    """A client of a host that does not exist, so that only the proxy can answer."""
    made: dict[str, Any] = {"base_url": "http://service.invalid", "allow_http": True, **options}
    return Client(KEY, proxy=proxy, max_retries=0, timeout=20, **made)


def proxy_url(server: Server) -> str:
    return server.url.replace("http://", f"http://{USER_INFO}@")


@pytest.mark.parametrize(
    "answer", [{"status": 407}, {"status": 502, "body": "no"}, {"close": True}]
)
def test_a_proxy_that_fails(promptlathe_server: Server, answer: dict[str, Any]) -> None:
    """Its password is used and not shown."""
    promptlathe_server.script([answer])
    with through(proxy_url(promptlathe_server)) as client:
        with pytest.raises(APIError) as caught:
            client.generate(TASK)
        shown = [repr(client), *everything_shown(caught.value)]
    request = promptlathe_server.requests[0]
    assert request.headers["proxy-authorization"] == f"Basic {BASIC}"
    assert request.path.startswith("http://service.invalid/v1/")
    assert_hidden(PASSWORD, shown)
    assert_hidden(USER_INFO, shown)


@pytest.mark.parametrize("status", [200, 403, 407, 502])
def test_a_proxy_that_refuses_a_tunnel(promptlathe_server: Server, status: int) -> None:
    """Also one that agrees and then speaks no TLS."""
    promptlathe_server.script(
        [{"raw": f"HTTP/1.1 {status} As it is\r\nx-echo: Basic {BASIC}\r\n\r\nno".encode()}]
    )
    with through(proxy_url(promptlathe_server), base_url="https://service.invalid") as client:
        with pytest.raises(promptlathe.APIConnectionError) as caught:
            client.generate(TASK)
    request = promptlathe_server.requests[0]
    assert request.method == "CONNECT" and "x-api-key" not in request.headers
    assert request.headers["proxy-authorization"] == f"Basic {BASIC}"
    assert_hidden(PASSWORD, everything_shown(caught.value))
    assert_hidden(USER_INFO, everything_shown(caught.value))


@pytest.mark.parametrize(
    "proxy",
    [
        f"ftp://{USER_INFO}@127.0.0.1:1", f"http://{USER_INFO}@[::1", f"gopher://{USER_INFO}@x",
        f"http://{USER_INFO}@127.0.0.1:99999", f"http://{USER_INFO}@ho st",
    ],
)  # fmt: skip
def test_an_unusable_proxy_is_refused_without_showing_it(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(promptlathe.ConfigurationError, match="proxy") as caught:
        through(proxy)
    shown = [str(caught.value), repr(vars(caught.value))]
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(promptlathe.ConfigurationError, match="proxy") as of_environment:
        Client(KEY)
    shown += [str(of_environment.value), repr(vars(of_environment.value))]
    assert_hidden(PASSWORD, shown)


def test_a_proxy_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        with through(f"http://{USER_INFO}@127.0.0.1:{listener.getsockname()[1]}") as client:
            with pytest.raises(promptlathe.APIConnectionError) as caught:
                client.generate(TASK)
    assert_hidden(PASSWORD, [caplog.text, *everything_shown(caught.value)])


# ---- The default handling of an uncaught error --------------------------------------------------


def test_what_the_interpreter_prints(client: Client, promptlathe_server: Server) -> None:
    promptlathe_server.script([{"status": 401, "body": fault("authentication_error", KEY)}])
    out = io.StringIO()
    try:
        client.generate(TASK)
    except APIError as error:
        traceback.print_exception(error, file=out)
    assert "AuthenticationError" in out.getvalue()
    assert_hidden(KEY, [out.getvalue()])
