"""AsyncClient and event loops: many at once and one after another, and their ends in any order."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faults import raw_server
from faults.conftest import descriptors
from one_call import KEY, TASK
from promptlathe import AsyncClient, ClientClosedError, _core
from promptlathe.mock import Server

try:
    import uvloop
except ImportError:  # pragma: no cover
    uvloop = None  # type: ignore[assignment]

if uvloop is not None:
    uvloop.new_event_loop().close()  # what libuv keeps for good is open from here on

needs_uvloop = pytest.mark.skipif(
    uvloop is None, reason="uvloop is not installed: it has no wheel for this Python yet"
)

Factory = Callable[[], asyncio.AbstractEventLoop]
FACTORIES = [
    pytest.param(asyncio.new_event_loop, id="asyncio"),
    pytest.param(getattr(uvloop, "new_event_loop", None), id="uvloop", marks=needs_uvloop),
]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No descriptor, and no engine, whatever ended first."""
    gc.collect()  # what other tests have left in cycles
    before = descriptors()
    yield
    gc.collect()
    assert descriptors() - before == set()
    assert engines() == []


def engines() -> list[Any]:
    return [thing for thing in gc.get_objects() if isinstance(thing, _core.Loop)]


def client_of(server: Any, **options: Any) -> AsyncClient:
    options.setdefault("max_retries", 0)
    return AsyncClient(KEY, base_url=server.url, timeout=20, **options)


def run_in(factory: Factory, main: Any) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


# ---- Many loops ---------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", FACTORIES)
def test_two_runs_in_a_row_keep_the_connection(
    promptlathe_server: Server, factory: Factory
) -> None:
    client = client_of(promptlathe_server)
    for _ in range(3):
        assert run_in(factory, client.generate(TASK))["messages"]
        assert len(engines()) == 0  # each went with its loop
    assert promptlathe_server.connections == 1
    run_in(factory, client.close())


@pytest.mark.parametrize("factory", FACTORIES)
def test_loops_in_threads_at_once(promptlathe_server: Server, factory: Factory) -> None:
    client, together = client_of(promptlathe_server), threading.Barrier(8)
    counts: list[int] = []

    async def main() -> None:
        for _ in range(5):
            together.wait()
            answers = await asyncio.gather(*(client.generate(TASK) for _ in range(10)))
            counts.append(sum("messages" in answer for answer in answers))

    threads = [threading.Thread(target=run_in, args=[factory, main()]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [10] * 40
    assert len(promptlathe_server.requests) == 400
    asyncio.run(client.close())


def test_one_client_in_loops_of_both_kinds(promptlathe_server: Server) -> None:
    pytest.importorskip("uvloop", reason="uvloop has no wheel for this Python yet")
    client = client_of(promptlathe_server)
    asyncio.run(client.generate(TASK))
    uvloop.run(client.generate(TASK))
    asyncio.run(client.close())


def test_loops_taken_in_turn(promptlathe_server: Server) -> None:
    """A loop that rests, with a call in flight, is not disturbed by another."""
    go = threading.Event()
    promptlathe_server.script([{"until": go}])
    client = client_of(promptlathe_server)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    task = first.create_task(client.generate(TASK))
    first.run_until_complete(asyncio.to_thread(promptlathe_server.wait_for_requests, 1))
    assert second.run_until_complete(client.generate(TASK))["messages"]
    assert not task.done()
    go.set()
    assert first.run_until_complete(task)["messages"]
    for loop in (first, second):
        loop.close()
    asyncio.run(client.close())


def test_a_driver_keeps_nobodys_context_alive(promptlathe_server: Server) -> None:
    class Thing:
        pass

    variable: contextvars.ContextVar[Thing] = contextvars.ContextVar("variable")

    async def main() -> None:
        client = client_of(promptlathe_server)
        things = [Thing()]
        alive = weakref.ref(things[0])

        async def call() -> None:
            variable.set(things[0])
            await client.generate(TASK)

        await asyncio.create_task(call())
        things.clear()
        await asyncio.sleep(0)  # what asyncio runs just now has the context still
        gc.collect()
        kept = alive() is not None
        await client.close()
        assert not kept

    asyncio.run(main())


# ---- The end of loops ---------------------------------------------------------------------------


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("then", ["call", "close", "del"])
@pytest.mark.fault(
    "Process",
    "a loop closed in a call",
    ends="the connection is closed, without a warning; the client goes on in another loop",
)
def test_a_loop_closed_with_a_call_in_flight(factory: Factory, then: str) -> None:
    with raw_server.RawServer(raw_server.hold(), raw_server.serve) as server:
        client = client_of(server)
        loop = factory()
        task = loop.create_task(client.generate(TASK))
        loop.run_until_complete(asyncio.to_thread(server.wait_for_requests, 1))
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        if then == "call":
            assert asyncio.run(client.generate(TASK))["messages"]
            asyncio.run(client.close())
        elif then == "close":
            asyncio.run(client.close())
        # What asyncio says of a task that is not awaited to its end is asyncio's to say.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        assert not task.done()
        del client, task
        gc.collect()
        assert server.connections[0].closed.wait(raw_server.PATIENCE)


@pytest.mark.fault(
    "Process",
    "a loop collected in a call",
    ends="the connection is closed, and nothing is left of the loop",
)
def test_a_loop_collected_with_a_call_in_flight() -> None:
    """The client lives, and yet does not keep it. (uvloop itself never frees an unclosed loop.)"""
    with raw_server.RawServer(raw_server.hold()) as server:
        client = client_of(server)
        loop = asyncio.new_event_loop()
        task = loop.create_task(client.generate(TASK))
        loop.run_until_complete(asyncio.to_thread(server.wait_for_requests, 1))
        loop.run_until_complete(loop.shutdown_default_executor())
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the loop's, for not being closed
            del loop, task
            gc.collect()
        assert engines() == []
        assert server.connections[0].closed.wait(raw_server.PATIENCE)
        asyncio.run(client.close())


def test_asyncio_run_that_leaves_tasks_behind(promptlathe_server: Server) -> None:
    """They are cancelled by asyncio; the client, which nobody closes, goes with the collector."""
    never = threading.Event()
    promptlathe_server.script([{"until": never}] * 5)
    tasks: list[asyncio.Task[Any]] = []

    async def main() -> None:
        client = client_of(promptlathe_server)
        tasks.extend(asyncio.create_task(client.generate(TASK)) for _ in range(5))
        await asyncio.to_thread(promptlathe_server.wait_for_requests, 5)

    asyncio.run(main())
    never.set()
    promptlathe_server.wait_for_disconnects(5)
    assert all(task.cancelled() for task in tasks)


# ---- The end of clients -------------------------------------------------------------------------


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_client_collected_in_an_open_loop(promptlathe_server: Server, factory: Factory) -> None:
    async def main() -> None:
        client = client_of(promptlathe_server)
        await client.generate(TASK)
        before = descriptors()
        del client
        for _ in range(3):
            await asyncio.sleep(0)
        assert engines() == []
        assert len(descriptors()) < len(before)
        other = client_of(promptlathe_server)  # its descriptor may have the number of the first
        assert (await other.generate(TASK))["messages"]
        await other.close()

    run_in(factory, main())


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_call_in_flight_keeps_its_client(promptlathe_server: Server, factory: Factory) -> None:
    """Nobody else holds client, task or loop's engine; the collector takes none of them away."""
    go, results = threading.Event(), []
    promptlathe_server.script([{"until": go}])

    async def main() -> None:
        async def call() -> None:
            results.append(await client_of(promptlathe_server).generate(TASK))

        task = weakref.ref(asyncio.create_task(call()))
        await asyncio.to_thread(promptlathe_server.wait_for_requests, 1)
        gc.collect()
        assert task() is not None
        go.set()
        while task() is not None:
            await asyncio.sleep(0.01)

    run_in(factory, main())
    assert len(results) == 1


def test_close_from_another_loop_and_thread() -> None:
    """The calls end in their own loop, without being waited for."""
    with raw_server.RawServer(raw_server.hold()) as server:
        client, ended = client_of(server), []

        async def call() -> None:
            thread = threading.get_ident()
            tasks = [asyncio.create_task(client.generate(TASK)) for _ in range(3)]
            for task in tasks:
                with pytest.raises(ClientClosedError):
                    await task
            ended.append(thread == threading.get_ident())

        threads = [threading.Thread(target=asyncio.run, args=[call()]) for _ in range(4)]
        for thread in threads:
            thread.start()
        server.wait_for_requests(12)
        asyncio.run(client.close())
        for thread in threads:
            thread.join(raw_server.PATIENCE)
        assert ended == [True] * 4


def test_close_while_a_loop_rests(promptlathe_server: Server) -> None:
    """A loop that does not run is left alone until it does, or is closed."""
    loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    client = client_of(promptlathe_server)
    for loop in loops:
        loop.run_until_complete(client.generate(TASK))
    asyncio.run(client.close())
    loops[0].run_until_complete(asyncio.sleep(0))
    for loop in loops:
        loop.close()


def test_close_beside_calls_that_begin(promptlathe_server: Server) -> None:
    """Whoever comes late is refused, and leaves no engine."""
    for _ in range(20):
        client, together = client_of(promptlathe_server), threading.Barrier(3)

        async def call(client: AsyncClient, together: threading.Barrier) -> None:
            together.wait()
            try:
                await client.generate(TASK)
            except ClientClosedError:
                return

        threads = [
            threading.Thread(target=asyncio.run, args=[call(client, together)]) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        together.wait()
        asyncio.run(client.close())
        for thread in threads:
            thread.join()


@pytest.mark.timing
def test_idle_clients_cost_no_cpu(promptlathe_server: Server) -> None:
    """After a call no timer and no descriptor runs on."""

    async def main() -> float:
        async with client_of(promptlathe_server) as client:
            await client.generate(TASK)
            before = time.process_time()
            await asyncio.sleep(1)
            return time.process_time() - before

    assert asyncio.run(main()) < 0.05


# ---- fork ---------------------------------------------------------------------------------------


def in_child(work: Callable[[], None]) -> int:
    """The exit status of a fork's child that does the work and is gone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("factory", FACTORIES)
@pytest.mark.parametrize("busy", [False, True])
def test_fork_beside_a_running_loop(
    promptlathe_server: Server, factory: Factory, busy: bool
) -> None:
    """The child's calls, collection and close do not disturb the parent's engine."""
    go = threading.Event()
    client = client_of(promptlathe_server)

    def child() -> None:
        asyncio.set_event_loop(None)
        assert asyncio.run(client.generate(TASK))["messages"]
        gc.collect()
        asyncio.run(client.close())

    async def main() -> None:
        await client.generate(TASK)
        promptlathe_server.script([{"until": go}] if busy else [])
        task = asyncio.create_task(client.generate(TASK))
        if busy:
            await asyncio.to_thread(promptlathe_server.wait_for_requests, 2)
        else:
            await task
        assert in_child(child) == 0
        go.set()
        assert (await task)["messages"]
        assert (await client.generate(TASK))["messages"]
        await client.close()

    run_in(factory, main())


def test_a_loop_that_was_inherited_is_refused(promptlathe_server: Server) -> None:
    """Its selector is the parent's too: nothing that is done there would be sound."""
    client, loop = client_of(promptlathe_server), asyncio.new_event_loop()
    loop.run_until_complete(client.generate(TASK))

    def child() -> None:
        with pytest.raises(RuntimeError, match="inherited by a fork"):
            loop.run_until_complete(client.generate(TASK))

    assert in_child(child) == 0
    assert loop.run_until_complete(client.generate(TASK))["messages"]
    loop.run_until_complete(client.close())
    loop.close()


# ---- A process of its own -----------------------------------------------------------------------

SCRIPT = """
import asyncio, gc, sys, weakref
import promptlathe
from promptlathe import AsyncClient
url, how = sys.argv[1:]

class Work:
    def __init__(self, client):
        self.results = client.map(self.source(), concurrency=2)

    async def source(self):
        while True:
            yield {"verb": "generate", "task": "t"}

async def main(client):
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is nothing to tell of
    await client.generate("a")
    task = asyncio.create_task(client.generate("b"))
    await asyncio.sleep(0)
    if how == "cancelled":
        task.cancel()
        await asyncio.wait([task])
    elif how == "closed":
        await client.close()
        await asyncio.wait([task])
        task.exception()
    elif how == "mapped":
        async for result in client.map(({"verb": "generate", "task": "t"} for _ in range(99))):
            break
    elif how == "mapped in a cycle":
        work = Work(client)
        await anext(work.results)
        inner = work.results._work
        while inner.reader is not None or inner.flying:  # until nothing goes on
            await asyncio.sleep(0)
        gone = weakref.ref(work)
        del work, inner
        for _ in range(9):  # turns of the loop, that hold ends of calls themselves
            await asyncio.sleep(0)
            gc.collect()
        assert gone() is None
    # else: left behind, for asyncio.run to cancel

client = AsyncClient("a-key", base_url=url)
if how == "rest":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main(client))
    loop.run_until_complete(loop.create_task(asyncio.sleep(0.1)))
    loop.close()
else:
    asyncio.run(main(client))
    asyncio.run(main(client)) if how not in ("closed",) else None
if how == "collected":
    del client
    gc.collect()
"""


@pytest.mark.parametrize(
    "how", ["cancelled", "closed", "mapped", "mapped in a cycle", "left", "collected", "rest"]
)
def test_a_process_ends_without_a_word(promptlathe_server: Server, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPT, promptlathe_server.url, how],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
