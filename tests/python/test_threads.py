"""One client in many threads, and the threads that nobody starts."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from one_call import KEY, TASK, client_of
from promptlathe import APIError, BadRequestError, Client, ClientClosedError, InternalServerError
from promptlathe.mock import Server

THREADS = 64
CALLS = 8

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc"
)


def together(work: Callable[[int], None], count: int = THREADS) -> None:
    """Run `work(0)` to `work(count - 1)` in threads of their own that begin at once."""
    gate = threading.Barrier(count)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            gate.wait(30)
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [thread for thread in threads if thread.is_alive()] == []
    if errors:
        raise errors[0]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A simulated service for the threads of one test; what its script raises is told.

    Not a fixture: those are shared by all threads in which a test is run.
    """
    with Server() as server:
        yield server
    assert server.errors == []


def text_of(result: Any) -> str:
    """The text of the first message's blocks."""
    return "".join(block["text"] for block in result["messages"][0]["content"])


def unique(*numbers: int) -> str:
    """A text that only one call sends and that templatize gives back as it is."""
    return "only " + "-".join(f"zz{n}zz" for n in numbers) + " here"


def assert_own(result: Any, text: str) -> None:
    """The answer renders to the text that this caller sent."""
    from promptlathe import render

    rendered = render(result, result["variable_values"], partial=True)
    assert text_of(rendered) == text


# ---- Every answer reaches its caller ------------------------------------------------------------


@pytest.mark.parametrize("shared", ["client", "copies", "raw"])
def test_64_threads_on_one_client(shared: str) -> None:
    with serving() as server:
        with client_of(server) as client:

            def work(thread: int) -> None:
                mine = client.with_options(timeout=20 + thread) if shared == "copies" else client
                for number in range(CALLS):
                    text = unique(thread, number)
                    if shared == "raw":
                        assert_own(mine.with_raw_response.templatize(text).data, text)
                    else:
                        assert_own(mine.templatize(text), text)

            together(work)
        assert len(server.requests) == THREADS * CALLS
        bodies = {request.body for request in server.requests}
        assert len(bodies) == THREADS * CALLS


def test_answers_that_come_in_another_order() -> None:
    """The one that leads may be answered last, and the others must not wait for it."""
    with serving() as server:
        events = [threading.Event() for _ in range(16)]
        done: list[int] = []

        def answer(request: Any) -> dict[str, Any]:
            return {"until": events[int(request.json["messages"][0]["content"][0]["text"])]}

        server.script([answer] * 16)
        results: dict[int, Any] = {}
        finished = threading.Condition()
        with client_of(server) as client:

            def work(number: int) -> None:
                results[number] = client.templatize(str(number))
                with finished:
                    done.append(number)
                    finished.notify_all()

            def release() -> None:
                server.wait_for_requests(16)
                for count, number in enumerate(
                    [15, 0, 7, 3, 12, 1, 14, 2, 13, 4, 11, 5, 10, 6, 9, 8]
                ):
                    events[number].set()
                    with finished:
                        assert finished.wait_for(lambda count=count: len(done) > count, 10)
                    assert done[-1] == number

            together(lambda n: release() if n == 16 else work(n), 17)
        assert sorted(results) == list(range(16))


def test_failures_reach_their_callers_too() -> None:
    """Each thread gets its own answer or its own error, whatever the others get."""

    with serving() as server:

        def answer(request: Any) -> dict[str, Any] | None:
            number = int(request.json["task"])
            body = {"type": "error", "error": {"type": "api_error", "message": f"no {number}"}}
            return {"status": 500, "body": body} if number % 3 == 0 else None

        server.script([answer] * THREADS)
        with client_of(server) as client:

            def work(number: int) -> None:
                if number % 3:
                    assert client.generate(str(number))["messages"]
                    return
                with pytest.raises(InternalServerError) as caught:
                    client.generate(str(number))
                assert caught.value.message == f"no {number}"

            together(work)


def test_short_deadlines_do_not_touch_the_others() -> None:
    """A thread that gives up hands the work on."""
    with serving() as server:
        go = threading.Event()
        server.script([{"until": go}] * 32)
        gave_up = threading.Semaphore(0)
        with client_of(server) as client:

            def work(number: int) -> None:
                if number % 2:
                    with pytest.raises(APIError):
                        client.generate(TASK, timeout=0.1 + number / 500)
                    gave_up.release()
                else:
                    assert client.generate(TASK)["messages"]

            def release() -> None:
                for _ in range(16):
                    assert gave_up.acquire(timeout=10)
                go.set()

            together(lambda n: release() if n == 32 else work(n), 33)


def test_two_clients_in_the_same_threads() -> None:
    """Each with its own key, address and connections."""
    with serving() as server:
        with Server() as other, client_of(server) as one:
            with Client("another-key", base_url=other.url) as two:

                def work(number: int) -> None:
                    for client in (one, two) if number % 2 else (two, one):
                        text = unique(number)
                        assert_own(client.templatize(text), text)

                together(work, 16)
            assert {r.headers["x-api-key"] for r in server.requests} == {KEY}
            assert {r.headers["x-api-key"] for r in other.requests} == {"another-key"}
            assert len(server.requests) == len(other.requests) == 16


def test_connections_are_used_again() -> None:
    """Each is free again before its caller has the answer, and stays when fewer are in use."""
    with serving() as server, client_of(server) as client:
        for _ in range(20):
            client.generate(TASK)
        assert server.connections == 1
        for count in (8, 1, 8, 3, 8):  # at once
            go = threading.Event()
            before = len(server.requests)
            server.script([{"until": go}] * count)

            def work(number: int, go: threading.Event = go, all_of: int = before + count) -> None:
                if number:
                    client.generate(TASK)
                    return
                server.wait_for_requests(all_of)
                go.set()

            together(work, count + 1)
            assert server.connections == 8
        together(lambda n: [client.generate(TASK) for _ in range(4)] and None, 8)
        assert server.connections == 8


@pytest.mark.thread_unsafe(reason="it measures how soon the waiting calls end")
@pytest.mark.fault("Process", "close during calls of 64 threads", ends="ClientClosedError")
def test_close_while_64_threads_wait() -> None:
    with serving() as server:
        never = threading.Event()
        server.script([{"until": never}] * THREADS)
        client = client_of(server, max_retries=2)
        ended: list[float] = []
        closed: list[float] = []

        def work(number: int) -> None:
            if number == THREADS:
                server.wait_for_requests(THREADS)
                closed.append(time.monotonic())
                client.close()
                return
            with pytest.raises(ClientClosedError):
                client.generate(TASK)
            ended.append(time.monotonic())

        together(work, THREADS + 1)
        never.set()
        assert len(ended) == THREADS and max(ended) - closed[0] < 1.0


def test_threads_that_close_while_others_begin() -> None:
    """Every call ends in its answer or in ClientClosedError, whoever comes first."""
    with serving() as server:
        for _ in range(10):
            client = client_of(server)
            outcomes: list[str] = []

            def work(number: int, client: Client = client, outcomes: list[str] = outcomes) -> None:
                if number == 0:
                    client.close()
                    return
                try:
                    outcomes.append("answer" if client.generate(TASK)["messages"] else "nothing")
                except ClientClosedError:
                    outcomes.append("closed")

            together(work, 8)
            assert len(outcomes) == 7 and set(outcomes) <= {"answer", "closed"}


# ---- No thread is started -----------------------------------------------------------------------

COUNTED = """
import os, sys
modules = set(sys.modules)
count = lambda: len(os.listdir("/proc/self/task"))
seen = [count()]
import promptlathe
seen.append(count())
client = promptlathe.Client("key", base_url=sys.argv[1], max_retries=1)
seen.append(count())
client.generate("one")
seen.append(count())
for number in range(20):
    client.templatize("Translate hello to German")
    seen.append(count())
try:
    client.generate("fails", timeout=0.05)
except promptlathe.APITimeoutError:
    seen.append(count())
client.close()
assert not {"threading", "_threading_local", "queue"} & (set(sys.modules) - modules)
print(sorted(set(seen)))
"""


@needs_proc
def test_no_thread_is_started(promptlathe_server: Server) -> None:
    """Neither by import nor by a client nor by calls; an address needs no name look-up."""
    promptlathe_server.script([None] * 21 + [{"delay": 2}])
    done = subprocess.run(
        [sys.executable, "-c", COUNTED, promptlathe_server.url],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("[1]\n", "")


@needs_proc
def test_no_thread_is_started_for_many_callers(promptlathe_server: Server) -> None:
    """Only the threads of this test and of the simulated service are there."""
    counts: list[int] = []
    go = threading.Event()
    promptlathe_server.script([{"until": go}] * 8)
    ours = {thread.native_id for thread in threading.enumerate()}

    def work(number: int) -> None:
        if number < 8:
            client.generate(TASK)
            return
        promptlathe_server.wait_for_requests(8)
        known = {thread.native_id for thread in threading.enumerate()}
        counts.append(len({int(task) for task in os.listdir("/proc/self/task")} - known - ours))
        go.set()

    with client_of(promptlathe_server) as client:
        together(work, 9)
    assert counts == [0]


# ---- Logging ------------------------------------------------------------------------------------


Logged = Callable[[int], list[str]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Logged]:
    """A function that gives the messages of one level so far."""

    def of_level(level: int) -> list[str]:
        records = [r for r in caplog.records if r.name == "promptlathe" and r.levelno == level]
        return [record.getMessage() for record in records]

    with caplog.at_level(logging.DEBUG, "promptlathe"):
        yield of_level


def test_a_call_is_logged(promptlathe_server: Server, logged: Logged) -> None:
    """INFO per call, DEBUG per attempt; no body, no key."""
    with client_of(promptlathe_server) as client:
        client.generate(TASK)
    (call,) = logged(logging.INFO)
    (attempt,) = logged(logging.DEBUG)
    assert logged(logging.WARNING) == []
    identity = promptlathe_server.requests[0].request_id
    assert "generate: ok, status 200, 1 attempt," in call and identity in call
    assert "attempt 1: status 200" in attempt and identity in attempt
    assert TASK not in call + attempt and KEY not in call + attempt


def test_retries_are_logged_while_the_call_waits(
    promptlathe_server: Server, logged: Logged
) -> None:
    """WARNING per retry, before the next attempt is made."""
    again = {"headers": {"retry-after-ms": "40"}}
    known: list[int] = []

    def look(request: Any) -> None:
        known.append(len(logged(logging.WARNING)))

    promptlathe_server.script([{"status": 503, **again}, {"close": True}, look])
    with client_of(promptlathe_server, max_retries=2) as client:
        client.generate(TASK)
    first, second = logged(logging.WARNING)
    assert "attempt 1 failed (status 503)" in first and "0.04" in first
    assert "attempt 2 failed (no answer" in second
    assert known == [2]
    assert len(logged(logging.DEBUG)) == 3
    (call,) = logged(logging.INFO)
    assert "ok" in call and "3 attempts" in call


@pytest.mark.parametrize(
    ("step", "name", "status"),
    [
        ({"status": 429}, "RateLimitError", "429"),
        ({"body": "no JSON"}, "APIResponseValidationError", "200"),
        ({"status": 204}, "APIResponseValidationError", "204"),
        ({"close": True}, "APIConnectionError", "None"),
        ({"delay": 2}, "APITimeoutError", "None"),
    ],
)
def test_failures_are_logged(
    promptlathe_server: Server,
    logged: Logged,
    step: dict[str, Any],
    name: str,
    status: str,
) -> None:
    promptlathe_server.script([step])
    with client_of(promptlathe_server) as client, pytest.raises(APIError):
        client.generate(TASK, timeout=0.3)
    (call,) = logged(logging.INFO)
    assert f"generate: {name}, status {status}, 1 attempt," in call


def test_bodies_are_logged_when_asked_for(promptlathe_server: Server, logged: Logged) -> None:
    with client_of(promptlathe_server, log_bodies=True) as client:
        client.templatize("Translate hello to German")
        client.with_options(timeout=5).generate(TASK)
    text = "\n".join(logged(logging.DEBUG))
    assert "Translate hello to German" in text and "TARGET_LANGUAGE" in text and TASK in text
    assert KEY not in text


def test_bodies_of_errors_are_logged_too(promptlathe_server: Server, logged: Logged) -> None:
    promptlathe_server.script([{"status": 400, "body": "zeppelin"}])
    with client_of(promptlathe_server, log_bodies=True) as client:
        with pytest.raises(BadRequestError):
            client.generate(TASK)
    assert any("zeppelin" in line for line in logged(logging.DEBUG))


def test_nothing_is_logged_when_the_level_says_so(
    promptlathe_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "promptlathe"), client_of(promptlathe_server) as client:
        client.generate(TASK)
    assert [r for r in caplog.records if r.name == "promptlathe"] == []


def test_a_handler_that_raises_ends_the_call_alone(promptlathe_server: Server) -> None:
    """The error is the handler's own; the client stays usable and loses no connection state."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ZeroDivisionError

    logger, handler = logging.getLogger("promptlathe"), Broken()
    level = logger.level
    with client_of(promptlathe_server) as client:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            with pytest.raises(ZeroDivisionError):
                client.generate(TASK)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
        assert client.generate(TASK)["messages"]


def test_logging_from_64_threads(promptlathe_server: Server, logged: Logged) -> None:
    with client_of(promptlathe_server) as client:
        together(lambda n: client.generate(TASK) and None)
    assert len(logged(logging.INFO)) == THREADS
    assert len(logged(logging.DEBUG)) == THREADS
