"""The deadline of a call and the time to connect: what they cover, and how well they are kept."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
from promptlathe import (
    APIConnectionError,
    APITimeoutError,
    Client,
    InternalServerError,
    RateLimitError,
    Timeout,
)

from faults.outcome import TASK, client_for, failure
from faults.raw_server import (
    ANSWER,
    PATIENCE,
    Connection,
    FullListener,
    RawServer,
    answer,
    each,
    hold,
    last,
    serve,
)

# ---- The deadline -------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.05, 0.4])
def test_deadline_is_kept(seconds: float) -> None:
    with RawServer(hold()) as server, client_for(server.url) as client:
        error = failure(client, APITimeoutError, timeout=seconds, after=seconds, within=seconds + 1)
        assert (error.phase, error.attempts) == ("wait", 1)
        assert f"timeout of {seconds:g} s" in str(error)
        assert isinstance(error, APIConnectionError)


def test_integer_and_fraction_and_object_mean_the_same() -> None:
    with RawServer(hold()) as server, client_for(server.url) as client:
        for timeout in (1, 1.0, Timeout(total=1)):
            failure(client, APITimeoutError, timeout=timeout, after=1, within=2)


def test_calls_own_deadline_stands_over_the_clients() -> None:
    with RawServer(hold()) as server:
        with client_for(server.url, timeout=60) as client:
            failure(client, APITimeoutError, timeout=0.2, after=0.2, within=1.2)
            short = client.with_options(timeout=0.2)
            failure(short, APITimeoutError, after=0.2, within=1.2)
        with client_for(server.url, timeout=0.2) as client:
            failure(client, APITimeoutError, after=0.2, within=1.2)


def test_no_deadline_at_all() -> None:
    go = threading.Event()

    def handle(connection: Connection) -> None:
        connection.request()
        connection.wait(go)
        connection.send(answer())

    with RawServer(handle) as server, client_for(server.url, timeout=0.1) as client:
        timer = threading.Timer(0.5, go.set)  # far beyond the client's own limit
        timer.start()
        assert client.generate(TASK, timeout=None) == ANSWER
        timer.join()


def test_longer_deadline_than_a_timer_can_hold() -> None:
    with RawServer(serve) as server, client_for(server.url) as client:
        for seconds in (1e9, 1e300):
            timeout = Timeout(total=seconds, connect=seconds)
            assert client.generate(TASK, timeout=timeout) == ANSWER


def test_deadline_covers_all_attempts_and_the_time_between() -> None:
    """The second attempt gets what the first and the back-off have left."""
    with RawServer(last(answer(500, b"{}")), hold()) as server, client_for(server.url) as client:
        error = failure(client, APITimeoutError, timeout=1, after=1, within=2)
        assert (error.phase, error.attempts) == ("wait", 2)
        assert server.attempts == [1, 2]


def test_back_off_beyond_the_deadline_is_not_slept() -> None:
    with RawServer(each(answer(500, b"{}"))) as server, client_for(server.url) as client:
        error = failure(client, InternalServerError, timeout=0.3, within=0.3)
        assert (error.attempts, len(server.requests)) == (1, 1)
        assert client.generate(TASK) == ANSWER


def test_hint_beyond_the_deadline_is_not_slept() -> None:
    response = answer(429, b"{}", ["retry-after: 3"])
    with RawServer(each(response)) as server, client_for(server.url) as client:
        error = failure(client, RateLimitError, timeout=2.5, within=1)
        assert (error.attempts, error.retry_after) == (1, 3)
        assert client.generate(TASK) == ANSWER


def test_answer_in_time_survives_a_late_look() -> None:
    """The main thread was away while answer and deadline came: the answer counts.

    A handler of a signal keeps the only thread that drives from driving.
    """
    answered = threading.Event()

    def handle(connection: Connection) -> None:
        connection.request()
        os.kill(os.getpid(), signal.SIGUSR1)
        connection.wait(away)
        connection.send(answer())
        answered.set()

    def be_away(*_: object) -> None:
        away.set()
        assert answered.wait(PATIENCE)
        threading.Event().wait(0.5)  # beyond the deadline, with the answer in the socket

    away = threading.Event()
    before = signal.signal(signal.SIGUSR1, be_away)
    try:
        with RawServer(handle) as server, client_for(server.url) as client:
            assert client.generate(TASK, timeout=0.4) == ANSWER
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---- The time to connect ------------------------------------------------------------------------


def test_time_to_connect_is_for_each_attempt() -> None:
    with FullListener() as listener:
        client = client_for(f"http://127.0.0.1:{listener.port}", max_retries=1)
        with client:
            timeout = Timeout(total=5, connect=0.25)
            # Two attempts, and between them 0.375 to 0.5 s.
            error = failure(client, APITimeoutError, timeout=timeout, after=0.875, within=2)
            assert (error.attempts, error.phase) == (2, "connect")


def test_time_to_connect_ends_with_the_connection() -> None:
    go = threading.Event()

    def handle(connection: Connection) -> None:
        connection.request()
        connection.wait(go)
        connection.send(answer())

    with RawServer(handle) as server, client_for(server.url) as client:
        timer = threading.Timer(0.6, go.set)  # beyond the time to connect
        timer.start()
        assert client.generate(TASK, timeout=Timeout(total=5, connect=0.1)) == ANSWER
        timer.join()


def test_deadline_before_the_time_to_connect() -> None:
    with FullListener() as listener, client_for(f"http://127.0.0.1:{listener.port}") as client:
        timeout = Timeout(total=0.3, connect=5)
        error = failure(client, APITimeoutError, timeout=timeout, after=0.3, within=1.3)
        assert (error.attempts, error.phase) == (1, "connect")
        assert "within the timeout of 0.3 s" in str(error)


def test_number_keeps_the_clients_time_to_connect() -> None:
    with FullListener() as listener:
        url = f"http://127.0.0.1:{listener.port}"
        timeout = Timeout(total=60, connect=0.2)
        with client_for(url, timeout=timeout, max_retries=0) as client:
            error = failure(client, APITimeoutError, timeout=30, after=0.2, within=1.2)
            assert "connect timeout of 0.2 s" in str(error)


# ---- Several threads on one client --------------------------------------------------------------


def in_thread(client: Client, results: list[Any], **options: Any) -> threading.Thread:
    def run() -> None:
        started = time.monotonic()
        try:
            result: Any = client.generate(TASK, **options)
        except Exception as error:
            result = error
        results.append((result, time.monotonic() - started))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_follower_ends_at_its_own_deadline() -> None:
    with RawServer(hold()) as server, client_for(server.url) as client:
        results: list[Any] = []
        leader = in_thread(client, results, timeout=2)
        server.wait_for_requests(1)
        follower = in_thread(client, results, timeout=0.3)
        follower.join()
        assert leader.is_alive()
        error, took = results[0]
        assert isinstance(error, APITimeoutError) and 0.3 <= took < 1.3, f"{took:.3f} s"
        leader.join()
        error, took = results[1]
        assert isinstance(error, APITimeoutError) and 2 <= took < 3, f"{took:.3f} s"


def test_follower_goes_on_when_the_leader_times_out() -> None:
    go = threading.Event()

    def later(connection: Connection) -> None:
        connection.request()
        connection.wait(go)
        connection.send(answer())

    with RawServer(hold(), later) as server, client_for(server.url) as client:
        results: list[Any] = []
        leader = in_thread(client, results, timeout=0.3)
        server.wait_for_requests(1)
        follower = in_thread(client, results, timeout=5)
        server.wait_for_requests(2)
        leader.join()
        assert follower.is_alive()
        go.set()
        follower.join()
        assert type(results[0][0]) is APITimeoutError
        assert results[1][0] == ANSWER


def test_many_deadlines_at_once() -> None:
    """Thirty threads on one client, each with a deadline of its own, none answered."""
    deadlines = [0.2 + 0.02 * n for n in range(30)]
    with RawServer(hold()) as server, client_for(server.url) as client:
        results: list[list[Any]] = [[] for _ in deadlines]
        threads = [
            in_thread(client, result, timeout=seconds)
            for seconds, result in zip(deadlines, results, strict=True)
        ]
        for thread in threads:
            thread.join()
        late = []
        for seconds, [(error, took)] in zip(deadlines, results, strict=True):
            assert type(error) is APITimeoutError
            late.append(took - seconds)
        assert min(late) >= 0 and max(late) < 1, f"from {min(late):.3f} to {max(late):.3f} s late"
