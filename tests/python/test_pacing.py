"""Pacing: what answers tell of limits and refusals holds calls back, and nothing else does."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any

import pytest
from faults.raw_server import Connection, Handler, RawServer, answer
from faults.test_interrupt import interrupted
from one_call import KEY, TASK
from promptlathe import (
    APITimeoutError,
    AsyncClient,
    Client,
    ClientClosedError,
    OverloadedError,
    RateLimitError,
    Timeout,
)
from quota_run import Outcome, Plan, run

HELD = 0.3  # seconds of a hint that has to be waited for
PATIENCE = 30.0
SOONER = 4.0  # seconds, before a call would go for all that the limits say

Response = Callable[[], bytes]


def script(*responses: Response) -> Handler:
    """Answer the requests of all connections with these in turn, then again and again the last."""
    left = itertools.chain(responses, itertools.repeat(responses[-1]))

    def handle(connection: Connection) -> None:
        while True:
            connection.request()
            connection.send(next(left)())

    return handle


def ask(number: int, **options: Any) -> dict[str, Any]:
    return {"verb": "generate", "task": f"{TASK} {number}", **options}


def client_of(server: RawServer, **options: Any) -> Client:
    options.setdefault("max_retries", 0)
    return Client(KEY, base_url=server.url, **{"timeout": PATIENCE, **options})


def async_client_of(server: RawServer, **options: Any) -> AsyncClient:
    options.setdefault("max_retries", 0)
    return AsyncClient(KEY, base_url=server.url, **{"timeout": PATIENCE, **options})


# ---- What a service tells -----------------------------------------------------------------------


def well() -> bytes:
    return answer()


def refusal(*hint: str, status: int = 429) -> Response:
    return lambda: answer(status, headers=hint)


def limits(
    limit: object, remaining: object, reset: float | str, kind: str = "requests"
) -> Response:
    """An answer with limits; `reset` is in seconds from then, or as it is to be written."""

    def respond() -> bytes:
        at = reset
        if not isinstance(at, str):
            then = datetime.now(UTC) + timedelta(seconds=at)
            at = then.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
        values = {"limit": limit, "remaining": remaining, "reset": at}
        told = [f"anthropic-ratelimit-{kind}-{name}: {value}" for name, value in values.items()]
        return answer(headers=[f"date: {formatdate(usegmt=True)}", *told])

    return respond


def used_up() -> bytes:
    """Nothing is left for a minute."""
    return limits(50, 0, 60)()


@pytest.fixture
def closed() -> Iterator[tuple[RawServer, Client]]:
    """A client whose gate is closed for a minute, and its server, which answers well."""
    with RawServer(script(refusal("retry-after: 60"), well)) as server:
        with client_of(server) as client:
            with pytest.raises(RateLimitError):
                client.generate(TASK)
            yield server, client


# ---- What is shown ------------------------------------------------------------------------------

RESET = "2026-11-22T10:30:00Z"
SHOWN = {"requests": {"limit": 50, "remaining": 49, "reset": RESET}}


def test_the_limits_that_a_map_was_told_are_shown() -> None:
    with RawServer(script(limits(50, 49, RESET))) as server, client_of(server) as client:
        copy = client.with_options(timeout=5)
        assert client.rate_limits == {}
        list(client.map(ask(number) for number in range(3)))
        assert client.rate_limits == copy.rate_limits == SHOWN


def test_the_limits_that_an_async_client_was_told_are_shown() -> None:
    async def work(client: AsyncClient) -> None:
        async with client:
            copy = client.with_options(timeout=5)
            await client.generate(TASK)
            assert client.rate_limits == copy.rate_limits == SHOWN

    with RawServer(script(limits(50, 49, RESET))) as server:
        asyncio.run(work(async_client_of(server)))


def test_the_newest_answer_counts() -> None:
    answers = [limits(50, 9, RESET), limits(50, 49, RESET), well]
    with RawServer(script(*answers)) as server, client_of(server) as client:
        for _ in range(3):
            client.generate(TASK)
        assert client.rate_limits == SHOWN


# ---- Refusals -----------------------------------------------------------------------------------


def all_waited(server: RawServer, count: int) -> bool:
    """Whether that many requests came, and none before the hint of the first was over."""
    first, *rest = server.requests
    assert len(rest) == count
    return min(request.at for request in rest) >= first.at + HELD


@pytest.mark.parametrize("status", [429, 529])
def test_a_refusal_holds_everybody_back(status: int) -> None:
    answers = script(refusal(f"retry-after-ms: {HELD * 1000:g}", status=status), well)
    with RawServer(answers) as server, client_of(server) as client:
        with pytest.raises((RateLimitError, OverloadedError)):
            client.generate(TASK)
        copy = client.with_options(timeout=20)
        works: list[Callable[[], Any]] = [
            lambda: client.generate(TASK),
            lambda: copy.improve(TASK),
            lambda: list(client.map(map(ask, range(2)))),
            lambda: list(copy.map(map(ask, range(2)), concurrency=1)),
        ]
        with ThreadPoolExecutor(len(works)) as pool:
            for done in [pool.submit(work) for work in works]:
                done.result()
        assert all_waited(server, 6)


def test_a_refusal_holds_an_async_client_back() -> None:
    async def work(client: AsyncClient) -> None:
        async with client:
            with pytest.raises(RateLimitError):
                await client.generate(TASK)
            copy = client.with_options(timeout=20)
            await asyncio.gather(client.generate(TASK), copy.improve(TASK))
            assert len([result async for result in copy.map(map(ask, range(2)))]) == 2

    answers = script(refusal(f"retry-after-ms: {HELD * 1000:g}"), well)
    with RawServer(answers) as server:
        asyncio.run(work(async_client_of(server)))
        assert all_waited(server, 4)


def test_a_refusal_holds_other_event_loops_back() -> None:
    answers = script(refusal(f"retry-after-ms: {HELD * 1000:g}"), well)
    with RawServer(answers) as server:
        client = async_client_of(server)

        async def refused() -> None:
            with pytest.raises(RateLimitError):
                await client.generate(TASK)

        asyncio.run(refused())
        asyncio.run(client.generate(TASK))
        asyncio.run(client.close())
        assert all_waited(server, 1)


@pytest.mark.parametrize("hint", ["retry-after: 121", "retry-after: 86400", "retry-after: 1e9"])
def test_a_hint_of_more_than_two_minutes_closes_nothing(hint: str) -> None:
    with RawServer(script(refusal(hint), well)) as server:
        with client_of(server, timeout=SOONER) as client:
            with pytest.raises(RateLimitError):
                client.generate(TASK)
            client.generate(TASK)
            assert len(list(client.map(map(ask, range(20))))) == 20


def test_without_a_hint_nothing_is_closed() -> None:
    with RawServer(script(refusal())) as server, client_of(server, timeout=SOONER) as client:
        for _ in range(30):
            with pytest.raises(RateLimitError):
                client.generate(TASK)


@pytest.mark.timing
def test_hints_of_a_millisecond_hold_nobody_longer() -> None:
    with RawServer(script(refusal("retry-after-ms: 1", status=529))) as server:
        with client_of(server, max_retries=2) as client:
            began = time.monotonic()
            for _ in range(50):
                with pytest.raises(OverloadedError):
                    client.generate(TASK)
            assert time.monotonic() - began < 5
            assert len(server.requests) == 150


# ---- Limits -------------------------------------------------------------------------------------


@pytest.mark.timing
def test_plenty_slows_nobody_down() -> None:
    def seconds(response: Response) -> float:
        with RawServer(script(response)) as server, client_of(server) as client:
            client.generate(TASK)
            began = time.monotonic()
            for _ in range(200):
                client.generate(TASK)
            return time.monotonic() - began

    untold = seconds(well)
    assert seconds(limits(100_000, 99_000, 30)) < 3 * untold + 1


def test_when_nothing_is_left_the_reset_is_waited_for() -> None:
    with RawServer(script(limits(1000, 0, 1), limits(1000, 999, 1))) as server:
        with client_of(server) as client:
            client.generate(TASK)
            list(client.map(map(ask, range(20))))
        first, second, *_ = server.requests
        assert 0.99 <= second.at - first.at < PATIENCE  # two clocks, one in milliseconds


ABSURD = {
    "a reset in the past": limits(50, 0, -60),
    "the year 9999": limits(50, 0, "9999-12-31T23:59:59Z"),
    "the year 1": limits(50, 0, "0001-01-01T00:00:00Z"),
    "in three minutes": limits(50, 0, 180),
    "a reset that is no time": limits(50, 0, "soon"),
    "a reset in seconds": limits(50, 0, "30"),
    "a limit of 0": limits(0, 0, 30),
    "remaining below 0": limits(50, -1, 30),
    "no numbers": limits("plenty", "all of it", 30),
    "fractions": limits(50.5, 0.5, 30),
    "beyond 64 bits": limits(10**30, 10**30, 30),
    "10^18": limits(10**18, 10**18, 30),
    "10^17": limits(10**17, 10**17, 30),
    "a limit of 10^30 alone": limits(10**30, 10**17, 30),
    "nothing": limits("", "", ""),
}


@pytest.mark.parametrize("what", ABSURD)
def test_absurd_limits_hold_nobody(what: str) -> None:
    with RawServer(script(ABSURD[what])) as server:
        with client_of(server, timeout=SOONER) as client:
            for _ in range(5):
                client.generate(TASK)
            assert len(list(client.map(map(ask, range(50))))) == 50


# ---- Calls that are held ------------------------------------------------------------------------


def assert_never_sent(error: APITimeoutError) -> None:
    assert (error.phase, error.attempts) == ("queue", 0)
    assert str(error).endswith("the call waited for its turn and was not sent (phase queue)")
    assert set(error.times.values()) == {None}


@pytest.mark.parametrize("first", [used_up, refusal("retry-after: 60")])
def test_a_held_call_has_a_deadline(first: Response) -> None:
    with RawServer(script(first, well)) as server, client_of(server) as client:
        list(client.map([ask(0)], return_exceptions=True))
        with pytest.raises(APITimeoutError) as caught:
            client.generate(TASK, timeout=0.2)
        assert_never_sent(caught.value)
        for error in client.map((ask(n, timeout=0.2) for n in range(3)), return_exceptions=True):
            assert isinstance(error, APITimeoutError)
            assert_never_sent(error)
        assert len(server.requests) == 1


def test_a_held_call_is_cancelled() -> None:
    async def work(client: AsyncClient) -> None:
        async with client:
            with pytest.raises(RateLimitError):
                await client.generate(TASK)
            with pytest.raises(APITimeoutError) as caught:
                await client.generate(TASK, timeout=0.2)
            assert_never_sent(caught.value)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.generate(TASK), 0.1)
            held = asyncio.create_task(client.generate(TASK))
            await asyncio.sleep(0)
            held.cancel()
            with pytest.raises(asyncio.CancelledError):
                await held

    with RawServer(script(refusal("retry-after: 60"), well)) as server:
        asyncio.run(asyncio.wait_for(work(async_client_of(server)), PATIENCE))
        assert len(server.requests) == 1


def test_a_cancelled_task_makes_room_for_one_that_is_held() -> None:
    """A refusal leaves room for one at a time; nobody but the cancelled task could make it."""

    async def work(server: RawServer, client: AsyncClient) -> None:
        async with client:
            with pytest.raises(RateLimitError):
                await client.generate(TASK)
            running, held = (asyncio.create_task(client.generate(TASK)) for _ in range(2))
            await asyncio.to_thread(server.wait_for_requests, 2)
            await asyncio.sleep(0.5)  # timers of libcurl's would hide that nothing else wakes it
            running.cancel()
            await asyncio.wait_for(held, PATIENCE / 2)

    first = threading.Lock()

    def handle(connection: Connection) -> None:
        connection.request()
        if len(server.requests) == 1:
            connection.send(answer(429))
            connection.request()
        if first.acquire(blocking=False):
            connection.until_closed()
        connection.send(answer())

    with RawServer(handle) as server:
        unhurried = Timeout(2 * PATIENCE, connect=2 * PATIENCE)  # nor does that timer hide it
        asyncio.run(work(server, async_client_of(server, timeout=unhurried)))
        assert len(server.requests) == 3


def test_closing_ends_a_held_call(closed: tuple[RawServer, Client]) -> None:
    server, client = closed
    copy = client.with_options(timeout=PATIENCE)
    with ThreadPoolExecutor(2) as pool:
        waits = [pool.submit(copy.generate, TASK), pool.submit(next, copy.map([ask(1)]))]
        threading.Event().wait(0.2)  # nobody tells when a call is held; before is right, too
        client.close()
        for wait in waits:
            with pytest.raises(ClientClosedError):
                wait.result(PATIENCE)
    assert len(server.requests) == 1


@pytest.mark.fault(
    "Process", "Ctrl-C in a call that pacing holds back", ends="KeyboardInterrupt; nothing was sent"
)
def test_ctrl_c_ends_a_held_call(closed: tuple[RawServer, Client]) -> None:
    server, client = closed
    pause = threading.Event()  # nobody tells when a call is held; before is right, too
    with interrupted(lambda: pause.wait(0.2)):
        client.generate(TASK)
    with interrupted(lambda: pause.wait(0.2)):
        list(client.map(map(ask, range(5))))
    assert len(server.requests) == 1


def test_a_fork_s_child_begins_with_an_open_gate(closed: tuple[RawServer, Client]) -> None:
    server, client = closed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if not child:
        status = 1
        try:
            client.generate(TASK, timeout=SOONER)
            list(client.map([ask(0)]))
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(server.requests) == 3
    with pytest.raises(APITimeoutError) as caught:
        client.generate(TASK, timeout=0.2)
    assert_never_sent(caught.value)


# ---- All of it ----------------------------------------------------------------------------------


@pytest.mark.timing
def test_what_a_run_reaches() -> None:
    """In short minutes; benchmarks/pacing.py is the whole of it."""
    plans = [
        Plan(1, "window", "tokens", quota=750, minute=10),
        Plan(4, "bucket", "requests", quota=750, minute=10),
    ]
    with ThreadPoolExecutor(len(plans)) as pool:
        outcomes: list[Outcome] = list(pool.map(run, plans))
    assert all(outcome.good for outcome in outcomes), outcomes
    assert not any(outcome.failed for outcome in outcomes), outcomes
