"""The application under a server of one's own: mounted, stopped, and options that cannot be used."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import closing
from typing import Any

import pytest
from promptlathe import ConfigurationError
from promptlathe.mock import Server
from promptlathe.serve import create_app
from starlette.applications import Starlette
from starlette.routing import Mount

from .server import BODY, GENERATE, HEADERS, Running, running


async def call(app: Any, path: str, method: str = "POST") -> int:
    """Make a request without a socket; the status."""
    fields = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    scope = {"type": "http", "method": method, "path": path, "headers": fields, "root_path": ""}
    scope |= {"query_string": b"", "http_version": "1.1", "scheme": "http", "server": ("x", 80)}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY.encode(), "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status: int = sent[0]["status"]
    return status


def test_it_can_be_mounted_below_a_path() -> None:
    entries: list[dict[str, Any]] = []
    app = create_app(simulated=True, log=entries.append)
    outer = Starlette(routes=[Mount("/tools", app=app)])
    assert asyncio.run(call(outer, f"/tools{GENERATE}")) == 200
    assert asyncio.run(call(outer, "/tools/healthz", "GET")) == 200
    assert asyncio.run(call(outer, GENERATE)) == 404
    assert [entry["path"] for entry in entries] == [GENERATE, "/healthz"]


def test_an_application_that_stops_refuses_and_says_so() -> None:
    async def work() -> None:
        app = create_app(simulated=True)
        assert await call(app, "/healthz", "GET") == 200
        await app.stop()
        assert await call(app, "/healthz", "GET") == 503
        assert await call(app, "/metrics", "GET") == 200
        assert await call(app, GENERATE) == 503

    asyncio.run(work())


def test_calls_in_flight_have_their_grace(upstream: Server) -> None:
    free = threading.Event()
    upstream.script([{"until": free}])
    with running(model="m", upstream=upstream.url) as server:
        with closing(server.dial()) as connection:
            connection.request("POST", GENERATE, BODY, HEADERS)
            upstream.wait_for_requests(1)
            stopping = asyncio.run_coroutine_threadsafe(server.app.stop(20), server.loop)
            assert server.ask().status == 503
            free.set()
            assert connection.getresponse().status == 200
        stopping.result(20)


def test_calls_in_flight_are_ended_after_it(upstream: Server) -> None:
    upstream.script([{"until": threading.Event()}])
    with running(model="m", upstream=upstream.url) as server:
        with closing(server.dial()) as connection:
            connection.request("POST", GENERATE, BODY, HEADERS)
            (request,) = upstream.wait_for_requests(1)
            server.do(server.app.stop(0.01))
            answer = connection.getresponse()
            assert answer.status == 503 and answer.getheader("retry-after") == "1"
            assert b'"api_error"' in answer.read()
        assert request.disconnected.wait(20)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "a model, or simulated"),
        ({"model": "m", "simulated": True}, "not both"),
        ({"model": ""}, "empty"),
        ({"simulated": True, "concurrency": 0}, "concurrency"),
        ({"simulated": True, "max_body_bytes": 0}, "max_body_bytes"),
        ({"simulated": True, "timeout": 0}, "timeout"),
        ({"simulated": True, "timeout": float("nan")}, "timeout"),
        ({"simulated": True, "effort": "much"}, "effort"),
        ({"simulated": True, "on_variable_change": "stop"}, "on_variable_change"),
    ],
    ids=str,
)
def test_options_that_cannot_be_used(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        create_app(**options)


def test_an_upstream_that_cannot_be_used_is_told_at_once(upstream: Server) -> None:
    with pytest.raises(ConfigurationError):
        create_app(model="m", upstream="ftp://nowhere")


def test_nothing_else_of_promptlathe_imports_it() -> None:
    code = """
import sys, promptlathe, promptlathe.aio, promptlathe.mock, promptlathe.cli.verbs
print([name for name in ("promptlathe.serve", "starlette", "uvicorn", "prometheus_client")
       if name in sys.modules])"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_unknown_paths_have_the_documented_shape(simulated: Running) -> None:
    assert simulated.ask("/").error["type"] == "not_found_error"
    refused = simulated.ask(GENERATE, method="GET")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
