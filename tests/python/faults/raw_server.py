"""A TCP server on loopback that does what a test's script says, and records what it saw.

Every connection has a thread and a handler: the first connection gets the first handler given, and
so on; the last handler serves all that come later. Nothing is timed: handlers wait for bytes, for
events and for the client to go away.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

PATIENCE = 20.0  # seconds that a handler waits for what the test has promised
ANSWER = {
    "messages": [{"role": "user", "content": [{"type": "text", "text": "fine"}]}],
    "system": "",
    "usage": {"input_tokens": 1},
}
BODY = json.dumps(ANSWER).encode()


class Gone(Exception):
    """The client closed or reset the connection."""


@dataclass(frozen=True)
class Request:
    """A request as it came, and when (by the monotonic clock)."""

    line: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def attempt(self) -> int:
        """The attempt's number that the client claims."""
        return int(self.headers["x-promptlathe-attempt"])


def answer(status: int = 200, body: bytes = BODY, headers: Iterable[str] = ()) -> bytes:
    """A whole and correct response."""
    lines = [f"HTTP/1.1 {status} Scripted", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Connection:
    """One accepted connection, in the hands of its handler."""

    def __init__(self, sock: socket.socket, server: RawServer) -> None:
        self.sock = sock
        self.server = server
        self.requests: list[Request] = []
        self.closed = threading.Event()  # the client's end is closed, seen by reading
        self._pending = b""

    def tls(self, context: ssl.SSLContext) -> None:
        """Shake hands as a server."""
        self.sock.settimeout(PATIENCE)
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.sock.settimeout(None)

    def receive(self) -> bytes:
        """Whatever comes next; Gone when nothing will."""
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.closed.set()
            raise Gone
        return data

    def head(self) -> tuple[str, dict[str, str]]:
        """The next request's first line and headers, names in lower case."""
        while b"\r\n\r\n" not in self._pending:
            self._pending += self.receive()
        text, _, self._pending = self._pending.partition(b"\r\n\r\n")
        line, *rest = text.decode("latin-1").split("\r\n")
        pairs = (each.partition(":") for each in rest)
        return line, {name.lower(): value.strip() for name, _, value in pairs}

    def request(self) -> Request:
        """The next whole request, recorded."""
        line, headers = self.head()
        size = int(headers.get("content-length", 0))
        while len(self._pending) < size:
            self._pending += self.receive()
        body, self._pending = self._pending[:size], self._pending[size:]
        request = Request(line, headers, body, time.monotonic())
        self.requests.append(request)
        self.server.note(request)
        return request

    def send(self, data: bytes) -> None:
        """Send all of it; Gone when the client does not take it."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            self.closed.set()
            raise Gone from error

    def drip(self, data: bytes, gap: float = 0.01) -> None:
        """Send byte by byte, `gap` seconds apart, until the client or the server goes."""
        for at in range(len(data)):
            self.send(data[at : at + 1])
            if self.server.stopping.wait(gap):
                raise Gone

    def wait(self, event: threading.Event) -> None:
        """Wait for what the test does next."""
        assert event.wait(PATIENCE), "the test never set the event that its script waits for"

    def until_closed(self) -> None:
        """Read until the client closes."""
        while True:
            self.receive()

    def close(self) -> None:
        """Close in good order."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Close with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Handler = Callable[[Connection], Any]


class RawServer:
    """Listens on 127.0.0.1; a context manager that ends all of its connections."""

    def __init__(self, *handlers: Handler) -> None:
        self._handlers = handlers
        self._lock = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self.connections: list[Connection] = []
        self.requests: list[Request] = []  # of all connections, as they came
        self.stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.authority = f"127.0.0.1:{self.port}"
        self._start(self._accept)

    def _start(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                connection = Connection(sock, self)
                handler = self._handlers[min(len(self.connections), len(self._handlers) - 1)]
                self.connections.append(connection)
                self._lock.notify_all()
                self._start(self._serve, handler, connection)

    def _serve(self, handler: Handler, connection: Connection) -> None:
        try:
            handler(connection)
        except (Gone, ssl.SSLError, ConnectionError):
            pass
        except BaseException as failure:
            if not self.stopping.is_set():
                self._failures.append(failure)
        connection.close()

    def note(self, request: Request) -> None:
        """Record a request of any connection."""
        with self._lock:
            self.requests.append(request)
            self._lock.notify_all()

    def wait_for_requests(self, count: int) -> None:
        """Until so many requests have come."""
        with self._lock:
            came = self._lock.wait_for(lambda: len(self.requests) >= count, PATIENCE)
        assert came, f"{len(self.requests)} of {count} requests came"

    @property
    def attempts(self) -> list[int]:
        """What the requests said about their own number."""
        return [request.attempt for request in self.requests]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()  # nobody is added from here on
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        if error is None and self._failures:
            raise self._failures[0]


# ---- Handlers -----------------------------------------------------------------------------------


def serve(connection: Connection) -> None:
    """Answer every request well."""
    while True:
        connection.request()
        connection.send(answer())


def each(*responses: bytes) -> Handler:
    """Answer the requests of a connection with these bytes in turn, then well."""

    def handle(connection: Connection) -> None:
        for response in responses:
            connection.request()
            connection.send(response)
        serve(connection)

    return handle


def last(response: bytes) -> Handler:
    """Answer one request with these bytes, and close."""

    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(response)

    return handle


def hold(response: bytes = b"") -> Handler:
    """Answer one request with these bytes, and then be silent until the client goes."""

    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(response)
        connection.until_closed()

    return handle


def close_unanswered(connection: Connection) -> None:
    """Read a request and close."""
    connection.request()


def reset_unanswered(connection: Connection) -> None:
    """Read a request and reset."""
    connection.request()
    connection.reset()


def close_at_once(connection: Connection) -> None:
    """Close without reading anything."""
    connection.close()


def silent(connection: Connection) -> None:
    """Say nothing at all, until the client goes."""
    connection.until_closed()


# ---- Other ways not to be reached ---------------------------------------------------------------


def refused_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


class FullListener:
    """A listening socket whose queue is full, so that further SYNs are not answered."""

    def __enter__(self) -> Self:
        self._sockets = [socket.socket()]
        listener = self._sockets[0]
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        self.port: int = listener.getsockname()[1]
        while True:  # the queue of length 0 has room for one or two
            filler = socket.socket()
            filler.settimeout(0.2)
            self._sockets.append(filler)
            try:
                filler.connect(("127.0.0.1", self.port))
            except TimeoutError:
                return self

    def __exit__(self, *args: object) -> None:
        for sock in self._sockets:
            sock.close()

    def make_room(self) -> None:
        """Accept what waits, once; whoever connects later is let in."""
        self._sockets[0].listen(16)
        accepted, _ = self._sockets[0].accept()
        self._sockets.append(accepted)
