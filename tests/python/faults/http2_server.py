"""HTTP/2 by hand, as a server: frames are written and read here, and nothing stops a script from
sending what no server should.

A handler of `RawServer` gets a `Peer` by `over_h2`. Header blocks are encoded without tables or
Huffman codes; those of the client are not decoded: a request is known by its stream and its body.
"""

from __future__ import annotations

import contextlib
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable

from faults.raw_server import BODY, Connection, Gone, Handler, Request
from faults.tls import Authority

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
LARGEST_FRAME = 16384  # what both sides take unless they say otherwise

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR = 0, 1, 2
REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED = 7, 8, 11, 13

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4

Fields = Iterable[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame, whatever its size."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values: dict[int, int]) -> bytes:
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in values.items()))


def _text(text: str) -> bytes:
    """A length as an integer of 7 bits' prefix, and the bytes as they are."""
    data = text.encode("latin-1")
    left, size = len(data) - 127, bytearray()
    if left < 0:
        return bytes([len(data)]) + data
    while left >= 128:
        size.append(left % 128 + 128)
        left //= 128
    return bytes([127, *size, left]) + data


def block(fields: Fields) -> bytes:
    """A header block of literal fields that no table remembers."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


class Peer:
    """One HTTP/2 connection, in the hands of its handler."""

    def __init__(self, connection: Connection, windows: bool = True) -> None:
        self.connection = connection
        self.resets: dict[int, int] = {}  # streams that the client has reset, and why
        self.settled = False  # the client has acknowledged our settings
        self.mended = threading.Event()  # an endless script is to end
        self._windows = windows  # whether the client may go on sending
        self._ahead = b""
        self._bodies: dict[int, bytes] = {}

    def take(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._ahead) < size:
            self._ahead += self.connection.receive()
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        self.connection.send(frame(kind, flags, stream, payload))

    def begin(self, values: dict[int, int]) -> None:
        """Exchange prefaces."""
        self.connection.send(settings(values))
        assert self.take(len(PREFACE)) == PREFACE

    def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame, with what politeness asks for done: kind, flags, stream, payload."""
        head = self.take(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self.take(int.from_bytes(head[:3], "big"))
        if kind in (SETTINGS, PING) and not flags & ACK:
            self.send(kind, ACK, 0, payload if kind == PING else b"")
        if kind == DATA and payload and self._windows:
            for each in (0, stream):
                self.send(WINDOW_UPDATE, 0, each, struct.pack(">I", len(payload)))
        self.settled = self.settled or (kind == SETTINGS and bool(flags & ACK))
        if kind == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        return kind, flags, stream, payload

    def request(self) -> int:
        """The stream of the next whole request, recorded."""
        while True:
            kind, flags, stream, payload = self.frame()
            if kind == DATA:
                self._bodies[stream] = self._bodies.get(stream, b"") + payload
            if kind in (HEADERS, DATA) and flags & END_STREAM:
                body = self._bodies.pop(stream, b"")
                self.connection.server.note(Request("", {}, body, time.monotonic()))
                return stream

    def headers_wait(self, seconds: float) -> bool:
        """Whether another request has begun already, or begins within this time."""
        self.connection.sock.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            self._ahead += self.connection.sock.recv(1 << 16)
        self.connection.sock.settimeout(None)
        at = 0
        while at < len(self._ahead) and self._ahead[at + 3] != HEADERS:
            at += 9 + int.from_bytes(self._ahead[at : at + 3], "big")
        return at < len(self._ahead)

    def until_closed(self) -> None:
        """Read until the client closes."""
        while True:
            self.frame()

    def head(
        self, stream: int, status: int = 200, fields: Fields = (), *, end: bool = False
    ) -> None:
        """A header block, in as many frames as it needs."""
        data = block([(":status", str(status)), *fields])
        parts = [data[at : at + LARGEST_FRAME] for at in range(0, len(data), LARGEST_FRAME)]
        for at, part in enumerate(parts):
            flags = END_HEADERS if at == len(parts) - 1 else 0
            if at == 0:
                self.send(HEADERS, flags | (END_STREAM if end else 0), stream, part)
            else:
                self.send(CONTINUATION, flags, stream, part)

    def data(self, stream: int, data: bytes, *, end: bool = True) -> None:
        """A part of a body, or the rest of it."""
        self.send(DATA, END_STREAM if end else 0, stream, data)

    def trailers(self, stream: int, fields: Fields) -> None:
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, block(fields))

    def answer(
        self, stream: int, body: bytes = BODY, status: int = 200, fields: Fields = ()
    ) -> None:
        """A whole and correct response."""
        self.head(stream, status, [("content-length", str(len(body))), *fields])
        self.data(stream, body)

    def flood(self, data: bytes, gap: float = 0.0) -> None:
        """Send it again and again, `gap` seconds apart, until the client goes or all is mended."""
        while not self.mended.is_set():
            self.connection.send(data)
            if gap and self.connection.server.stopping.wait(gap):
                raise Gone

    def reset(self, stream: int, code: int) -> None:
        self.send(RST_STREAM, 0, stream, struct.pack(">I", code))

    def goaway(self, last: int, code: int = NO_ERROR, words: bytes = b"") -> None:
        """Streams above `last` are not looked at."""
        self.send(GOAWAY, 0, 0, struct.pack(">II", last, code) + words)

    def close(self) -> None:
        """Close in good order, TLS included."""
        sock = self.connection.sock
        assert isinstance(sock, ssl.SSLSocket)
        sock.settimeout(0)  # say goodbye without waiting for the client's
        with contextlib.suppress(OSError):
            sock.unwrap()
        self.connection.close()

    def serve(self) -> None:
        """Answer every request well."""
        while True:
            self.answer(self.request())


Script = Callable[[Peer], None]
Step = Callable[[Peer, int], object]  # what is done about the request of a stream


def unanswered(peer: Peer, stream: int) -> None:
    """Nothing comes back."""


class Spoiled:
    """A script that spoils every connection and every request until it is mended, from when on it
    answers well, on connections that live on too."""

    def __init__(self, step: Step = unanswered, opening: Script | None = None) -> None:
        self.settled = False  # the client has acknowledged our settings
        self.mended = threading.Event()
        self._step, self._opening = step, opening

    def __call__(self, peer: Peer) -> None:
        peer.mended = self.mended
        if self._opening and not self.mended.is_set():
            self._opening(peer)
        while True:
            stream = peer.request()
            if self.mended.is_set():
                peer.answer(stream)
            else:
                self._step(peer, stream)


def h2_context(authority: Authority, *protocols: str) -> ssl.SSLContext:
    """A server's context that offers these protocols, else HTTP/2 alone."""
    context = authority.issue("127.0.0.1")
    context.set_alpn_protocols([*protocols] or ["h2"])
    return context


def over_h2(
    context: ssl.SSLContext,
    script: Script = Peer.serve,
    values: dict[int, int] | None = None,
    *,
    windows: bool = True,
    otherwise: Handler | None = None,
) -> Handler:
    """A handler behind a handshake and both prefaces, with these settings; `otherwise` serves
    clients that do not want HTTP/2."""

    def handle(connection: Connection) -> None:
        connection.tls(context)
        assert isinstance(connection.sock, ssl.SSLSocket)
        if otherwise and connection.sock.selected_alpn_protocol() != "h2":
            return otherwise(connection)
        assert connection.sock.selected_alpn_protocol() == "h2"
        peer = Peer(connection, windows)
        peer.begin(values or {})
        return script(peer)

    return handle
