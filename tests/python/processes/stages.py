"""Where a client and its calls may be when the process forks or ends.

A stage is the server's side: it brings a program's calls to a place, tells when they are there, and
lets them go on. What the program must do for it stands in `Stage.orders`, which `children` reads.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

from faults.http2_server import DATA, END_STREAM, Peer
from faults.raw_server import ANSWER, PATIENCE, Connection, RawServer, Request, answer
from faults.tls import Authority

REFUSAL = json.dumps({"type": "error", "error": {"type": "made_up", "message": "no tea"}}).encode()


def body_for(mark: str) -> bytes:
    """What answers this request alone."""
    message = {"role": "user", "content": [{"type": "text", "text": mark}]}
    return json.dumps({**ANSWER, "messages": [message]}).encode()


def answer_to(mark: str) -> bytes:
    """The whole response."""
    return answer(body=body_for(mark))


class Stage:
    """A server whose marked requests wait for `release`, within the answer after `sent` bytes."""

    server: RawServer

    def __init__(
        self,
        authority: Authority,
        *,
        used: bool = False,
        calls: int = 1,
        sent: int = 0,
        tls: bool = False,
    ) -> None:
        self.authority, self.used, self.calls, self.sent = authority, used, calls, sent
        self.context = authority.issue("127.0.0.1") if tls else None
        self.go = threading.Event()
        self.held = threading.Semaphore(0)  # one for each request that waits
        self.size = 0  # of the held requests' text
        self.lookup = False  # whether the first look-up of a name hangs
        self.closed_to_children = False  # whether nobody can call before the release

    def __enter__(self) -> Self:
        self.server = RawServer(self.handle)
        return self

    def __exit__(self, *error: Any) -> None:
        self.go.set()
        self.server.__exit__(*error)

    @property
    def orders(self) -> dict[str, Any]:
        """What the program is told."""
        return {
            "url": f"{'https' if self.context else 'http'}://127.0.0.1:{self.server.port}",
            "ca_file": str(self.authority.file),
            "used": self.used,
            "calls": self.calls,
            "size": self.size,
            "lookup": self.lookup,
        }

    def handle(self, connection: Connection) -> None:
        """Serve one connection until its end, which may come within the handshake."""
        try:
            if self.context:
                connection.tls(self.context)
            while True:
                self.respond(connection)
        finally:
            connection.closed.set()

    def respond(self, connection: Connection) -> None:
        """Answer one request."""
        request = connection.request()
        sent, response = 0, answer_to(request.headers.get("x-mark", "none"))
        if "x-status" in request.headers:
            response = answer(int(request.headers["x-status"]), REFUSAL, ["retry-after: 1"])
        if "x-hold" in request.headers:
            sent = self.sent
            connection.send(response[:sent])
            if request.headers["x-hold"] == "1":
                self.held.release()
            connection.wait(self.go)
        connection.send(response[sent:])

    def reached(self) -> None:
        """Return when the calls are where they shall be."""
        self.wait_for_held(self.calls)

    def wait_for_held(self, count: int) -> None:
        """Until so many more requests wait for the release."""
        for _ in range(count):
            assert self.held.acquire(timeout=PATIENCE)

    def release(self) -> None:
        """Let the calls go on."""
        self.go.set()

    @property
    def marks(self) -> list[list[str]]:
        """Whose requests came, by connection; only of connections that had any."""
        connections = self.server.connections
        marks = [[r.headers.get("x-mark", "none") for r in c.requests] for c in connections]
        return [each for each in marks if each]


class InResolve(Stage):
    """The look-up hangs; the program itself sees that, and lets it go on."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.lookup = True

    @property
    def orders(self) -> dict[str, Any]:
        return {**super().orders, "url": f"http://api.example.invalid:{self.server.port}"}

    def reached(self) -> None:
        pass


class FullServer(RawServer):
    """A server that answers no SYN until it is opened."""

    def __init__(self, handler: Callable[[Connection], Any]) -> None:
        self.full, self.opened = threading.Event(), threading.Event()
        self._fillers: list[socket.socket] = []
        super().__init__(handler)

    def _fill(self) -> None:
        self._listener.listen(0)
        while True:  # the queue of length 0 has room for one or two
            filler = socket.socket()
            self._fillers.append(filler)
            filler.settimeout(0.2)
            try:
                filler.connect(self._listener.getsockname())
            except TimeoutError:
                return

    def _accept(self) -> None:
        self._fill()
        self.full.set()
        self.opened.wait(2 * PATIENCE)
        for filler in self._fillers:
            filler.close()
        with contextlib.suppress(OSError):  # shut down by the end of the test
            self._listener.listen(64)
        if not self.stopping.is_set():  # it may have been shut down before it listened again
            super()._accept()


class InConnect(Stage):
    """The SYN stays unanswered. Whoever calls after the release is let in."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.closed_to_children = True

    def __enter__(self) -> Self:
        self.full = FullServer(self.handle)
        self.server = self.full
        assert self.full.full.wait(PATIENCE)
        self.waiting = self.syns()
        return self

    def __exit__(self, *error: Any) -> None:
        self.full.opened.set()
        super().__exit__(*error)

    def syns(self) -> int:
        """How many SYNs to the port wait for their answer."""
        table = Path("/proc/net/tcp").read_text(encoding="ascii")
        return len(re.findall(rf":{self.server.port:04X} 02 ", table))

    def reached(self) -> None:
        pause = threading.Event()  # the kernel tells nobody: look again and again
        while self.syns() == self.waiting:
            assert not pause.wait(0.005)

    def release(self) -> None:
        self.full.opened.set()
        super().release()


class InHandshake(Stage):
    """The first connection's TLS gets no answer; of several calls, the others queue for it."""

    def __init__(self, authority: Authority, calls: int = 1) -> None:
        super().__init__(authority, tls=True, calls=calls)
        self.greeted = threading.Event()

    def handle(self, connection: Connection) -> None:
        if connection is self.server.connections[0]:
            connection.sock.recv(1, socket.MSG_PEEK)
            self.greeted.set()
            connection.wait(self.go)
        super().handle(connection)

    def reached(self) -> None:
        assert self.greeted.wait(PATIENCE)


class InSend(Stage):
    """The server reads nothing of a request that is larger than all buffers."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.size = 16 << 20
        self.begun = threading.Event()

    def respond(self, connection: Connection) -> None:
        if b"x-hold" in connection.sock.recv(4096, socket.MSG_PEEK):
            self.begun.set()
            connection.wait(self.go)
        super().respond(connection)

    def reached(self) -> None:
        assert self.begun.wait(PATIENCE)


class InBackOff(Stage):
    """The first answer asks for a pause, and the connection's end tells that it was read."""

    PAUSE = "retry-after-ms: 2000"

    def respond(self, connection: Connection) -> None:
        request = connection.request()
        if "x-hold" in request.headers and request.attempt == 1:
            connection.send(answer(500, b"{}", [self.PAUSE, "connection: close"]))
            self.held.release()
            connection.until_closed()
        connection.send(answer_to(request.headers["x-mark"]))

    def reached(self) -> None:
        super().reached()
        assert self.server.connections[-1].closed.wait(PATIENCE)


class BehindGate(Stage):
    """The first answer closes the gate for a while. Nothing tells of calls behind it."""

    PAUSE = "retry-after-ms: 2000"

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority, used=True)

    def respond(self, connection: Connection) -> None:
        request = connection.request()
        if request.headers["x-mark"] == "first":
            connection.send(answer(429, REFUSAL, [self.PAUSE]))
        else:
            connection.send(answer_to(request.headers["x-mark"]))

    def reached(self) -> None:
        pass


class OverH2(Stage):
    """The same over HTTP/2, where requests are known by their bodies. All held calls are on the
    first connection, and wait side by side."""

    def __init__(self, authority: Authority, *, used: bool = False, calls: int = 1) -> None:
        super().__init__(authority, used=used, calls=calls)
        self.context = authority.issue("127.0.0.1")
        self.context.set_alpn_protocols(["h2"])

    def respond(self, connection: Connection) -> None:
        peer = Peer(connection)
        peer.begin({})
        waiting: list[tuple[int, str]] = []
        while True:
            stream, mark = self.request(peer)
            if mark.startswith("held"):
                waiting.append((stream, mark))
                self.held.release()
                if len(waiting) < self.calls:
                    continue
                connection.wait(self.go)
            for each in waiting or [(stream, mark)]:
                peer.answer(each[0], body_for(each[1]))
            waiting = []

    def request(self, peer: Peer) -> tuple[int, str]:
        """The next one's stream and mark, recorded."""
        body = b""
        while True:
            kind, flags, stream, payload = peer.frame()
            body += payload if kind == DATA else b""
            if kind == DATA and flags & END_STREAM:
                mark = json.loads(body)["task"]
                request = Request("", {"x-mark": mark}, body, 0.0)
                peer.connection.requests.append(request)
                self.server.note(request)
                return stream, mark


PLACES: dict[str, Callable[[Authority], Stage]] = {
    "unused": partial(Stage, calls=0),
    "idle": partial(Stage, calls=0, used=True),
    "idle over TLS": partial(Stage, calls=0, used=True, tls=True),
    "resolve": InResolve,
    "connect": InConnect,
    "handshake": InHandshake,
    "queue": partial(InHandshake, calls=3),
    "send": InSend,
    "wait": Stage,
    "wait on a kept connection": partial(Stage, used=True),
    "wait over TLS": partial(Stage, used=True, tls=True),
    "headers": partial(Stage, sent=25),
    "body": partial(Stage, sent=len(answer_to("")) - 10),
    "body over TLS": partial(Stage, sent=len(answer_to("")) - 10, tls=True),
    "back-off": InBackOff,
    "eight calls": partial(Stage, used=True, calls=8),
    "idle over HTTP/2": partial(OverH2, used=True, calls=0),
    "wait over HTTP/2": OverH2,
    "eight calls over HTTP/2": partial(OverH2, used=True, calls=8),
}
