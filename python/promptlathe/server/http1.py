"""HTTP/1.1 over one connection, as far as the simulated service needs it.

Sockets do not block: every wait is a poll that also ends when the server stops, so closing a server
waits for nobody.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

from promptlathe.server.handler import Answer

MAX_HEAD_BYTES = 64 << 10
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 64 << 20
_PIECE = 64 << 10
_WITHOUT_BODY = (204, 304)


class Stopped(Exception):
    """The server is closing."""


class Malformed(Exception):
    """The bytes received are no request that can be answered in place; the connection ends."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Parsed(NamedTuple):
    """A request as it came."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """All values of a header, joined by commas; None when it is absent."""
        found = [value for key, value in self.headers if key.lower() == name]
        return ", ".join(found) if found else None

    def keeps_alive(self) -> bool:
        """Whether the client wants the connection to stay open."""
        tokens = [token.strip() for token in (self.header("connection") or "").lower().split(",")]
        return "keep-alive" in tokens if self.version == "HTTP/1.0" else "close" not in tokens


class Stream:
    """A connected socket and what was read from it ahead."""

    def __init__(self, sock: socket.socket, stop: int, on_end: Callable[[], None]) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._stop = stop
        self._on_end = on_end
        self._ahead = bytearray()
        self._resets = False

    def read_line(self, limit: int) -> bytes | None:
        """A line without its end; None when the connection ended before its first byte."""
        searched = 0
        while (end := self._ahead.find(b"\n", searched)) < 0:
            searched = len(self._ahead)
            if searched > limit:
                raise Malformed(431, f"the request's head exceeds {MAX_HEAD_BYTES} bytes")
            if not self._fill():
                if searched:
                    raise ConnectionError("the connection ended within a line")
                return None
        return self._take(end + 1).removesuffix(b"\n").removesuffix(b"\r")

    def read_exactly(self, count: int) -> bytes:
        """`count` bytes, or a ConnectionError when the connection ends before."""
        while len(self._ahead) < count:
            if not self._fill():
                raise ConnectionError("the connection ended within a body")
        return self._take(count)

    def send(self, data: bytes) -> None:
        """Send all of it, in any time that the client takes."""
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._wait(select.POLLOUT)

    def pause(self, seconds: float) -> None:
        """Let time pass. A client that hangs up meanwhile is noted; the pause goes on."""
        deadline = time.monotonic() + seconds
        watching = select.POLLIN
        while (left := deadline - time.monotonic()) > 0:
            if not self._wait(watching, left):
                return
            watching = 0  # the socket stays readable: look at it once only
            self._note_end()

    def reset(self) -> None:
        """Make the end that follows a RST."""
        self._resets = True
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def end(self) -> None:
        """End the connection, also where a fork's child holds a copy of the socket."""
        if not self._resets:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def linger(self) -> None:
        """End our side and read on for a while, so that the client can read what was sent."""
        with contextlib.suppress(OSError, Stopped):
            self._socket.shutdown(socket.SHUT_WR)
            deadline, left = time.monotonic() + _LINGER_SECONDS, _LINGER_BYTES
            while left > 0 and self._wait(select.POLLIN, max(0.0, deadline - time.monotonic())):
                received = len(self._socket.recv(_PIECE))
                left = left - received if received else 0

    def _fill(self) -> bool:
        while True:
            try:
                data = self._socket.recv(_PIECE)
            except BlockingIOError:
                self._wait(select.POLLIN)
                continue
            self._ahead += data
            return bool(data)

    def _take(self, count: int) -> bytes:
        data = bytes(self._ahead[:count])
        del self._ahead[:count]
        return data

    def _wait(self, events: int, seconds: float | None = None) -> bool:
        """Wait for the socket; False when the time is over."""
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        if events:
            poll.register(self._socket, events)
        # Rounded up, so that a pause is never shorter than asked for.
        ready = poll.poll(None if seconds is None else int(seconds * 1000) + 1)
        if any(descriptor == self._stop for descriptor, _ in ready):
            raise Stopped
        return bool(ready)

    def _note_end(self) -> None:
        try:
            ended = not self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            ended = True
        if ended:
            self._on_end()


# ---- Reading a request --------------------------------------------------------------------------


def read_request(stream: Stream, max_body_bytes: int) -> Parsed | None:
    """Read the next request.

    Returns
    -------
    Parsed or None
        None when the client ended the connection between two requests.

    Raises
    ------
    Malformed
        With the status to answer.
    ConnectionError
        When the connection ended within the request.
    """
    line = stream.read_line(MAX_HEAD_BYTES)
    if line == b"":  # a stray line end before a request is allowed for
        line = stream.read_line(MAX_HEAD_BYTES)
    if line is None:
        return None
    method, target, version = _request_line(line)
    headers = _headers(stream, MAX_HEAD_BYTES - len(line))
    head = Parsed(method, target, version, headers, b"")
    return head._replace(body=_body(stream, head, max_body_bytes))


def _request_line(line: bytes) -> tuple[str, str, str]:
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 3 or not all(parts):
        raise Malformed(400, "the request line is not: method, target, version")
    method, target, version = parts
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise Malformed(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return method, target, version


def _headers(stream: Stream, room: int) -> list[tuple[str, str]]:
    headers = []
    while line := stream.read_line(room):
        room -= len(line) + 2
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name != name.strip():
            raise Malformed(400, "a header line is not: name, colon, value")
        headers.append((name, value.strip(" \t")))
        if room < 0:
            raise Malformed(431, f"the request's head exceeds {MAX_HEAD_BYTES} bytes")
    if line is None:
        raise ConnectionError("the connection ended within the headers")
    return headers


def _body(stream: Stream, head: Parsed, limit: int) -> bytes:
    coding, length = head.header("transfer-encoding"), head.header("content-length")
    if coding is not None and length is not None:
        raise Malformed(400, "content-length and transfer-encoding exclude each other")
    if coding is not None and coding.lower() != "chunked":
        raise Malformed(501, "the only transfer-encoding understood is chunked")
    size = _number(length, 10) if length is not None else 0
    if size > limit:
        raise Malformed(413, _too_large(limit))
    if (coding or size) and (head.header("expect") or "").lower() == "100-continue":
        stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    return _chunks(stream, limit) if coding else stream.read_exactly(size)


def _chunks(stream: Stream, limit: int) -> bytes:
    body = bytearray()
    while size := _chunk_size(stream):
        if len(body) + size > limit:
            raise Malformed(413, _too_large(limit))
        body += stream.read_exactly(size)
        if stream.read_exactly(2) != b"\r\n":
            raise Malformed(400, "a chunk is longer than its size says")
    _headers(stream, MAX_HEAD_BYTES)  # trailers
    return bytes(body)


def _chunk_size(stream: Stream) -> int:
    line = stream.read_line(1024)
    if line is None:
        raise ConnectionError("the connection ended within a chunked body")
    return _number(line.partition(b";")[0].strip().decode("latin-1"), 16)


def _number(digits: str, base: int) -> int:
    allowed = "0123456789abcdefABCDEF" if base == 16 else "0123456789"
    if not 1 <= len(digits) <= 16 or not all(digit in allowed for digit in digits):
        raise Malformed(400, "a content-length or chunk size is no number")
    return int(digits, base)


def _too_large(limit: int) -> str:
    return f"the body exceeds {limit} bytes"


# ---- Writing an answer --------------------------------------------------------------------------


def head_of(answer: Answer, *, close: bool) -> bytes:
    """The status line and headers. Framing headers that the answer brings are left as they are."""
    names = {name.lower() for name, _ in answer.headers}
    headers = list(answer.headers)
    if not names & {"content-length", "transfer-encoding"} and answer.status not in _WITHOUT_BODY:
        headers.append(("content-length", str(len(answer.body))))
    if "date" not in names:  # clients compare limits with it
        headers.append(("date", formatdate(usegmt=True)))
    if close and "connection" not in names:
        headers.append(("connection", "close"))
    lines = [f"HTTP/1.1 {answer.status} {reason(answer.status)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def body_of(answer: Answer, method: str) -> bytes:
    """The bytes behind the head: none where HTTP has none."""
    return b"" if method == "HEAD" or answer.status in _WITHOUT_BODY else answer.body


def reason(status: int) -> str:
    """The phrase that belongs to a status, or "Status"."""
    if status == 529:
        return "Overloaded"
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"
