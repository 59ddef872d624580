"""A route that goes dark during a call: nothing comes any more, not even a refusal."""

from __future__ import annotations

import array
import fcntl
import socket
import ssl
import termios
import threading
from collections.abc import Callable
from typing import Any

import pytest
from far import THERE, Far, FarServer
from faults.outcome import TASK, Sync, failure, success
from faults.raw_server import ANSWER, PATIENCE, Connection, Handler, answer, serve
from faults.tls import Authority
from promptlathe import APIConnectionError, APITimeoutError, Timeout
from ways import WAYS_OF_ONE

LIMIT = 1.0  # seconds, for the call or for an attempt to connect
MUCH = "Write about rivers. " * 1_000_000  # more than all the buffers on the way hold
DARKEN: dict[str, Callable[[Far], None]] = {"unplugged": Far.unplug, "swallowed": Far.swallow}


@pytest.fixture(params=DARKEN.values(), ids=DARKEN.keys())
def darken(request: pytest.FixtureRequest, far: Far) -> Callable[[], None]:
    """How it goes dark: in both directions, or for the answers alone."""
    return lambda: request.param(far)


CALLS = ["http-sync", "https-sync", "https-async", "http-map"]


@pytest.fixture(params=CALLS)
def scheme_and_way(request: pytest.FixtureRequest) -> Any:
    return request.param.split("-")


@pytest.fixture
def over(scheme_and_way: list[str], far_context: ssl.SSLContext) -> Callable[[Handler], Handler]:
    """Put a handler behind TLS where the scheme wants it."""

    def wrapped(handler: Handler) -> Handler:
        def handle(connection: Connection) -> None:
            if scheme_and_way[0] == "https":
                connection.tls(far_context)
            handler(connection)

        return handle

    return wrapped


@pytest.fixture
def client_of(scheme_and_way: list[str], authority: Authority) -> Callable[[FarServer], Any]:
    scheme, way = scheme_and_way

    def make(server: FarServer) -> Any:
        url = f"{scheme}://{server.authority}"
        return WAYS_OF_ONE[way](url, ca_file=str(authority.file), allow_http=True)

    return make


def until_taken(connection: Connection) -> None:
    """Until the client's system has confirmed all that was sent; it tells nobody, so ask."""
    left = array.array("i", [1])
    while left[0] and not connection.server.stopping.wait(0.01):
        fcntl.ioctl(connection.sock, termios.TIOCOUTQ, left)


def then_well(lit: threading.Event, handler: Handler) -> Handler:
    """What the server does while the route is dark or goes so; later it answers well."""

    def handle(connection: Connection) -> None:
        (serve if lit.is_set() else handler)(connection)

    return handle


def recovers(client: Any, far: Far, lit: threading.Event) -> None:
    """With the light comes the client."""
    lit.set()
    far.lighten()
    assert client.generate(TASK) == ANSWER


def ends_in_time(client: Any, phase: str, **options: Any) -> None:
    error = failure(
        client, APITimeoutError, after=LIMIT - 0.001, within=LIMIT + 1, timeout=LIMIT, **options
    )
    assert (error.phase, error.attempts) == (phase, 1), str(error)


# ---- Before anything is said --------------------------------------------------------------------


@pytest.mark.fault("Dark routes", "in connect, both times")
def test_dark_in_connect(far: Far, darken: Callable[[], None], over: Any, client_of: Any) -> None:
    with FarServer(far, over(serve)) as server, client_of(server) as client:
        darken()
        timeout = Timeout(total=5, connect=LIMIT / 2)
        error = failure(client, APITimeoutError, after=LIMIT, within=LIMIT + 1.5, timeout=timeout)
        assert (error.phase, error.attempts) == ("connect", 2)
        recovers(client, far, threading.Event())


@pytest.mark.fault("Dark routes", "in connect, so that no neighbour answers, no retries")
def test_no_neighbour_answers(far: Far) -> None:
    """The system gives up on an unplugged neighbour, after three seconds, before the client does."""
    with FarServer(far, serve) as server, Sync(server.url, allow_http=True) as client:
        far.unplug()
        error = failure(client, APIConnectionError, within=6, max_retries=0)
        assert (error.phase, error.attempts) == ("connect", 1)
        recovers(client, far, threading.Event())


@pytest.mark.fault("Dark routes", "no route at all")
def test_no_route(far: Far) -> None:
    """The client's own system knows that nobody can be reached."""
    with FarServer(far, serve) as server, Sync(server.url, allow_http=True) as client:
        far.here(f"route add unreachable {THERE}/32")
        try:
            error = failure(client, APIConnectionError, within=3)
        finally:
            far.here(f"route delete unreachable {THERE}/32")
        assert (error.phase, error.attempts) == ("connect", 2)
        recovers(client, far, threading.Event())


@pytest.mark.fault("Dark routes", "in the handshake, no retries")
def test_dark_in_the_handshake(
    far: Far,
    darken: Callable[[], None],
    far_context: ssl.SSLContext,
    authority: Authority,
) -> None:
    lit = threading.Event()

    def handle(connection: Connection) -> None:
        connection.sock.recv(1, socket.MSG_PEEK)  # the client has begun
        if not lit.is_set():
            darken()
        connection.tls(far_context)
        serve(connection)

    with (
        FarServer(far, handle) as server,
        Sync(f"https://{server.authority}", ca_file=str(authority.file)) as client,
    ):
        timeout = Timeout(total=5, connect=LIMIT)
        error = failure(
            client, APITimeoutError, after=LIMIT, within=LIMIT + 1, timeout=timeout, max_retries=0
        )
        assert (error.phase, error.attempts) == ("tls", 1)
        recovers(client, far, lit)


# ---- Within a call ------------------------------------------------------------------------------


@pytest.mark.fault("Dark routes", "in the request")
def test_dark_in_the_request(
    far: Far, darken: Callable[[], None], over: Any, client_of: Any
) -> None:
    lit = threading.Event()

    def handle(connection: Connection) -> None:
        connection.receive()
        darken()
        lit.wait(PATIENCE)

    with FarServer(far, over(then_well(lit, handle))) as server, client_of(server) as client:
        ends_in_time(client, "send", task=MUCH)
        recovers(client, far, lit)


@pytest.mark.fault("Dark routes", "before the answer")
def test_dark_before_the_answer(
    far: Far, darken: Callable[[], None], over: Any, client_of: Any
) -> None:
    lit = threading.Event()

    def handle(connection: Connection) -> None:
        connection.request()
        darken()
        connection.send(answer())
        connection.until_closed()

    with FarServer(far, over(then_well(lit, handle))) as server, client_of(server) as client:
        ends_in_time(client, "wait")
        recovers(client, far, lit)


@pytest.mark.fault("Dark routes", "within the body")
def test_dark_within_the_body(
    far: Far, darken: Callable[[], None], over: Any, client_of: Any
) -> None:
    lit = threading.Event()

    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(answer()[:-5])
        until_taken(connection)
        darken()
        connection.send(answer()[-5:])
        connection.until_closed()

    with FarServer(far, over(then_well(lit, handle))) as server, client_of(server) as client:
        ends_in_time(client, "read")
        recovers(client, far, lit)


@pytest.mark.fault("Dark routes", "before a call on a kept connection")
def test_dark_before_a_call_on_a_kept_connection(
    far: Far, darken: Callable[[], None], over: Any, client_of: Any
) -> None:
    """What is said on it goes nowhere; the next call does not trust it any more."""
    with FarServer(far, over(serve)) as server, client_of(server) as client:
        assert client.generate(TASK) == ANSWER
        kept = len(server.connections)
        darken()
        ends_in_time(client, "wait")
        recovers(client, far, threading.Event())
        assert len(server.connections) > kept


@pytest.mark.fault("Dark routes", "for a moment, before the answer")
def test_dark_for_a_moment(far: Far, darken: Callable[[], None], over: Any, client_of: Any) -> None:
    """The systems say again what was lost: it costs the call time, and no attempt."""
    lit = threading.Event()

    def handle(connection: Connection) -> None:
        connection.request()
        darken()
        connection.send(answer())
        lit.wait(0.3)  # how long it is dark
        far.lighten()
        serve(connection)

    with FarServer(far, over(handle)) as server, client_of(server) as client:
        assert success(client, timeout=20, within=20) == ANSWER
        assert len(set(server.attempts)) == 1
