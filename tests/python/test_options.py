"""The options of clients and of calls: what is looked up, what is refused, what is sent."""

from __future__ import annotations

import contextlib
import gc
import math
import pickle
import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import promptlathe
import pytest
from one_call import KEY, TASK, client_of
from promptlathe import Client, ClientClosedError, ConfigurationError, Timeout
from promptlathe.mock import Request, Server

BETA = "prompt-tools-2025-04-02"


PEM = "-----BEGIN CERTIFICATE-----\nnever sent to anybody\n-----END CERTIFICATE-----\n"


@pytest.fixture(autouse=True)
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make https possible on a machine without certificates; no test here gets as far as TLS."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(PEM)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


def sent(server: Server, call: Callable[[Client], Any], **options: Any) -> Request:
    """The one request that the call sends."""
    server.reset()
    with client_of(server, **options) as client:
        call(client)
    (request,) = server.requests
    return request


def generate(**options: Any) -> Callable[[Client], Any]:
    return lambda client: client.generate(TASK, **options)


# ---- Wrong types and wrong values ---------------------------------------------------------------

NO_STRINGS: list[Any] = [1, 1.5, True, b"bytes", ["list"], {"a": "b"}, object()]
NO_SECONDS: list[Any] = ["5", b"5", True, False, [5], (1, 2), {"total": 5}, object(), 1j]
NO_INTS: list[Any] = ["2", 2.0, True, None, [2], Fraction(2), object()]
NO_LISTS: list[Any] = ["beta", b"beta", None, 5, {"a": 1}, {"a"}, iter(["a"]), object()]
NO_DICTS: list[Any] = ["a: b", [("a", "b")], 5, True, {1: "a"}, {"a": 1}, {"a": None}, {b"a": b"b"}]

BAD_SECONDS: list[Any] = [0, -1, 0.0, -0.5, math.inf, -math.inf, math.nan, 10**400, -(10**400)]
BAD_RETRIES: list[Any] = [-1, 1 << 31, 1 << 70, -(1 << 70)]
BAD_BETAS: list[Any] = [
    [""],
    [" a"],
    ["a b"],
    ["a,b"],
    ["a\n"],
    ["a\0"],
    ["é"],
    ["\ud800"],
    ("a", ""),
]
BAD_NAMES = ["", "a b", "a:", "é", "a\n", "a\0b", "\ud800", "(a)", " a", "a\r\nb"]
BAD_VALUES = ["a\n", "a\r\nb: c", "a\0", " a", "a\t", "é", "\x7f", "\x01", "\ud800", "😀"]
BAD_HEADERS: list[Any] = [{name: "x"} for name in BAD_NAMES] + [{"x-a": v} for v in BAD_VALUES]

OF_CALLS: dict[str, tuple[list[Any], list[Any]]] = {
    "timeout": (NO_SECONDS, BAD_SECONDS),
    "max_retries": (NO_INTS, BAD_RETRIES),
    "betas": ([*NO_LISTS, [1], ["a", None], [b"a"]], BAD_BETAS),
}
OF_CLIENTS: dict[str, tuple[list[Any], list[Any]]] = {
    **OF_CALLS,
    "api_key": (NO_STRINGS, ["", "a b", "a\n", "é"]),
    "auth_token": (NO_STRINGS, ["", "a b", "a\n", "é"]),
    "base_url": (NO_STRINGS, ["", "x", "\ud800", "http://a\0b"]),
    "proxy": (NO_STRINGS, ["ftp://x", "\ud800"]),
    "default_headers": (NO_DICTS, BAD_HEADERS),
    "ca_file": ([1, 1.5, True, ["list"], object()], ["", "/no/such/file", "/", "a\0b"]),
    "allow_http": ([0, 1, None, "yes", []], []),
    "log_bodies": ([0, 1, None, "yes", []], []),
    "max_response_bytes": (NO_INTS, [0, -1, 1 << 64, -(1 << 70)]),
}


def refused(make: Callable[..., Any], table: dict[str, tuple[list[Any], list[Any]]]) -> None:
    for name, (types, values) in table.items():
        for kind, wrong in ((TypeError, types), (ConfigurationError, values)):
            for value in wrong:
                with pytest.raises(kind) as caught:
                    make(**{name: value})
                assert type(caught.value) is kind, (name, value)
                # A header that is refused is named where it is given.
                said = str(caught.value)
                assert name in said, (name, value, said)


def test_the_constructor_refuses(promptlathe_server: Server) -> None:
    def make(**options: Any) -> None:
        if "auth_token" not in options:
            options.setdefault("api_key", KEY)
        Client(**{"base_url": promptlathe_server.url, **options})

    refused(make, OF_CLIENTS)


@pytest.mark.parametrize("verb", ["generate", "improve", "templatize"])
def test_calls_refuse(promptlathe_server: Server, verb: str) -> None:
    """Nothing is sent, and the client is as good as before."""
    table = {**OF_CALLS, "extra_headers": (NO_DICTS, BAD_HEADERS)}
    with client_of(promptlathe_server) as client:
        for source in (client, client.with_raw_response):
            refused(lambda source=source, **o: getattr(source, verb)(TASK, **o), table)
        assert promptlathe_server.connections == 0
        assert getattr(client, verb)(TASK)["messages"]


@pytest.mark.valgrind
def test_with_options_refuses(promptlathe_server: Server) -> None:
    with client_of(promptlathe_server) as client:
        refused(client.with_options, {**OF_CALLS, "default_headers": (NO_DICTS, BAD_HEADERS)})
        for name in ("api_key", "base_url", "log_bodies", "nonsense"):
            with pytest.raises(TypeError, match=name):
                client.with_options(**{name: KEY})


def test_unknown_and_repeated_arguments(promptlathe_server: Server) -> None:
    wrong: list[Callable[[], Any]] = [
        lambda: Client(KEY, nonsense=1),  # type: ignore[call-arg]
        lambda: Client(KEY, KEY),  # type: ignore[misc]
        lambda: Client(KEY, api_key=KEY),  # type: ignore[misc]
        lambda: Timeout(1, 2, 3),  # type: ignore[call-arg]
        lambda: Timeout(1, total=1),  # type: ignore[call-overload]
    ]
    with client_of(promptlathe_server) as client:
        calls: Any = client
        wrong += [
            lambda: calls.generate(),
            lambda: calls.generate(TASK, TASK),
            lambda: calls.generate(TASK, task=TASK),
            lambda: calls.generate(TASK, feedback="x"),
            lambda: calls.generate(messages=TASK),
            lambda: calls.improve(),
            lambda: calls.templatize(TASK, target_model="x"),
            lambda: calls.with_options(5),
            lambda: calls.close(1),
        ]
        for call in wrong:
            with pytest.raises(TypeError):
                call()
    assert promptlathe_server.connections == 0


def test_bounds_that_are_allowed(promptlathe_server: Server) -> None:
    Client(
        KEY,
        base_url=promptlathe_server.url,
        max_retries=(1 << 31) - 1,
        max_response_bytes=(1 << 63) - 1,
        timeout=sys.float_info.max,
        betas=[],
        default_headers={},
    ).close()
    Client(KEY, timeout=sys.float_info.min).close()


# ---- The key ------------------------------------------------------------------------------------

KEY_CASES: list[tuple[dict[str, str], dict[str, str], tuple[str, str]]] = [
    ({}, {"ANTHROPIC_API_KEY": "env-key"}, ("x-api-key", "env-key")),
    ({}, {"ANTHROPIC_AUTH_TOKEN": "env-token"}, ("authorization", "Bearer env-token")),
    (
        {},
        {"ANTHROPIC_API_KEY": "env-key", "ANTHROPIC_AUTH_TOKEN": "env-token"},
        ("x-api-key", "env-key"),
    ),
    (
        {},
        {"ANTHROPIC_API_KEY": "", "ANTHROPIC_AUTH_TOKEN": "env-token"},
        ("authorization", "Bearer env-token"),
    ),
    ({"api_key": "given"}, {"ANTHROPIC_API_KEY": "env-key"}, ("x-api-key", "given")),
    ({"api_key": "given"}, {"ANTHROPIC_AUTH_TOKEN": "env-token"}, ("x-api-key", "given")),
    ({"auth_token": "given"}, {"ANTHROPIC_API_KEY": "env-key"}, ("authorization", "Bearer given")),
    (
        {"auth_token": "given"},
        {"ANTHROPIC_API_KEY": "bad key", "ANTHROPIC_AUTH_TOKEN": "bad token"},
        ("authorization", "Bearer given"),
    ),
]


@pytest.mark.valgrind
@pytest.mark.parametrize(("given", "environment", "expected"), KEY_CASES)
def test_where_the_key_comes_from(
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, str],
    environment: dict[str, str],
    expected: tuple[str, str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with Server() as server:
        with Client(**given, base_url=server.url) as client:  # type: ignore[arg-type]
            client.generate(TASK)
        headers = server.requests[0].headers
    name, value = expected
    assert headers[name] == value
    assert len({"x-api-key", "authorization"} & headers.keys()) == 1


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv("ANTHROPIC_API_KEY", value)
            monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", value)
        with pytest.raises(ConfigurationError) as caught:
            Client()
        assert isinstance(caught.value, ValueError)
        for word in ("api_key", "auth_token", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
            assert word in str(caught.value)


def test_a_key_and_a_token_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"api_key.*auth_token"):
        Client("a", auth_token="b")


def test_an_empty_key_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "env-key")
    with pytest.raises(ConfigurationError, match="api_key is empty"):
        Client("")


def test_the_environment_is_read_when_the_client_is_made(
    promptlathe_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client() as client:  # the fixture has set key and URL
        monkeypatch.setenv("ANTHROPIC_API_KEY", "another")
        monkeypatch.delenv("ANTHROPIC_BASE_URL")
        client.generate(TASK)
    assert promptlathe_server.requests[0].headers["x-api-key"] == "simulated-key"


# ---- The address --------------------------------------------------------------------------------

URLS = {
    "https://api.example.com": "https://api.example.com",
    "https://api.example.com/": "https://api.example.com",
    "https://api.example.com///": "https://api.example.com",
    "https://api.example.com/gateway": "https://api.example.com/gateway",
    "https://api.example.com/a/b//": "https://api.example.com/a/b",
    "https://api.example.com:8443/a/": "https://api.example.com:8443/a",
    "http://localhost:80": "http://localhost:80",
    "http://LOCALHOST:8080/": None,  # spelled as it likes
    "http://127.0.0.1": "http://127.0.0.1",
    "http://127.9.8.7:1": "http://127.9.8.7:1",
    "http://[::1]:8080/x/": "http://[::1]:8080/x",
    "HTTPS://api.example.com": "https://api.example.com",
}
BAD_URLS = [
    "", "api.example.com", "//api.example.com", "api.example.com:443", "https:/api.example.com",
    "https://", "https:///v1", "http://", "ftp://example.com", "file:///etc/passwd", "ws://a.b",
    "https://a.b/?x=1", "https://a.b?", "https://a.b/#top", "https://a.b#", "https://user@a.b",
    "https://user:word@a.b/x", "https://:@a.b", "https://a b.c", "https://a.b:port",
    "https://a.b:99999", "https://a.b:-1", "https://[::1", "https://a.b/\n", "https://a.b\r\n",
    " https://a.b", "https://a.b /x", "http://example.com", "http://192.168.0.1",
    "http://128.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com",
    "http://[::2]", "http://0.0.0.0",
]  # fmt: skip


@pytest.mark.parametrize(("url", "shown"), URLS.items())
def test_addresses_that_are_allowed(url: str, shown: str | None) -> None:
    with Client(KEY, base_url=url) as client:
        assert client.base_url == shown if shown else client.base_url.lower() == url.lower()[:-1]


@pytest.mark.parametrize("url", BAD_URLS, ids=ascii)
def test_addresses_that_are_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="base_url"):
        Client(KEY, base_url=url)
    if url:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", url)
        with pytest.raises(ConfigurationError, match="ANTHROPIC_BASE_URL"):
            Client(KEY)


def test_http_to_other_machines_has_to_be_allowed() -> None:
    for url in ("http://example.com", "http://10.0.0.1:8080/x"):
        with pytest.raises(ConfigurationError, match="allow_http"):
            Client(KEY, base_url=url)
        with Client(KEY, base_url=url, allow_http=True) as client:
            assert client.base_url == url


def test_the_address_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://gateway.example.com/x/")
    with Client(KEY) as client:
        assert client.base_url == "https://gateway.example.com/x"
    with Client(KEY, base_url="https://other.example.com") as client:
        assert client.base_url == "https://other.example.com"
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "")
    with Client(KEY) as client:
        assert client.base_url == "https://api.anthropic.com"


@pytest.mark.parametrize("path", ["", "/", "/gateway", "/a/b//", "/caf%C3%A9"])
def test_a_path_is_kept(promptlathe_server: Server, path: str) -> None:
    promptlathe_server.script([{"body": {"messages": [], "system": "", "usage": {}}}] * 3)
    with Client(KEY, base_url=promptlathe_server.url + path) as client:
        client.generate(TASK)
        client.improve(TASK)
    kept = path.rstrip("/")
    assert [request.path for request in promptlathe_server.requests] == [
        f"{kept}/v1/experimental/generate_prompt",
        f"{kept}/v1/experimental/improve_prompt",
    ]


def test_the_host_header(promptlathe_server: Server) -> None:
    request = sent(promptlathe_server, generate())
    assert request.headers["host"] == promptlathe_server.url.removeprefix("http://")


# ---- Headers ------------------------------------------------------------------------------------


def test_what_is_sent(promptlathe_server: Server) -> None:
    """The documented headers, each once, and none that nobody asked for."""
    request = sent(promptlathe_server, generate())
    names = sorted(name.lower() for name, _ in request.raw_headers)
    assert names == sorted(
        [
            "host", "x-api-key", "anthropic-version", "anthropic-beta", "content-type", "accept",
            "accept-encoding", "user-agent", "content-length", "x-promptlathe-attempt",
        ]
    )  # fmt: skip
    assert request.method == "POST" and request.http_version == "HTTP/1.1"
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert request.headers["anthropic-beta"] == BETA
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "gzip"
    assert request.headers["x-promptlathe-attempt"] == "1"
    assert request.headers["content-length"] == str(len(request.body))
    agent = request.headers["user-agent"]
    python = ".".join(map(str, sys.version_info[:3]))
    assert agent.startswith(f"promptlathe/{promptlathe.__version__} python/{python} libcurl/")


def test_extra_headers_win_over_default_ones_and_both_over_ours(
    promptlathe_server: Server,
) -> None:
    """Whatever the case of their names; each is sent once."""
    default = {"X-One": "default", "x-two": "default", "User-Agent": "mine", "Accept": "a/b"}
    extra = {"X-TWO": "extra", "x-three": "extra", "Anthropic-Version": "2099-01-01", "accept": "c"}
    promptlathe_server.script([{"body": {"messages": [], "system": "", "usage": {}}}])
    with client_of(promptlathe_server, default_headers=default) as client:
        client.generate(TASK, extra_headers=extra)
        client.with_options(max_retries=0).generate(TASK)
    first, second = promptlathe_server.requests
    names = [name.lower() for name, _ in first.raw_headers]
    assert len(names) == len(set(names))
    for name, value in {
        "x-one": "default", "x-two": "extra", "x-three": "extra", "user-agent": "mine",
        "accept": "c", "anthropic-version": "2099-01-01",
    }.items():  # fmt: skip
        assert first.headers[name] == value
    assert second.headers["x-two"] == "default" and "x-three" not in second.headers
    assert second.headers["anthropic-version"] == "2023-06-01"


def test_an_attempt_header_of_the_caller_s_is_sent_instead_of_ours(
    promptlathe_server: Server,
) -> None:
    request = sent(promptlathe_server, generate(extra_headers={"X-Promptlathe-Attempt": "mine"}))
    sent_values = [v for name, v in request.raw_headers if name.lower() == "x-promptlathe-attempt"]
    assert sent_values == ["mine"]


def test_headers_in_two_cases_of_one_dict(promptlathe_server: Server) -> None:
    request = sent(promptlathe_server, generate(extra_headers={"x-a": "1", "X-A": "2"}))
    assert [value for name, value in request.raw_headers if name.lower() == "x-a"] == ["2"]


def test_an_empty_header_is_sent(promptlathe_server: Server) -> None:
    request = sent(promptlathe_server, generate(extra_headers={"x-empty": "", "x-inner": "a  b"}))
    assert request.headers["x-empty"] == "" and request.headers["x-inner"] == "a  b"


def test_many_and_long_headers(promptlathe_server: Server) -> None:
    extra = {f"x-{n}": "v" * n for n in range(200)}
    request = sent(promptlathe_server, generate(extra_headers=extra))
    assert {name: request.headers[name] for name in extra} == extra


def test_what_happens_to_the_dict_later_does_not_matter(promptlathe_server: Server) -> None:
    headers, betas = {"x-a": "1"}, ["beta-1"]
    with client_of(promptlathe_server, default_headers=headers, betas=betas) as client:
        headers["x-a"] = "2"
        betas.append("beta-2")
        client.generate(TASK)
    request = promptlathe_server.requests[0]
    assert request.headers["x-a"] == "1"
    assert request.headers["anthropic-beta"] == f"{BETA},beta-1"


@pytest.mark.parametrize(
    ("of_client", "of_call", "expected"),
    [
        ((), (), BETA),
        (["a"], (), f"{BETA},a"),
        ((), ["a"], f"{BETA},a"),
        (["a", "b"], ("c",), f"{BETA},a,b,c"),
        (["a", "a", BETA], ("a", "b", "b", BETA), f"{BETA},a,b"),
        (("z", "a"), ("y",), f"{BETA},z,a,y"),
        (["A"], ["a"], f"{BETA},A,a"),
    ],
)
def test_betas_are_joined_without_repeats(
    promptlathe_server: Server, of_client: Any, of_call: Any, expected: str
) -> None:
    request = sent(promptlathe_server, generate(betas=of_call), betas=of_client)
    assert request.headers["anthropic-beta"] == expected


# ---- Timeouts -----------------------------------------------------------------------------------


def test_a_timeout_is_a_value() -> None:
    assert (Timeout().total, Timeout().connect) == (600.0, 5.0)
    assert (Timeout(None).total, Timeout(connect=None).connect) == (None, None)
    whole = Timeout(7, 2)
    assert (whole.total, whole.connect) == (7.0, 2.0) and type(whole.total) is float
    assert whole == Timeout(total=7, connect=2) != Timeout(7, 3)
    assert hash(whole) == hash(Timeout(7.0, 2.0)) and len({whole, Timeout(7, 2)}) == 1
    assert repr(whole) == "Timeout(total=7.0, connect=2.0)"
    assert pickle.loads(pickle.dumps(whole)) == whole
    assert pickle.loads(pickle.dumps(Timeout(None, None))) == Timeout(None, None)
    assert whole != (7.0, 2.0) and whole != 7.0
    with pytest.raises(AttributeError):
        whole.total = 5.0  # type: ignore[misc]
    for name in ("total", "connect"):
        for value in BAD_SECONDS:
            with pytest.raises(ConfigurationError, match=name):
                Timeout(**{name: value})
        for value in NO_SECONDS:
            with pytest.raises(TypeError, match=name):
                Timeout(**{name: value})


@pytest.mark.parametrize(
    "timeout", [None, 20, 20.0, Fraction(41, 2), Timeout(20), Timeout(20, 1), Timeout(None, None)]
)
def test_timeouts_that_leave_time(promptlathe_server: Server, timeout: Any) -> None:
    with client_of(promptlathe_server) as client:
        assert client.generate(TASK, timeout=timeout)["messages"]
        with client.with_options(timeout=timeout) as other:
            assert other.generate(TASK)["messages"]
    with Client(KEY, base_url=promptlathe_server.url, timeout=timeout) as client:
        assert client.generate(TASK)["messages"]


@pytest.mark.timing
@pytest.mark.parametrize("timeout", [0.15, Timeout(0.15), Timeout(total=0.15, connect=None)])
@pytest.mark.parametrize("place", ["client", "copy", "call"])
def test_a_timeout_ends_the_call(promptlathe_server: Server, timeout: Any, place: str) -> None:
    """Within 100 ms, wherever the option was given."""
    answer = threading.Event()
    promptlathe_server.script([{"until": answer}])
    made: Any = {"timeout": timeout} if place == "client" else {}
    base = Client(KEY, base_url=promptlathe_server.url, max_retries=5, **made)
    client = base.with_options(timeout=timeout) if place == "copy" else base
    options: Any = {"timeout": timeout} if place == "call" else {}
    began = time.monotonic()
    with pytest.raises(promptlathe.APITimeoutError) as caught:
        client.generate(TASK, **options)
    took = time.monotonic() - began
    answer.set()
    base.close()
    assert 0.149 <= took < 0.25
    assert caught.value.phase == "wait" and caught.value.attempts == 1
    assert "0.15 s" in str(caught.value)


@pytest.mark.timing
def test_the_deadline_spans_all_attempts(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"status": 500, "headers": {"retry-after-ms": "60"}}] * 20)
    began = time.monotonic()
    with client_of(promptlathe_server, max_retries=19) as client:
        with pytest.raises(promptlathe.APIError):
            client.generate(TASK, timeout=0.3)
    assert time.monotonic() - began < 0.45
    assert 2 <= len(promptlathe_server.requests) <= 6


# ---- Copies -------------------------------------------------------------------------------------


@pytest.mark.valgrind
def test_copies_take_over_and_replace(promptlathe_server: Server) -> None:
    first = client_of(
        promptlathe_server, betas=["a"], default_headers={"x-a": "1", "x-b": "1"}, max_retries=0
    )
    with first:
        first.with_options().generate(TASK)
        first.with_options(betas=["b"], default_headers={"X-B": "2"}).generate(TASK)
        first.with_options(betas=()).with_options(default_headers={"x-c": "3"}).generate(TASK)
        first.generate(TASK)
    betas = [request.headers["anthropic-beta"] for request in promptlathe_server.requests]
    assert betas == [f"{BETA},a", f"{BETA},b", BETA, f"{BETA},a"]
    headers = [
        {name: request.headers.get(name) for name in ("x-a", "x-b", "x-c")}
        for request in promptlathe_server.requests
    ]
    assert headers[0] == {"x-a": "1", "x-b": "1", "x-c": None} == headers[3]
    assert headers[1]["x-b"] == "2" and headers[2]["x-c"] == "3"
    assert promptlathe_server.connections == 1  # all on the same one


def test_copies_have_their_own_retries(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"status": 500, "headers": {"retry-after-ms": "1"}}] * 9)
    with client_of(promptlathe_server, max_retries=0) as client:
        for maker, attempts in (
            (client.with_options(max_retries=2), 3),
            (client.with_options(max_retries=2).with_options(timeout=5), 3),
            (client, 1),
        ):
            with pytest.raises(promptlathe.InternalServerError) as caught:
                maker.generate(TASK)
            assert caught.value.attempts == attempts


def test_closing_a_copy_leaves_the_original(promptlathe_server: Server) -> None:
    with client_of(promptlathe_server) as client:
        copy, other = client.with_options(timeout=5), client.with_options(timeout=6)
        deeper = copy.with_options(timeout=7)
        copy.close()
        assert (copy.closed, deeper.closed, client.closed, other.closed) == (
            True,
            True,
            False,
            False,
        )
        for ended in (copy, deeper):
            with pytest.raises(ClientClosedError):
                ended.generate(TASK)
            with pytest.raises(ClientClosedError):
                ended.with_options(timeout=1)
        assert client.generate(TASK) == other.generate(TASK)
    assert promptlathe_server.connections == 1


def test_closing_the_original_ends_the_copies(promptlathe_server: Server) -> None:
    client = client_of(promptlathe_server)
    copy = client.with_options(timeout=5).with_options(max_retries=1)
    copy.generate(TASK)
    client.close()
    assert copy.closed
    with pytest.raises(ClientClosedError):
        copy.generate(TASK)


def test_a_copy_outlives_an_original_that_nobody_holds(promptlathe_server: Server) -> None:
    """A copy is as good as the original while it is used."""
    copy = client_of(promptlathe_server).with_options(timeout=5)
    gc.collect()
    try:
        assert copy.generate(TASK)["messages"]
    finally:
        copy.close()


def test_copies_of_a_subclass(promptlathe_server: Server) -> None:
    class Mine(Client):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.note = "kept"

    with Mine(KEY, base_url=promptlathe_server.url) as client:
        copy = client.with_options(timeout=5)
        assert type(copy) is Mine and copy.note == "kept"
        assert copy.generate(TASK)["messages"]


# ---- The end of a client ------------------------------------------------------------------------


@pytest.mark.fault("Process", "close, twice", ends="nothing; later calls: ClientClosedError")
def test_a_closed_client(promptlathe_server: Server) -> None:
    client = client_of(promptlathe_server)
    raw = client.with_raw_response
    assert not client.closed and "closed" not in repr(client)
    client.close()
    client.close()
    assert client.closed and "closed" in repr(client)
    for call in (client.generate, client.improve, client.templatize, raw.generate):
        with pytest.raises(ClientClosedError) as caught:
            call(TASK)
        assert isinstance(caught.value, RuntimeError)
    assert client.base_url == promptlathe_server.url and client.rate_limits == {}
    assert promptlathe_server.connections == 0


def test_wrong_input_to_a_closed_client_says_that_it_is_closed(promptlathe_server: Server) -> None:
    client = client_of(promptlathe_server)
    client.close()
    with pytest.raises(ClientClosedError):
        client.improve([])


def test_a_context_manager_closes_also_after_a_failure(promptlathe_server: Server) -> None:
    with pytest.raises(ZeroDivisionError), client_of(promptlathe_server) as client:
        assert client.generate(TASK)["messages"]
        raise ZeroDivisionError
    assert client.closed
    promptlathe_server.wait_for_disconnects(1)


@pytest.mark.parametrize("through_copy", [False, True])
@pytest.mark.fault("Process", "close during calls", ends="ClientClosedError")
def test_close_ends_calls_in_flight(promptlathe_server: Server, through_copy: bool) -> None:
    """Those who wait get ClientClosedError at once; the server sees the connections end."""
    never = threading.Event()
    promptlathe_server.script([{"until": never}] * 4)
    client = client_of(promptlathe_server)
    used = client.with_options(max_retries=5) if through_copy else client
    ended: list[BaseException | None] = []

    def call() -> None:
        try:
            used.generate(TASK)
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    promptlathe_server.wait_for_requests(4)
    began = time.monotonic()
    client.close()
    for thread in threads:
        thread.join(10)
    took = time.monotonic() - began
    never.set()
    assert [type(error) for error in ended] == [ClientClosedError] * 4
    assert took < 0.5
    promptlathe_server.wait_for_disconnects(4)


def test_close_ends_a_call_that_waits_to_be_repeated(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"status": 503, "headers": {"retry-after": "19"}}])
    client = client_of(promptlathe_server, max_retries=1)
    closer = threading.Thread(
        target=lambda: (promptlathe_server.wait_for_requests(1), client.close())
    )
    began = time.monotonic()
    closer.start()
    with pytest.raises(ClientClosedError):
        client.generate(TASK)
    closer.join()
    assert time.monotonic() - began < 2.0
    assert len(promptlathe_server.requests) == 1


def test_closing_a_copy_ends_its_own_calls_alone(promptlathe_server: Server) -> None:
    go = threading.Event()
    promptlathe_server.script([{"until": go}] * 2)
    client = client_of(promptlathe_server)
    copy = client.with_options(max_retries=1)
    results: dict[str, Any] = {}

    def call(name: str, used: Client) -> None:
        try:
            results[name] = used.generate(TASK)
        except ClientClosedError as error:
            results[name] = error

    threads = {
        name: threading.Thread(target=call, args=(name, used))
        for name, used in (("original", client), ("copy", copy))
    }
    for thread in threads.values():
        thread.start()
    promptlathe_server.wait_for_requests(2)
    copy.close()
    threads["copy"].join(10)
    assert isinstance(results["copy"], ClientClosedError) and "original" not in results
    go.set()
    threads["original"].join(10)
    assert results["original"]["messages"]
    client.close()


@pytest.mark.fault("Process", "garbage collection of a client", ends="its connections are closed")
def test_a_collected_client_closes_silently(promptlathe_server: Server) -> None:
    client = client_of(promptlathe_server)
    client.generate(TASK)
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    promptlathe_server.wait_for_disconnects(1)


@pytest.mark.valgrind
def test_a_client_without_init() -> None:
    client = Client.__new__(Client)
    assert "not set up" in repr(client)
    calls: list[Callable[[], Any]] = [
        lambda: client.generate(TASK), lambda: client.rate_limits, lambda: client.base_url,
        lambda: client.closed, lambda: client.with_options(timeout=1),
        lambda: client.with_raw_response.generate(TASK), client.__enter__,
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(RuntimeError, match="__init__"):
            call()
    client.close()


def test_init_works_once(promptlathe_server: Server) -> None:
    with client_of(promptlathe_server) as client:
        with pytest.raises(RuntimeError, match="set up already"):
            client.__init__("another")  # type: ignore[misc]
        client.generate(TASK)
    assert promptlathe_server.requests[0].headers["x-api-key"] == KEY


# ---- Rate limits --------------------------------------------------------------------------------


def raw_answer(status: str, headers: dict[str, str]) -> dict[str, Any]:
    """An answer with these headers alone, where the simulated service tells limits of its own."""
    body = '{"messages": [], "system": "", "usage": {}}'
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return {"raw": "\r\n".join([*lines, "", body]).encode(), "close": False}


@pytest.mark.valgrind
def test_rate_limits_are_those_of_the_newest_answer(promptlathe_server: Server) -> None:
    prefix = "anthropic-ratelimit-"
    first = {
        f"{prefix}requests-limit": "50",
        f"{prefix}requests-remaining": "49",
        f"{prefix}requests-reset": "2026-01-01T00:00:00Z",
        f"{prefix}input-tokens-limit": "40000",
        f"{prefix}input-tokens-remaining": "39000",
    }
    second = {
        "Anthropic-RateLimit-Requests-Remaining": "0",
        f"{prefix}tokens-limit": "many",
        f"{prefix}odd": "1",
        f"{prefix}-limit": "1",
        f"{prefix}x-limit": "-1",
    }
    expected_first = {
        "requests": {"limit": 50, "remaining": 49, "reset": "2026-01-01T00:00:00Z"},
        "input-tokens": {"limit": 40000, "remaining": 39000, "reset": None},
    }
    none = {"limit": None, "remaining": None, "reset": None}
    answers = [
        raw_answer("200 OK", first),
        raw_answer("200 OK", {}),  # tells nothing about limits
        raw_answer("429 Slower", second),
    ]
    with client_of(promptlathe_server) as client, client.with_options(timeout=5) as copy:
        assert client.rate_limits == {}
        promptlathe_server.script(answers)
        client.generate(TASK)
        assert client.rate_limits == expected_first == copy.rate_limits
        copy.generate(TASK)
        assert client.rate_limits == expected_first
        with pytest.raises(promptlathe.RateLimitError):
            copy.generate(TASK)
        assert client.rate_limits == {
            "requests": {**none, "remaining": 0}, "tokens": none, "x": none,
        }  # fmt: skip
        client.rate_limits.clear()
        assert client.rate_limits


# ---- The proxy ----------------------------------------------------------------------------------

ELSEWHERE = "http://192.0.2.1"  # of an address block that is nobody's
SHORT = Timeout(total=0.4, connect=0.2)


def proxied(server: Server, **options: Any) -> bool:
    """Whether a call to elsewhere reaches the server, as its proxy."""
    server.script([{"body": {"messages": [], "system": "", "usage": {}}}])
    before = len(server.requests)
    made: dict[str, Any] = {"base_url": ELSEWHERE, "allow_http": True, **options}
    with Client(KEY, timeout=SHORT, max_retries=0, **made) as client:
        with contextlib.suppress(promptlathe.PromptLatheError):
            client.generate(TASK)
    after = server.requests[before:]
    return bool(after) and ("192.0.2.1" in after[0].path)


def test_a_proxy_as_an_argument(promptlathe_server: Server) -> None:
    assert proxied(promptlathe_server, proxy=promptlathe_server.url)
    assert promptlathe_server.requests[0].path.startswith(f"{ELSEWHERE}/v1/experimental/")


@pytest.mark.parametrize("name", ["http_proxy", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment(
    promptlathe_server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, promptlathe_server.url)
    assert proxied(promptlathe_server)


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_for_https(
    promptlathe_server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, promptlathe_server.url)
    assert proxied(promptlathe_server, base_url="https://192.0.2.1", allow_http=False)
    request = promptlathe_server.requests[0]
    assert (request.method, request.path) == ("CONNECT", "192.0.2.1:443")
    assert request.body == b"" and "x-api-key" not in request.headers


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({"http_proxy": "{0}"}, {"proxy": ""}),
        ({"HTTP_PROXY": "{0}"}, {}),  # a CGI program's own header
        ({"https_proxy": "{0}", "HTTPS_PROXY": "{0}"}, {}),
        ({"http_proxy": ""}, {}),
        ({"http_proxy": "{0}", "no_proxy": "192.0.2.1"}, {}),
        ({"http_proxy": "{0}", "NO_PROXY": "a.example,192.0.2.1"}, {}),
        ({"all_proxy": "{0}", "NO_PROXY": "*"}, {}),
    ],
)
def test_without_a_proxy(
    promptlathe_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    options: dict[str, Any],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(promptlathe_server.url))
    assert not proxied(promptlathe_server, **options)
    assert promptlathe_server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_never_a_proxy_for_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Server() as server:
        url = server.url.replace("127.0.0.1", host)
        for options in ({}, {"proxy": "http://127.0.0.1:1"}):
            with Client(KEY, base_url=url, max_retries=0, **options) as client:  # type: ignore[arg-type]
                assert client.generate(TASK)["messages"]


# ---- Certificates -------------------------------------------------------------------------------


def test_ca_files_are_looked_at_when_the_client_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text(PEM)
    options: list[Any] = [bundle, str(bundle), str(bundle).encode()]
    for ca_file in options:
        Client(KEY, ca_file=ca_file).close()
    for name, wrong in (("SSL_CERT_FILE", tmp_path), ("SSL_CERT_DIR", bundle)):
        with monkeypatch.context() as patch:
            patch.delenv("SSL_CERT_FILE")
            patch.setenv(name, str(wrong))
            with pytest.raises(ConfigurationError, match=f"{name}.*{re.escape(str(wrong))}"):
                Client(KEY)
            Client(KEY, ca_file=bundle).close()
            Client(KEY, base_url="http://127.0.0.1:1").close()  # needs none
    with pytest.raises(ConfigurationError, match="ca_file"):
        Client(KEY, ca_file=tmp_path / "missing.pem")


# ---- The functions of the module ----------------------------------------------------------------

DEFAULT_CLIENT = """
import os, promptlathe
try:
    promptlathe.generate("no key yet")
except promptlathe.ConfigurationError as error:
    assert "ANTHROPIC_API_KEY" in str(error)
else:
    raise SystemExit("a key was found")
os.environ["ANTHROPIC_API_KEY"] = "first-key"
assert promptlathe.generate("one")["messages"]
os.environ["ANTHROPIC_API_KEY"] = "second-key"  # too late: the client is made
assert promptlathe.improve("two", feedback="shorter", timeout=20)["messages"]
assert promptlathe.templatize("Translate hello to German", betas=["b"])["variable_values"]
try:
    promptlathe.generate("four", max_retries=0)
except promptlathe.NotFoundError as error:
    print("refused", error.status_code)
"""


def test_the_default_client(promptlathe_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made from the environment at the first call, used by all three functions, closed at exit."""
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    promptlathe_server.script([None, None, None, {"status": 404}])
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", DEFAULT_CLIENT],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused 404\n", "")
    assert {r.headers["x-api-key"] for r in promptlathe_server.requests} == {"first-key"}
    assert len(promptlathe_server.requests) == 4 and promptlathe_server.connections == 1
    promptlathe_server.wait_for_disconnects(1)


def test_functions_and_methods_are_alike() -> None:
    import inspect

    for verb in ("generate", "improve", "templatize"):
        function = inspect.signature(getattr(promptlathe, verb))
        method = inspect.signature(getattr(Client, verb))
        raw = inspect.signature(getattr(promptlathe.ClientWithRawResponse, verb))
        assert list(method.parameters)[1:] == list(function.parameters) == list(raw.parameters)[1:]
        kinds = {p.kind for p in list(function.parameters.values())[1:]}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}
