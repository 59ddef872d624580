"""A server of ready-made answers in a process of its own, for measurements.

It looks at nothing but the first part of a request's path, so that it costs little and none of its
objects, threads or CPU are counted with those of the program that is measured. An answer is named in
the base URL: ``http://127.0.0.1:PORT/NAME``; see `answer` for the names.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

TEXT = "You are a careful translator. Translate {{WORD}} to {{LANGUAGE}}, and say nothing else. "
LATE = 0.01  # seconds


class Answer(NamedTuple):
    """What is sent, and how the connection goes on: "", "close" or "reset"."""

    data: bytes
    end: str = ""


def _http(status: str, body: bytes, *lines: str) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        "content-type: application/json",
        "request-id: req_canned",
        *lines,
    ]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


def good(size: int) -> bytes:
    """A body that passes for all three verbs, of about `size` bytes."""
    text = (TEXT * (size // len(TEXT) + 1))[: max(size - 200, 1)]
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    values = {"WORD": "hello", "LANGUAGE": "German"}
    usage = [{"input_tokens": 10, "output_tokens": 20}]
    answer = {"messages": [message], "system": "", "usage": usage, "variable_values": values}
    return json.dumps(answer).encode()


def model_answer(text: str) -> bytes:
    """A body of a Messages API."""
    content = [{"type": "text", "text": text}]
    usage = {"input_tokens": 10, "output_tokens": 20, "more": {"cached": 5}}
    return json.dumps({"content": content, "stop_reason": "end_turn", "usage": usage}).encode()


SPANS = [{"name": "language", "text": "German"}, {"name": "CITY", "text": "Lisbon"}]
SECTIONS = {
    "result_prompt": "Say it well",
    "result_prefill": "Well",
    "result_examples": "one",
    "result_variables": SPANS,
}


@functools.cache
def answer(name: str) -> Answer:
    """The answer of a name.

    ``good-SIZE``, ``late-SIZE``, ``together-NUMBER``, ``status-NUMBER``, ``empty``, ``html``,
    ``shape``, ``short``, ``garbage``, ``close`` or ``reset``; ``model`` and ``blank`` of a Messages
    API. What is late comes when a client that makes one call waits for it already.
    """
    kind, _, number = name.partition("-")
    if kind in ("good", "late"):
        limits = "anthropic-ratelimit-requests-remaining: 7"
        return Answer(_http("200 OK", good(int(number)), limits))
    if kind == "together":
        return Answer(_http("200 OK", good(500)))
    if kind == "status":
        fault = {"type": "error", "error": {"type": "api_error", "message": "no"}}
        return Answer(_http(f"{number} No", json.dumps(fault).encode(), "location: /elsewhere"))
    return {
        "empty": Answer(_http("204 No Content", b"")),
        "model": Answer(_http("200 OK", model_answer(json.dumps(SECTIONS)))),
        "blank": Answer(_http("200 OK", model_answer(""))),
        "html": Answer(_http("200 OK", b"<html>no</html>")),
        "shape": Answer(_http("200 OK", b'{"messages": [{"role": "user", "content": 5}]}')),
        "short": Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", "close"),
        "garbage": Answer(b"\x00\x01 not HTTP at all\r\n\r\n", "close"),
        "close": Answer(b"", "close"),
        "reset": Answer(b"", "reset"),
    }[kind]


def _read_request(connection: socket.socket, ahead: bytearray) -> str | None:
    """Read one request away; the name in its path, or None when the connection is to end."""
    while (end := ahead.find(b"\r\n\r\n")) < 0:
        data = connection.recv(1 << 18)
        if not data or data[0] == 0x16:  # TLS is not spoken here
            return None
        ahead += data
    head = bytes(ahead[:end]).decode("latin-1")
    sizes = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
    left = int(sizes[0].partition(":")[2]) - (len(ahead) - end - 4)
    del ahead[:]
    while left > 0:
        left -= len(connection.recv(min(left, 1 << 20)))
    return head.split(" ")[1].split("/")[1]


class _Gate:
    """Lets all through once so many have come: they were in flight together."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._seen = 0

    def wait(self, count: int) -> None:
        with self._changed:
            self._seen += 1
            if self._seen == count:
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._seen >= count)


_gate = _Gate()


def _serve(connection: socket.socket) -> None:
    ahead = bytearray()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError), connection:
        while name := _read_request(connection, ahead):
            data, end = answer(name)
            if name.startswith("together-"):
                _gate.wait(int(name.partition("-")[2]))
            if name.startswith("late-"):
                time.sleep(LATE)
            connection.sendall(data)
            if end == "reset":
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            if end:
                return


def main() -> None:
    """Serve until standard input ends, that is until the parent does."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def accept() -> None:
        while True:
            threading.Thread(target=_serve, args=[listener.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
    os._exit(0)  # connections are served still


class Canned:
    """The server as a context manager; ``url(NAME)`` is the base URL of an answer."""

    def __enter__(self) -> Canned:
        self._process = subprocess.Popen(
            [sys.executable, "-S", Path(__file__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())
        return self

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._port}/{name}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()  # ends its standard input


if __name__ == "__main__":
    main()
