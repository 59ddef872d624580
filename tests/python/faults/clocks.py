"""Calls while the wall clock is set, in a Python that clock.c is loaded into:
``python -m faults.clocks WAY SECONDS``. It says the name of each that has ended as it must.

The server's own clock stands still in its headers; gaps are measured by the clock that nobody sets.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import threading
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest
from promptlathe import APITimeoutError, RateLimitError, Timeout

from faults.outcome import TASK, WAYS, Way, failure
from faults.raw_server import ANSWER, Connection, FullListener, Handler, RawServer, answer
from faults.test_interrupt import unanswered_syns

WAY, SHIFT = WAYS[sys.argv[1]], int(sys.argv[2])
DATE = "date: Sun, 06 Nov 1994 08:49:37 GMT"
SECOND_LATER = "Sun, 06 Nov 1994 08:49:38 GMT"
SPARE = 1.0  # seconds that a busy machine may take
shift = ctypes.c_longlong.in_dll(ctypes.CDLL(None), "clock_shift")


def set_clock(seconds: int) -> None:
    """So many seconds on or back from the true time; it must be seen to be so."""
    was, true = shift.value, time.time() - shift.value
    shift.value = seconds
    assert abs(time.time() - true - seconds) < 3600, (was, seconds)


def sets_clock(*responses: bytes) -> Handler:
    """Answer the requests of a connection in turn, the last one to all others. The clock is set
    while the first of them waits for its answer."""

    def handle(connection: Connection) -> None:
        for response in itertools.chain(responses, itertools.repeat(responses[-1])):
            connection.request()
            set_clock(SHIFT)
            connection.send(response)

    return handle


def answered_after(response: bytes, least: float, most: float, retries: int = 1) -> None:
    """The first request is answered so, and the second one comes so many seconds later."""
    with RawServer(sets_clock(response, answer())) as server:
        with WAY(server.url, timeout=20, max_retries=retries) as client:
            if not retries:
                first(client)
            assert client.generate(TASK) == ANSWER
        one, two = server.requests
        assert least <= two.at - one.at <= most + SPARE, f"{two.at - one.at:.3f} s"


def first(client: Way) -> None:
    """A call by which the client learns of limits or of a refusal."""
    try:
        assert client.generate(TASK) == ANSWER
    except RateLimitError as error:
        assert error.attempts == 1


# ---- What must not notice -----------------------------------------------------------------------


def deadline() -> None:
    def handle(connection: Connection) -> None:
        connection.request()
        set_clock(SHIFT)
        connection.until_closed()

    with RawServer(handle) as server, WAY(server.url) as client:
        error = failure(client, APITimeoutError, timeout=0.4, after=0.4, within=0.4 + SPARE)
        assert (error.phase, error.attempts) == ("wait", 1)


def time_to_connect() -> None:
    with FullListener() as listener:
        waiting = unanswered_syns(listener.port)

        def set_it_then() -> None:
            pause = threading.Event()  # the kernel tells nobody: look again and again
            while unanswered_syns(listener.port) == waiting:
                pause.wait(0.005)
            set_clock(SHIFT)

        thread = threading.Thread(target=set_it_then)
        with WAY(f"http://127.0.0.1:{listener.port}", max_retries=0) as client:
            thread.start()
            timeout = Timeout(total=20, connect=0.4)
            error = failure(client, APITimeoutError, timeout=timeout, after=0.4, within=0.4 + SPARE)
            thread.join()
            assert (error.phase, error.attempts) == ("connect", 1)


def answer_in_time() -> None:
    """It comes after the clock is set, and within the time."""
    with RawServer(sets_clock(answer())) as server, WAY(server.url) as client:
        assert client.generate(TASK) == ANSWER


def kept_connection() -> None:
    """Between two calls that one connection serves, there and back."""
    with RawServer(sets_clock(answer())) as server, WAY(server.url, max_retries=0) as client:
        assert client.generate(TASK) == ANSWER
        assert client.generate(TASK) == ANSWER
        set_clock(0)
        assert client.generate(TASK) == ANSWER
        if sys.argv[1] != "map":  # whose connections are for a map each, at first
            assert len(server.connections) == 1


def back_off() -> None:
    answered_after(answer(500, b"{}"), 0.375, 0.5)


def hint_in_seconds() -> None:
    answered_after(answer(429, b"{}", ["retry-after: 0.3"]), 0.3, 0.36)


def hint_as_a_date() -> None:
    answered_after(answer(429, b"{}", [DATE, f"retry-after: {SECOND_LATER}"]), 1, 1.2)


def closed_gate() -> None:
    """A refusal holds the next call back for as long as it says."""
    answered_after(answer(429, b"{}", ["retry-after: 0.3"]), 0.3, 0.36, retries=0)


def used_up_limit() -> None:
    """Nothing is left until the reset, a second later by the server's clock."""
    told = {"limit": 1000, "remaining": 0, "reset": "1994-11-06T08:49:38Z"}
    headers = [f"anthropic-ratelimit-requests-{name}: {value}" for name, value in told.items()]
    answered_after(answer(headers=[DATE, *headers]), 0.99, 3, retries=0)


# ---- What goes by the wall clock, because there is no other -------------------------------------


def hint_as_a_date_without_the_services_clock() -> None:
    """Only the machine's own clock tells how far away it is."""
    then = formatdate(time.time() + 60, usegmt=True)
    response = answer(429, b"{}", [f"retry-after: {then}"])
    with RawServer(sets_clock(response)) as server, WAY(server.url, max_retries=0) as client:
        hint = failure(client, RateLimitError).retry_after
        assert hint is None if SHIFT > 0 else hint == pytest.approx(60 - SHIFT, abs=SPARE + 5)


SCENES: list[Callable[[], None]] = [
    deadline, time_to_connect, answer_in_time, kept_connection, back_off, hint_in_seconds,
    hint_as_a_date, closed_gate, used_up_limit, hint_as_a_date_without_the_services_clock,
]  # fmt: skip

if __name__ == "__main__":
    for scene in SCENES:
        set_clock(0)
        scene()
        print(scene.__name__, flush=True)
