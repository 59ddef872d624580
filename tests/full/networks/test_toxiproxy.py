"""Every toxic of toxiproxy, up and down, in all three manners of calling."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from faults.outcome import TASK, Sync, failure, success
from faults.raw_server import (
    ANSWER,
    BODY,
    Connection,
    Handler,
    RawServer,
    answer,
    hold,
    last,
    serve,
)
from faults.tls import Authority
from promptlathe import APIConnectionError, APITimeoutError
from toxiproxy import Toxiproxy
from ways import WAYS

UP, DOWN = "upstream", "downstream"
HEAD = len(answer()) - len(BODY)
LONG = hold(answer(body=b'{"padding":"' + b"x" * 65536 + b'"}'))
SHORT = last(answer()[:-5])
MUCH = "Write about rivers. " * 1_000_000  # more than all the buffers on the way hold
LIMIT = 1.0  # seconds for a call that a toxic would hold for ever
LONG_TIME = 60_000  # milliseconds


@dataclass(frozen=True)
class Row:
    """A toxic, and what a call with one retry ends in: without an error an answer."""

    stream: str
    kind: str
    attributes: dict[str, int]
    error: type[APIConnectionError] | None = None
    phase: str = ""
    after: float = 0.0
    handler: Handler = serve
    task: str = TASK

    @staticmethod
    def passes(stream: str, kind: str, after: float = 0.0, **attributes: int) -> Row:
        """The first attempt is answered, after so many seconds."""
        return Row(stream, kind, attributes, after=after)

    @staticmethod
    def breaks(stream: str, kind: str, phase: str, after: float = 0.0, **attributes: int) -> Row:
        """Both attempts fail, the call after so many seconds."""
        return Row(stream, kind, attributes, APIConnectionError, phase, after)

    @staticmethod
    def stalls(stream: str, kind: str, phase: str, **attributes: int) -> Row:
        """The time runs out in the first attempt."""
        return Row(stream, kind, attributes, APITimeoutError, phase, LIMIT - 0.001)


passes, breaks, stalls = Row.passes, Row.breaks, Row.stalls
ROWS = {
    "latency, up": passes(UP, "latency", 0.3, latency=300),
    "latency, down": passes(DOWN, "latency", 0.3, latency=300),
    "latency beyond the time, up": stalls(UP, "latency", "wait", latency=LONG_TIME),
    "latency beyond the time, down": stalls(DOWN, "latency", "wait", latency=LONG_TIME),
    "jitter, up": passes(UP, "latency", 0.1, latency=200, jitter=100),
    "jitter, down": passes(DOWN, "latency", 0.1, latency=200, jitter=100),
    "bandwidth, up": passes(UP, "bandwidth", 0.1, rate=2),
    "bandwidth, down": passes(DOWN, "bandwidth", 0.05, rate=2),
    "bandwidth of less than the request": replace(stalls(UP, "bandwidth", "send", rate=1), task=MUCH),
    "bandwidth of less than the answer": replace(
        stalls(DOWN, "bandwidth", "read", rate=1), handler=LONG
    ),
    "slow_close, up": passes(UP, "slow_close", delay=LONG_TIME),
    "slow_close, down": passes(DOWN, "slow_close", delay=LONG_TIME),
    "slow_close within the body, beyond the time": replace(
        stalls(DOWN, "slow_close", "read", delay=LONG_TIME), handler=SHORT
    ),
    "slow_close within the body": replace(
        breaks(DOWN, "slow_close", "read", 0.4, delay=200), handler=SHORT
    ),
    "timeout of 0, up": stalls(UP, "timeout", "wait", timeout=0),
    "timeout of 0, down": stalls(DOWN, "timeout", "wait", timeout=0),
    "timeout, up": breaks(UP, "timeout", "wait", 0.4, timeout=200),
    "timeout, down": breaks(DOWN, "timeout", "wait", 0.4, timeout=200),
    "reset_peer of 0, up": breaks(UP, "reset_peer", "wait", timeout=0),
    "reset_peer of 0, down": breaks(DOWN, "reset_peer", "wait", timeout=0),
    "reset_peer, up": breaks(UP, "reset_peer", "wait", 0.4, timeout=200),
    "reset_peer, down": breaks(DOWN, "reset_peer", "wait", 0.4, timeout=200),
    "slicer, up": passes(UP, "slicer", average_size=8, size_variation=4, delay=1000),
    "slicer, down": passes(DOWN, "slicer", average_size=8, size_variation=4, delay=1000),
    "slicer that drips, up": replace(
        stalls(UP, "slicer", "wait", average_size=8, delay=100_000)
    ),
    "slicer that drips, down": replace(
        stalls(DOWN, "slicer", "read", average_size=64, delay=100_000), handler=LONG
    ),
    "limit_data of 0, up": breaks(UP, "limit_data", "wait", bytes=0),
    "limit_data of 0, down": breaks(DOWN, "limit_data", "wait", bytes=0),
    "limit_data within the request": breaks(UP, "limit_data", "wait", bytes=100),
    "limit_data within the status line": breaks(DOWN, "limit_data", "wait", bytes=10),
    "limit_data within the headers": breaks(DOWN, "limit_data", "read", bytes=HEAD - 8),
    "limit_data within the body": breaks(DOWN, "limit_data", "read", bytes=HEAD + 8),
    "limit_data behind the body": passes(DOWN, "limit_data", bytes=HEAD + len(BODY)),
}  # fmt: skip


def check(client: Any, row: Row) -> None:
    """Make the call, which has to end as the row says."""
    if row.error is None:
        started = time.monotonic()
        assert success(client) == ANSWER
        assert time.monotonic() - started >= row.after
        return
    late = row.error is APITimeoutError
    limit = LIMIT if late else 5.0
    error = failure(
        client, row.error, after=row.after, within=limit + 1, task=row.task, timeout=limit
    )
    assert (error.phase, error.attempts) == (row.phase, 1 if late else 2), str(error)


def until(cured: threading.Event, handler: Handler) -> Handler:
    """What the server does until the toxic is gone; then it answers well."""

    def handle(connection: Connection) -> None:
        (serve if cured.is_set() else handler)(connection)

    return handle


# Removing a toxic with data under way to a client that has gone takes toxiproxy five seconds.
SLOW = {"bandwidth of less than the answer", "slicer that drips, down"}
CASES = [(name, way) for way in WAYS for name in ROWS if way == "sync" or name not in SLOW]


@pytest.mark.fault("Toxics", "{name}")
@pytest.mark.parametrize(("name", "manner"), CASES)
def test_toxic(name: str, manner: str, toxiproxy: Toxiproxy) -> None:
    row, cured = ROWS[name], threading.Event()
    with (
        RawServer(until(cured, row.handler)) as server,
        toxiproxy.before(server.authority) as proxy,
        WAYS[manner](f"http://{proxy.authority}") as client,
    ):
        proxy.poison(row.stream, row.kind, **row.attributes)
        check(client, row)
        cured.set()
        proxy.cure(row.stream, row.kind)
        assert client.generate(TASK) == ANSWER


KEPT = ["latency, up", "jitter, down", "slicer, up", "slicer, down", "timeout of 0, up"]
KEPT += ["timeout of 0, down", "timeout, up", "timeout, down", "reset_peer, up", "reset_peer, down"]


@pytest.mark.fault("Toxics on a kept connection", "{name}")
@pytest.mark.parametrize("name", KEPT)
def test_toxic_on_a_kept_connection(name: str, toxiproxy: Toxiproxy) -> None:
    """It comes between two calls, to a connection that is there."""
    with (
        RawServer(serve) as server,
        toxiproxy.before(server.authority) as proxy,
        Sync(f"http://{proxy.authority}") as client,
    ):
        assert client.generate(TASK) == ANSWER
        proxy.poison(ROWS[name].stream, ROWS[name].kind, **ROWS[name].attributes)
        check(client, ROWS[name])
        proxy.cure(ROWS[name].stream, ROWS[name].kind)
        assert client.generate(TASK) == ANSWER


# ---- Down ---------------------------------------------------------------------------------------


@pytest.mark.fault("A proxy that goes down", "between two calls")
def test_down(way: Any, toxiproxy: Toxiproxy) -> None:
    with (
        RawServer(serve) as server,
        toxiproxy.before(server.authority) as proxy,
        way(f"http://{proxy.authority}") as client,
    ):
        assert client.generate(TASK) == ANSWER
        proxy.enable(False)  # which closes what the client has kept
        error = failure(client, APIConnectionError)
        assert (error.phase, error.attempts) == ("connect", 2)
        proxy.enable(True)
        assert client.generate(TASK) == ANSWER


@pytest.mark.fault("A proxy that goes down", "during a call")
def test_down_during_a_call(way: Any, toxiproxy: Toxiproxy) -> None:
    goes_down = threading.Event()

    def handle(connection: Connection) -> None:
        connection.request()
        if not goes_down.is_set():
            goes_down.set()
            proxy.enable(False)
            connection.until_closed()
        connection.send(answer())

    with (
        RawServer(handle) as server,
        toxiproxy.before(server.authority) as proxy,
        way(f"http://{proxy.authority}") as client,
    ):
        error = failure(client, APIConnectionError)
        assert (error.phase, error.attempts) == ("connect", 2)
        proxy.enable(True)
        assert client.generate(TASK) == ANSWER


# ---- Toxics within the handshake ----------------------------------------------------------------

HELLO = 100  # bytes: a part of what either side says first
HANDSHAKES = {
    "latency, up": stalls(UP, "latency", "tls", latency=LONG_TIME),
    "latency, down": stalls(DOWN, "latency", "tls", latency=LONG_TIME),
    "bandwidth, up": passes(UP, "bandwidth", 0.1, rate=2),
    "bandwidth, down": passes(DOWN, "bandwidth", 0.1, rate=2),
    "timeout of 0, up": stalls(UP, "timeout", "tls", timeout=0),
    "timeout of 0, down": stalls(DOWN, "timeout", "tls", timeout=0),
    "timeout, down": breaks(DOWN, "timeout", "tls", 0.4, timeout=200),
    "reset_peer, up": breaks(UP, "reset_peer", "tls", timeout=0),
    "reset_peer, down": breaks(DOWN, "reset_peer", "tls", timeout=0),
    "slicer, up": passes(UP, "slicer", average_size=32, delay=1000),
    "slicer, down": passes(DOWN, "slicer", average_size=32, delay=1000),
    "slicer that drips, down": stalls(DOWN, "slicer", "tls", average_size=32, delay=100_000),
    "limit_data, up": breaks(UP, "limit_data", "tls", bytes=HELLO),
    "limit_data, down": breaks(DOWN, "limit_data", "tls", bytes=HELLO),
}  # fmt: skip


@pytest.mark.fault("Toxics in the handshake", "{id}")
@pytest.mark.parametrize("row", HANDSHAKES.values(), ids=HANDSHAKES.keys())
def test_toxic_within_the_handshake(
    row: Row, toxiproxy: Toxiproxy, context: ssl.SSLContext, authority: Authority
) -> None:
    def handle(connection: Connection) -> None:
        connection.sock.recv(1, socket.MSG_PEEK)  # Python's TLS warns of a socket reset before it
        connection.tls(context)
        serve(connection)

    with (
        RawServer(handle) as server,
        toxiproxy.before(server.authority) as proxy,
        Sync(f"https://{proxy.authority}", ca_file=str(authority.file)) as client,
    ):
        proxy.poison(row.stream, row.kind, **row.attributes)
        check(client, row)
        proxy.cure(row.stream, row.kind)
        assert client.generate(TASK) == ANSWER
