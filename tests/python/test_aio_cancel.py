"""Cancelling under asyncio: the transfer ends at once, and nothing is left of it.

By Ctrl-C: tests/python/processes/test_ctrl_c.py.
"""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from canned import Canned
from faults import raw_server
from faults.conftest import descriptors
from faults.raw_server import PATIENCE, RawServer, hold, serve
from one_call import KEY, TASK
from promptlathe import APIError, AsyncClient, _core


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    gc.collect()  # what other tests have left in cycles
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() - before == set()
    ours = (_core.Loop, _core.Pending, _core.Client)
    assert [thing for thing in gc.get_objects() if type(thing) in ours] == []


def client_of(server: RawServer, **options: Any) -> AsyncClient:
    options.setdefault("max_retries", 0)
    return AsyncClient(KEY, base_url=server.url, timeout=20, **options)


async def came(server: RawServer, count: int) -> None:
    await asyncio.to_thread(server.wait_for_requests, count)


async def gone(server: RawServer, index: int = 0) -> None:
    closed = server.connections[index].closed
    assert await asyncio.to_thread(closed.wait, PATIENCE)


async def by_cancel(call: Any, server: RawServer) -> None:
    task = asyncio.create_task(call)
    await came(server, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_wait_for(call: Any, server: RawServer) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.3)


async def by_timeout(call: Any, server: RawServer) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await call


async def by_task_group(call: Any, server: RawServer) -> None:
    async def fail() -> None:
        await came(server, 1)
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            group.create_task(call)
            group.create_task(fail())
    assert [type(each) for each in caught.value.exceptions] == [LookupError]


async def by_gather(call: Any, server: RawServer) -> None:
    both = asyncio.gather(call, asyncio.sleep(60))
    await came(server, 1)
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both


@pytest.mark.parametrize("how", [by_cancel, by_wait_for, by_timeout, by_task_group, by_gather])
@pytest.mark.fault(
    "Process",
    "asyncio: cancel, wait_for, timeout, TaskGroup, gather",
    ends="the call is cancelled and its connection closed; the client goes on",
)
def test_the_server_sees_the_connection_go_and_others_go_on(how: Any) -> None:
    with RawServer(hold(), serve) as server:

        async def main() -> None:
            async with client_of(server) as client:
                await how(client.generate(TASK), server)
                await gone(server)
                assert (await client.generate(TASK))["messages"]

        asyncio.run(main())


def refuse_slowly(connection: raw_server.Connection) -> None:
    connection.request()
    connection.send(raw_server.answer(503, b"{}", ["retry-after: 60"]))
    connection.until_closed()


@pytest.mark.parametrize("handler", [hold(), hold(b"HTTP/1.1 200"), refuse_slowly])
def test_in_every_state_of_a_call(handler: raw_server.Handler) -> None:
    """Waiting, reading, and between two attempts."""
    with RawServer(handler) as server:

        async def main() -> None:
            client = client_of(server, max_retries=2)
            client = client.with_options(timeout=100)
            await by_cancel(client.generate(TASK), server)
            await client.close()

        asyncio.run(main())


def test_before_anything_is_sent() -> None:
    with RawServer(serve) as server:

        async def main() -> None:
            async with client_of(server) as client:
                tasks = [asyncio.create_task(client.generate(TASK)) for _ in range(5)]
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                assert all(task.cancelled() for task in tasks)
                await client.generate(TASK)

        asyncio.run(main())
        assert len(server.requests) == 1


def test_a_result_that_comes_with_the_cancel_is_dropped() -> None:
    """The answer is there, and the task is cancelled before it is looked at."""
    sent = threading.Event()

    def answer(connection: raw_server.Connection) -> None:
        connection.request()
        connection.send(raw_server.answer())
        sent.set()
        serve(connection)

    with RawServer(answer) as server:

        async def main() -> None:
            async with client_of(server) as client:
                task = asyncio.create_task(client.generate(TASK))
                await asyncio.sleep(0)
                assert sent.wait(PATIENCE)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert (await client.generate(TASK))["messages"]

        asyncio.run(main())


def test_a_closed_coroutine_cancels_its_call() -> None:
    """As the collector does it, and from another thread as well."""
    with RawServer(hold(), hold(), serve) as server:

        async def main() -> None:
            async with client_of(server) as client:
                for index, elsewhere in enumerate((False, True)):
                    coroutine = client.generate(TASK)
                    coroutine.send(None)
                    await asyncio.sleep(0.05)
                    await came(server, index + 1)
                    if elsewhere:
                        await asyncio.to_thread(coroutine.close)
                    else:
                        coroutine.close()
                    await gone(server, index)
                assert (await client.generate(TASK))["messages"]

        asyncio.run(main())


def test_a_call_is_awaited_once_and_by_one() -> None:
    """What the methods await refuses a second wait as a coroutine does, and the first goes on."""

    async def main(server: RawServer) -> None:
        async with client_of(server) as client:
            call = client._call(0, False, (TASK, None, ..., ..., (), None, ..., ..., ..., ...))
            with pytest.raises(RuntimeError, match="not awaited"):
                next(call)

            async def wait() -> Any:
                return await call

            first, second = await asyncio.gather(wait(), wait(), return_exceptions=True)
            assert first["messages"]
            assert "already awaited" in str(second)
            with pytest.raises(RuntimeError, match="already awaited"):
                await call

    with RawServer(serve) as server:
        asyncio.run(main(server))


@pytest.mark.parametrize("end", ["throw", "close"])
def test_what_ends_a_wait_cancels_the_call(end: str) -> None:
    """Whoever drives coroutines otherwise than asyncio's tasks: by the methods of an iterator."""

    async def main(server: RawServer) -> None:
        async with client_of(server) as client:
            call = client._call(0, False, (TASK, None, ..., ..., (), None, ..., ..., ..., ...))
            wait = iter(call.__await__())
            assert asyncio.isfuture(next(wait))
            await came(server, 1)
            if end == "throw":
                with pytest.raises(KeyError, match="mine"):
                    call.throw(KeyError("mine"))
            else:
                call.close()
            await gone(server)

    with RawServer(hold()) as server:
        asyncio.run(main(server))


def test_a_thousand_calls_cancelled_at_random() -> None:
    """Each task ends as it was told to; nobody else's result is lost; all is given back."""
    chance = random.Random(4)

    async def one(client: AsyncClient, index: int) -> str:
        task = asyncio.create_task(client.generate(f"task {index}"))
        kept = index % 3 == 0
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(chance.choice([0, 0, 0.001]))
        if not kept:
            task.cancel()
        try:
            result = await task
        except asyncio.CancelledError:
            assert not kept
            return "cancelled"
        return "done" if result["messages"] else "empty"

    async def main(url: str) -> None:
        async with AsyncClient(KEY, base_url=url, timeout=30) as client:
            ended: list[str] = []
            for start in range(0, 1000, 50):
                calls = (one(client, index) for index in range(start, start + 50))
                ended += await asyncio.gather(*calls)
            assert set(ended[::3]) == {"done"}
            assert ended.count("cancelled") > 50
            assert len(asyncio.all_tasks()) == 1

    with Canned() as server:
        asyncio.run(main(server.url("good-2000")))


def test_failures_beside_cancels() -> None:
    """Calls that fail at once, some while others are being cancelled."""

    async def main(url: str) -> None:
        async with AsyncClient(KEY, base_url=url, max_retries=0, timeout=30) as client:
            tasks = [asyncio.create_task(client.generate(TASK)) for _ in range(200)]
            for task in tasks[::2]:
                await asyncio.sleep(0)
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = asyncio.CancelledError | APIError
        assert all(isinstance(each, kinds) for each in ended)

    with Canned() as server:
        asyncio.run(main(server.url("reset")))
    asyncio.run(main(f"http://127.0.0.1:{raw_server.refused_port()}"))
