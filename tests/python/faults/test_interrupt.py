"""Ctrl-C and other signals while a call waits.

The interrupt is sent by a thread at the moment that an event names, the way a terminal does it: to
the process. What is measured is the time from there until the main thread has the exception.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from promptlathe import APITimeoutError, Client

from faults.conftest import Child
from faults.outcome import KEY, TASK, client_for, failure
from faults.raw_server import (
    ANSWER,
    PATIENCE,
    Connection,
    FullListener,
    RawServer,
    answer,
    each,
    hold,
    serve,
)

SOON = 1.0  # seconds: what the tests allow; the promise is 0.1
SLICE = 0.05  # seconds


class Interrupter:
    """Sends SIGINT to the process as soon as `ready` returns, from a thread of its own."""

    def __init__(self, ready: Callable[[], object], number: int = signal.SIGINT) -> None:
        self.ready, self.number = ready, number
        self.wanted = True  # until the call has ended, however it did
        self.sent = 0.0
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.ready()
        except BaseException as failure:
            self.failure = failure
        self.sent = time.monotonic()
        if self.wanted:
            os.kill(os.getpid(), self.number)


@contextmanager
def interrupted(ready: Callable[[], object]) -> Iterator[None]:
    """The block must be ended by KeyboardInterrupt, soon after `ready` has returned."""
    interrupter = Interrupter(ready)
    interrupter.thread.start()
    with pytest.raises(KeyboardInterrupt):
        try:
            yield
        finally:
            interrupter.wanted = False
    took = time.monotonic() - interrupter.sent
    interrupter.thread.join()
    if interrupter.failure:
        raise interrupter.failure
    assert took < SOON, f"{took:.3f} s from the signal to the exception"


def usable(client: Client) -> bool:
    return client.generate(TASK, timeout=5) == ANSWER


def seen_to_close(connection: Connection) -> bool:
    """Whether the client has closed this connection, as its handler saw."""
    return connection.closed.wait(SOON)


def unanswered_syns(port: int) -> int:
    """How many sockets have sent a SYN to the port that nobody has answered yet."""
    table = Path("/proc/net/tcp").read_text(encoding="ascii")
    return len(re.findall(rf":{port:04X} 02 ", table))


# ---- Where a call may be when it comes ----------------------------------------------------------


@pytest.mark.fault("Process", "Ctrl-C in resolve", ends="KeyboardInterrupt; the client goes on")
def test_in_resolve(child: Child) -> None:
    with RawServer(serve) as server:
        ended = child("interrupt_in_resolve", server.port, hangs=1)
        assert ended.returncode == 0, ended.stderr
        what, took, after = ended.stdout.split()
        assert (what, after) == ("KeyboardInterrupt", "fine")
        assert float(took) < SOON, f"{took} s from the signal to the exception"


@pytest.mark.fault("Process", "Ctrl-C in connect", ends="KeyboardInterrupt; the client goes on")
def test_in_connect() -> None:
    with FullListener() as listener:
        waiting = unanswered_syns(listener.port)

        def ready() -> None:
            pause = threading.Event()  # the kernel tells nobody: look again and again
            while unanswered_syns(listener.port) == waiting:
                assert not pause.wait(0.005)

        with client_for(f"http://127.0.0.1:{listener.port}", timeout=None) as client:
            with interrupted(ready):
                client.generate(TASK)
            listener.make_room()
            error = failure(client, APITimeoutError, timeout=0.3)
            assert error.phase == "wait"  # connected, and nobody reads


@pytest.mark.fault("Process", "Ctrl-C in handshake", ends="KeyboardInterrupt; the client goes on")
def test_in_tls() -> None:
    greeted = threading.Event()

    def handle(connection: Connection) -> None:
        connection.receive()
        greeted.set()
        connection.until_closed()

    with RawServer(handle) as server:
        url = server.url.replace("http:", "https:")
        with client_for(url, timeout=None) as client:
            with interrupted(lambda: greeted.wait(PATIENCE)):
                client.generate(TASK)
            assert seen_to_close(server.connections[0])


@pytest.mark.fault("Process", "Ctrl-C in send", ends="KeyboardInterrupt; the client goes on")
def test_in_send() -> None:
    def handle(connection: Connection) -> None:
        connection.head()
        started.set()
        connection.wait(gone)
        connection.until_closed()

    started, gone = threading.Event(), threading.Event()
    with RawServer(handle, serve) as server, client_for(server.url, timeout=None) as client:
        with interrupted(lambda: started.wait(PATIENCE)):
            client.generate("x" * (32 << 20))
        gone.set()
        assert server.connections[0].closed.wait(PATIENCE)  # behind all that was sent before
        assert usable(client)


WAITS = {
    "wait": hold(),
    "the headers": hold(b"HTTP/1.1 200 OK\r\ncontent-"),
    "the body": hold(answer()[:-5]),
}


@pytest.mark.parametrize("handler", WAITS.values(), ids=WAITS.keys())
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.fault(
    "Process",
    "Ctrl-C in wait, in the headers, in the body",
    ends="KeyboardInterrupt; the client goes on",
)
def test_in_wait(handler: Callable[[Connection], None], timeout: float | None) -> None:
    with RawServer(handler, serve) as server, client_for(server.url, timeout=timeout) as client:
        with interrupted(lambda: server.wait_for_requests(1)):
            client.generate(TASK)
        assert seen_to_close(server.connections[0])
        assert len(server.requests) == 1
        assert usable(client)


def test_in_a_stream_that_never_rests() -> None:
    """Bytes that keep coming leave no time at which nothing happens."""

    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        flowing.set()
        while True:
            connection.send(b"1\r\n \r\n" * 50)

    flowing = threading.Event()
    with (
        RawServer(handle, serve) as server,
        client_for(server.url, timeout=None, max_response_bytes=1 << 34) as client,
    ):
        with interrupted(lambda: flowing.wait(PATIENCE)):
            client.generate(TASK)
        assert seen_to_close(server.connections[0])
        assert usable(client)


@pytest.mark.fault("Process", "Ctrl-C in back-off", ends="KeyboardInterrupt; the client goes on")
def test_in_back_off() -> None:
    """The answer asks to wait a minute; the connection's end tells that it was read."""
    response = answer(500, b"{}", ["retry-after: 60", "connection: close"])

    def handle(connection: Connection) -> None:
        connection.request()
        connection.send(response)
        connection.until_closed()

    with RawServer(handle, serve) as server, client_for(server.url, timeout=None) as client:

        def ready() -> None:
            server.wait_for_requests(1)
            assert server.connections[0].closed.wait(PATIENCE)

        with interrupted(ready):
            client.generate(TASK)
        assert len(server.requests) == 1
        assert usable(client)
        assert server.attempts == [1, 1]


# ---- With other threads on the same client ------------------------------------------------------


class Caller:
    """A call in a thread of its own."""

    def __init__(self, client: Client, **options: Any) -> None:
        self.result: Any = None
        self.thread = threading.Thread(target=self._run, args=(client,), kwargs=options)
        self.thread.start()

    def _run(self, client: Client, **options: Any) -> None:
        try:
            self.result = client.generate(TASK, **options)
        except BaseException as failure:
            self.result = failure

    def end(self) -> Any:
        self.thread.join(PATIENCE)
        return self.result


def answered_later(go: threading.Event) -> Callable[[Connection], None]:
    def handle(connection: Connection) -> None:
        connection.request()
        connection.wait(go)
        connection.send(answer())
        serve(connection)

    return handle


@pytest.mark.fault(
    "Process",
    "Ctrl-C while another thread drives, or follows",
    ends="KeyboardInterrupt; the other calls go on",
)
def test_as_a_follower() -> None:
    """Another thread leads; its call goes on."""
    go = threading.Event()
    with (
        RawServer(answered_later(go), hold(), serve) as server,
        client_for(server.url, timeout=30) as client,
    ):
        other = Caller(client)
        server.wait_for_requests(1)
        with interrupted(lambda: server.wait_for_requests(2)):
            client.generate(TASK)
        assert seen_to_close(server.connections[1])
        assert other.thread.is_alive() and not server.connections[0].closed.is_set()
        go.set()
        assert other.end() == ANSWER
        assert usable(client)


@pytest.mark.fault(
    "Process",
    "Ctrl-C while another thread drives, or follows",
    ends="KeyboardInterrupt; the other calls go on",
)
def test_as_the_leader() -> None:
    """The others follow; one of them takes the lead over."""
    go = threading.Event()
    with (
        RawServer(hold(), answered_later(go), answered_later(go), serve) as server,
        client_for(server.url, timeout=30) as client,
    ):
        others: list[Caller] = []

        def ready() -> None:
            server.wait_for_requests(1)  # the main thread's, which leads
            for number in (2, 3):
                others.append(Caller(client))
                server.wait_for_requests(number)

        with interrupted(ready):
            client.generate(TASK)
        assert seen_to_close(server.connections[0])
        go.set()
        assert [other.end() for other in others] == [ANSWER, ANSWER]
        assert usable(client)


def test_while_only_other_threads_call() -> None:
    """The main thread alone is interrupted; it makes no call."""
    go, waiting = threading.Event(), threading.Event()

    def ready() -> None:
        server.wait_for_requests(2)
        assert waiting.wait(PATIENCE)  # an earlier signal would come before the block has begun

    with (
        RawServer(answered_later(go), answered_later(go), serve) as server,
        client_for(server.url, timeout=30) as client,
    ):
        others = [Caller(client), Caller(client)]
        with interrupted(ready):
            waiting.set()
            # In slices: Python may miss a signal that comes just before it blocks.
            for _ in range(int(PATIENCE / SLICE)):
                threading.Event().wait(SLICE)
        assert all(other.thread.is_alive() for other in others)
        go.set()
        assert [other.end() for other in others] == [ANSWER, ANSWER]


def test_again_and_again() -> None:
    with RawServer(*[hold()] * 10, serve) as server, client_for(server.url, timeout=30) as client:
        for number in range(1, 11):
            with interrupted(lambda number=number: server.wait_for_requests(number)):
                client.generate(TASK)
            assert seen_to_close(server.connections[number - 1])
        assert usable(client)


# ---- Other handlers of signals ------------------------------------------------------------------


@contextmanager
def handler_for(number: int, handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_handler_runs_and_the_call_goes_on() -> None:
    """The answer waits for the handler, so that it must have run during the call."""
    ran = threading.Event()
    with RawServer(answered_later(ran)) as server, client_for(server.url) as client:
        sender = Interrupter(lambda: server.wait_for_requests(1), signal.SIGUSR1)
        with handler_for(signal.SIGUSR1, lambda *_: ran.set()):
            sender.thread.start()
            raw = client.with_raw_response.generate(TASK)
            sender.thread.join()
        assert (raw.data, raw.attempts) == (ANSWER, 1)


def test_wakeup_descriptor_is_written_and_the_call_goes_on() -> None:
    """The answer waits for the byte that Python writes when a signal comes."""
    woken, wake = socket.socketpair()

    def handle(connection: Connection) -> None:
        connection.request()
        woken.settimeout(PATIENCE)
        assert woken.recv(1) == bytes([signal.SIGUSR1])
        connection.send(answer())

    wake.setblocking(False)
    with woken, wake, RawServer(handle) as server, client_for(server.url) as client:
        sender = Interrupter(lambda: server.wait_for_requests(1), signal.SIGUSR1)
        with handler_for(signal.SIGUSR1, lambda *_: None):
            before = signal.set_wakeup_fd(wake.fileno())
            try:
                sender.thread.start()
                assert client.generate(TASK) == ANSWER
            finally:
                signal.set_wakeup_fd(before)
            sender.thread.join()


def test_handler_that_raises_ends_the_call() -> None:
    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with RawServer(hold(), serve) as server, client_for(server.url, timeout=30) as client:
        sender = Interrupter(lambda: server.wait_for_requests(1), signal.SIGUSR1)
        with handler_for(signal.SIGUSR1, stop):
            sender.thread.start()
            with pytest.raises(Stop):
                client.generate(TASK)
            sender.thread.join()
        assert seen_to_close(server.connections[0])
        assert usable(client)


def test_handler_may_call_the_same_client() -> None:
    go = threading.Event()
    inner: list[Any] = []
    with RawServer(answered_later(go), serve) as server, client_for(server.url) as client:

        def call(*_: object) -> None:
            inner.append(client.generate(TASK))
            go.set()

        sender = Interrupter(lambda: server.wait_for_requests(1), signal.SIGUSR1)
        with handler_for(signal.SIGUSR1, call):
            sender.thread.start()
            assert client.generate(TASK) == ANSWER
            sender.thread.join()
        assert inner == [ANSWER]


def test_storm_of_signals_ends_nothing() -> None:
    """A timer that interrupts every wait of the main thread, in a call with a back-off in it."""
    ticks: list[int] = []  # a handler is interrupted by the next one: it must hold no lock
    responses = [answer(500, b"{}", ["retry-after-ms: 300"]), answer()]
    with RawServer(each(*responses)) as server, client_for(server.url) as client:
        with handler_for(signal.SIGALRM, lambda number, _: ticks.append(number)):
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
            try:
                started = time.monotonic()
                raw = client.with_raw_response.generate(TASK)
                took = time.monotonic() - started
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        assert (raw.data, raw.attempts) == (ANSWER, 2)
        assert 0.3 <= took < 1.5, f"{took:.3f} s"
        assert len(ticks) >= 20, "hardly any signal came"


def test_handler_that_takes_its_time_holds_no_other_thread_up() -> None:
    """The main thread led; while its handler runs, another leads."""
    busy, go = threading.Event(), threading.Event()

    def take_time(*_: object) -> None:
        busy.set()
        assert go.wait(PATIENCE)

    with RawServer(hold(answer()[:-5]), serve) as server, client_for(server.url) as client:
        results: list[Any] = []

        def others() -> None:
            server.wait_for_requests(1)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert busy.wait(PATIENCE)
            results.append(Caller(client).end())
            go.set()

        thread = threading.Thread(target=others)
        with handler_for(signal.SIGUSR1, take_time):
            thread.start()
            with pytest.raises(APITimeoutError):
                client.generate(TASK, timeout=2)
            thread.join()
        assert results == [ANSWER]


# ---- A whole process ----------------------------------------------------------------------------


def test_process_without_a_handler_ends_as_python_does() -> None:
    script = (
        f"import promptlathe, sys; promptlathe.Client({KEY!r}, base_url=sys.argv[1]).generate('x')"
    )
    with RawServer(hold()) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", script, server.url], stderr=subprocess.PIPE, text=True
        )
        server.wait_for_requests(1)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        took = time.monotonic() - sent
        assert process.returncode == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert took < 2 * SOON, f"{took:.3f} s until the process had ended"
        assert seen_to_close(server.connections[0])


def test_ignored_interrupt_ends_nothing() -> None:
    """The answer is sent once the signal has been."""

    def handle(connection: Connection) -> None:
        connection.request()
        sender.thread.join()
        connection.send(answer())

    with RawServer(handle) as server, client_for(server.url) as client:
        sender = Interrupter(lambda: server.wait_for_requests(1))
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            sender.thread.start()
            assert client.generate(TASK) == ANSWER
        finally:
            signal.signal(signal.SIGINT, before)
