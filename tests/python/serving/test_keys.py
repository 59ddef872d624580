"""Whose key goes where: callers' own, passed on, or the server's behind a file of callers' keys."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from promptlathe import AsyncClient, ConfigurationError
from promptlathe.mock import Server
from promptlathe.serve.clients import Clients
from promptlathe.serve.keys import Keys

from .server import HEADERS, KEY, Running, running

OWN = "sk-of-the-server-9876543210"
BEARER = {name: value for name, value in HEADERS.items() if name != "x-api-key"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(f"# the callers\n\n{KEY}\n  second-key  \n")
    path.chmod(0o600)
    return path


# ---- Passed on ----------------------------------------------------------------------------------


def test_a_callers_key_goes_to_the_upstream(proxy: Running, upstream: Server) -> None:
    assert proxy.ask().status == 200
    assert proxy.ask(headers=BEARER | {"authorization": f"Bearer {KEY}"}).status == 200
    assert proxy.ask(headers=HEADERS | {"authorization": "Bearer other"}).status == 200
    plain, bearer, both = (request.headers for request in upstream.requests)
    assert plain["x-api-key"] == KEY and "authorization" not in plain
    assert bearer["authorization"] == f"Bearer {KEY}" and "x-api-key" not in bearer
    assert both["x-api-key"] == KEY and "authorization" not in both


@pytest.mark.parametrize("fields", [{}, {"x-api-key": ""}, {"authorization": "Basic abc"}])
def test_without_a_key_nothing_is_asked(
    proxy: Running, upstream: Server, fields: dict[str, str]
) -> None:
    reply = proxy.ask(headers=BEARER | fields)
    assert reply.status == 401
    assert reply.error == {
        "type": "authentication_error",
        "message": "x-api-key header is required",
    }
    assert upstream.requests == []


def test_a_key_that_no_client_takes_is_wrong(proxy: Running, upstream: Server) -> None:
    reply = proxy.ask(headers=HEADERS | {"x-api-key": "cl\u00e9"})
    assert (reply.status, reply.error["message"]) == (401, "invalid x-api-key")
    assert upstream.requests == []


def test_connections_are_kept_by_key(proxy: Running, upstream: Server) -> None:
    for key in ("one", "two", "one", "two"):
        assert proxy.ask(headers=HEADERS | {"x-api-key": key}).status == 200
    connections = [request.connection for request in upstream.requests]
    assert connections[0] == connections[2] != connections[1] == connections[3]


# ---- The clients of keys ------------------------------------------------------------------------


def client_of(credential: tuple[str, str]) -> AsyncClient:
    return AsyncClient(credential[1], base_url="http://127.0.0.1:9")


def test_the_client_unused_longest_leaves_and_is_closed() -> None:
    async def work() -> None:
        clients = Clients(client_of, limit=2)
        seen = []
        for name in ("one", "two", "one", "three"):
            async with clients.lent(("api_key", name)) as client:
                seen.append(client)
        one, two, again, three = seen
        assert one is again and len(clients) == 2
        assert two.closed and not one.closed and not three.closed
        await clients.close()
        assert one.closed and three.closed and len(clients) == 0

    asyncio.run(work())


def test_a_client_that_leaves_ends_its_calls_first() -> None:
    async def work() -> None:
        clients = Clients(client_of, limit=1)
        async with clients.lent(("api_key", "one")) as one:
            async with clients.lent(("api_key", "one")) as same:
                assert same is one
                async with clients.lent(("api_key", "two")):
                    assert not one.closed
            assert not one.closed
        assert one.closed
        await clients.close()

    asyncio.run(work())


def test_key_and_token_of_the_same_text_are_two() -> None:
    async def work() -> None:
        clients = Clients(client_of)
        async with clients.lent(("api_key", "one")) as key:
            async with clients.lent(("auth_token", "one")) as token:
                assert key is not token
        await clients.close()

    asyncio.run(work())


# ---- Checked against a file ---------------------------------------------------------------------


def test_callers_of_the_file_use_the_servers_key(
    upstream: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", OWN)
    with running(model="m", upstream=upstream.url, api_key_file=file) as server:
        assert server.ask().status == 200
        assert server.ask(headers=BEARER | {"authorization": "Bearer second-key"}).status == 200
        assert [request.headers["x-api-key"] for request in upstream.requests] == [OWN, OWN]
        for wrong in ("", "sk-of", KEY + "x", "# the callers"):
            reply = server.ask(headers=HEADERS | {"x-api-key": wrong})
            assert reply.status == 401 and reply.error["type"] == "authentication_error"
        assert len(upstream.requests) == 2


def test_a_401_for_the_servers_key_is_not_the_callers(
    upstream: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", OWN)
    with running(model="m", upstream=upstream.url, api_key_file=file) as server:
        upstream.script([{"status": 401}, {"status": 403}])
        reply = server.ask()
        assert reply.status == 502 and reply.error["type"] == "api_error"
        assert "this server's key" in reply.error["message"]
        assert server.ask().status == 403


def test_with_a_file_a_key_of_ones_own_is_needed(upstream: Server, file: Path) -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        with running(model="m", upstream=upstream.url, api_key_file=file):
            pass


def test_the_file_of_simulated_answers(file: Path) -> None:
    with running(simulated=True, api_key_file=file) as server:
        assert server.ask().status == 200
        assert server.ask(headers=HEADERS | {"x-api-key": "other"}).status == 401


def test_the_file_read_again(file: Path) -> None:
    keys = Keys(file)
    assert len(keys) == 2 and keys.accepts("second-key") and not keys.readable_by_all
    file.write_text("third-key\nthird-key")
    file.chmod(0o644)
    keys.reload()
    assert len(keys) == 1 and keys.accepts("third-key") and not keys.accepts("second-key")
    assert keys.readable_by_all


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"# none\n\n", "has no key"),
        (b"good\nhas a blank\n", "line 2"),
        ("good\n\nclé".encode(), "line 3"),
        (b"good\n\xff\n", "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used(file: Path, text: bytes, says: str) -> None:
    keys = Keys(file)
    file.write_bytes(text)
    for use in (keys.reload, lambda: Keys(file)):
        with pytest.raises(ConfigurationError, match=says) as caught:
            use()
        assert "blank" not in str(caught.value) or "no blank" in str(caught.value)
    assert keys.accepts(KEY)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        Keys(tmp_path / "absent")


def test_no_key_is_in_the_object(file: Path) -> None:
    held: Any = vars(Keys(file))
    assert KEY not in repr(held) and "second-key" not in repr(held)
