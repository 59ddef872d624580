"""A server of `promptlathe.serve` in a thread, and plain calls of it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple

import pytest
import uvicorn
from promptlathe import AsyncClient
from promptlathe.serve import App, answerers, create_app
from promptlathe.serve.clients import Credential
from promptlathe.serve.options import Options
from promptlathe.serve.run import _Server
from promptlathe.server import listening

KEY = "sk-of-the-caller-0123456789"
GENERATE = "/v1/experimental/generate_prompt"
IMPROVE = "/v1/experimental/improve_prompt"
TEMPLATIZE = "/v1/experimental/templatize_prompt"
HEADERS = {
    "x-api-key": KEY,
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "prompt-tools-2025-04-02",
    "content-type": "application/json",
}
TASK = "a chef for a zeppelin of Friedrichshafen"
BODY = json.dumps({"task": TASK})
LIMIT = 30.0  # seconds; far beyond what any of this takes


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, str]:
        """The error of a body in the documented shape, which is checked."""
        body = self.json
        assert set(body) == {"type", "error", "request_id"} and body["type"] == "error"
        assert body["request_id"] == self.headers["request-id"]
        assert set(body["error"]) == {"type", "message"}
        error: dict[str, str] = body["error"]
        return error


class Log:
    """The entries of a server's log, to wait for: one is written when its answer is sent already."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._entries: list[dict[str, Any]] = []

    def __call__(self, entry: dict[str, Any]) -> None:
        with self._changed:
            self._entries.append(entry)
            self._changed.notify_all()

    def wait(self, count: int = 1) -> list[dict[str, Any]]:
        """The entries since the last `clear`, when there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._entries) >= count, LIMIT)
            return list(self._entries)

    def clear(self) -> None:
        with self._changed:
            self._entries.clear()


class Running(NamedTuple):
    """A running server."""

    app: App
    url: str
    log: Log
    loop: asyncio.AbstractEventLoop

    def ask(
        self,
        path: str = GENERATE,
        body: Any = BODY,
        headers: dict[str, str] = HEADERS,
        method: str = "POST",
    ) -> Reply:
        with closing(self.dial()) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, fields, answer.read())

    def plug(self) -> socket.socket:
        host, port = self.url.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=LIMIT)

    def dial(self) -> HTTPConnection:
        return HTTPConnection(self.url.removeprefix("http://"), timeout=LIMIT)

    def metrics(self) -> dict[str, float]:
        """Samples by name and labels."""
        text = self.ask("/metrics", None, {}, "GET").body.decode()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def forget(self) -> None:
        """Forget what the log has; what was answered is in it after one more turn of the loop."""
        self.do(asyncio.sleep(0))
        self.log.clear()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Await something in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(LIMIT)


@contextmanager
def running(**options: Any) -> Iterator[Running]:
    """Run an application on a free port until the block is left."""
    log = Log()
    app = create_app(log=log, **options)
    server = _Server(uvicorn.Config(app, http="httptools", log_config=None, lifespan="on"))
    loops: list[asyncio.AbstractEventLoop] = []
    begun = threading.Event()

    async def serve(listener: Any) -> None:
        loops.append(asyncio.get_running_loop())
        begun.set()
        await server.serve(sockets=[listener])

    with listening.listen("127.0.0.1", 0) as listener:
        url = listening.url_of(listener)
        thread = threading.Thread(target=lambda: asyncio.run(serve(listener)))
        thread.start()
        try:
            assert begun.wait(LIMIT)
            yield Running(app, url, log, loops[0])
        finally:
            server.should_exit = True
            thread.join(LIMIT)
    assert not thread.is_alive()


def stand_in(patch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Have the upstream's clients call the three endpoints, so that the simulated service can be one.

    What `Client(model=...)` makes of the answers of a Messages API is not the server's affair.
    """

    def make(options: Options, credential: Credential | None = None) -> AsyncClient:
        given: dict[str, Any] = {} if credential is None else dict([credential])
        given |= {"base_url": options.upstream, "timeout": options.timeout, "max_retries": 0}
        return AsyncClient(**(given | settings))

    patch.setattr(answerers, "make_client", make)


def head(*lines: str, path: str = GENERATE) -> bytes:
    """The head of a POST, to be sent by hand."""
    fields = [f"{name}: {value}" for name, value in HEADERS.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", *fields, *lines, "", ""]).encode()


def read_reply(sock: socket.socket) -> Reply:
    """Read one answer from a connection."""
    answer = HTTPResponse(sock, method="POST")
    answer.begin()
    fields = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, fields, answer.read())
