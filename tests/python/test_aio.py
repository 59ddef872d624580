"""AsyncClient: the names, results, errors and options of Client, awaited; and its map."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import inspect
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import promptlathe
import pytest
from faults import raw_server
from faults.conftest import descriptors
from one_call import KEY, TASK
from promptlathe import (
    APIStatusError,
    APITimeoutError,
    AsyncClient,
    AsyncClientWithRawResponse,
    AsyncMap,
    Client,
    ClientClosedError,
    ClientWithRawResponse,
    ConfigurationError,
    InvalidRequestError,
    Map,
    OverloadedError,
    RawResponse,
    Timeout,
)
from promptlathe.mock import Server

MESSAGES: Any = [{"role": "user", "content": "Translate hello to German"}]


def client_of(server: Server, **options: Any) -> AsyncClient:
    options.setdefault("max_retries", 0)
    options.setdefault("timeout", 20)
    return AsyncClient(KEY, base_url=server.url, **options)


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def bare(function: Any) -> list[tuple[str, Any, Any]]:
    """The parameters without self and annotations."""
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters if each.name != "self"]


# ---- Names --------------------------------------------------------------------------------------


def test_the_names_are_those_of_client() -> None:
    assert public(AsyncClient) == public(Client)
    renamed = {"aclose"} ^ {"close"}
    assert public(AsyncMap) ^ public(Map) == renamed
    assert public(AsyncClientWithRawResponse) == public(ClientWithRawResponse)
    assert AsyncClient.__module__ == "promptlathe"


@pytest.mark.parametrize("name", ["generate", "improve", "templatize", "with_options", "map"])
def test_the_signatures_are_those_of_client(name: str) -> None:
    assert bare(getattr(AsyncClient, name)) == bare(getattr(Client, name))


def test_the_constructor_is_that_of_client() -> None:
    assert bare(AsyncClient) == bare(Client)


@pytest.mark.parametrize("name", ["generate", "improve", "templatize"])
def test_the_raw_calls_have_the_same_signatures(name: str) -> None:
    assert bare(getattr(AsyncClientWithRawResponse, name)) == bare(getattr(AsyncClient, name))


@pytest.mark.parametrize("cls", [AsyncClient, AsyncClientWithRawResponse])
@pytest.mark.parametrize("name", ["generate", "improve", "templatize"])
def test_calls_are_coroutine_functions(cls: type, name: str) -> None:
    assert inspect.iscoroutinefunction(getattr(cls, name))


def test_asyncio_is_imported_only_when_it_is_used() -> None:
    script = "import sys, promptlathe; print('asyncio' in sys.modules); promptlathe.AsyncClient"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


def test_repr_and_properties(promptlathe_server: Server) -> None:
    client = client_of(promptlathe_server)
    assert repr(client) == f"<promptlathe.AsyncClient {promptlathe_server.url}>"
    assert (client.base_url, client.closed, client.rate_limits) == (
        promptlathe_server.url,
        False,
        {},
    )
    asyncio.run(client.close())
    assert repr(client) == f"<promptlathe.AsyncClient {promptlathe_server.url} closed>"
    assert client.closed


def test_the_key_is_not_shown(promptlathe_server: Server) -> None:
    client = client_of(promptlathe_server)
    shown = [repr(client), repr(vars(client)), repr(client.with_raw_response)]
    assert KEY not in "".join(shown)


@pytest.mark.parametrize("make", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_cannot_be_pickled_and_says_how_to_do_instead(make: Any) -> None:
    with pytest.raises(TypeError, match=r"make one in each process, or use with_options\(\)"):
        make(AsyncClient(KEY))


def test_configuration_errors_are_raised_by_the_constructor() -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        AsyncClient()
    with pytest.raises(TypeError, match="max_retries"):
        AsyncClient(KEY, max_retries="2")  # type: ignore[arg-type]


# ---- Results ------------------------------------------------------------------------------------


def test_results_are_those_of_client(promptlathe_server: Server) -> None:
    async def run() -> list[Any]:
        async with client_of(promptlathe_server) as client:
            return [
                await client.generate(TASK, target_model="a-model"),
                await client.improve(MESSAGES, feedback="shorter", system="s"),
                await client.templatize(MESSAGES[0]["content"], system="Greet hello"),
            ]

    results = asyncio.run(run())
    with Client(KEY, base_url=promptlathe_server.url) as client:
        assert results == [
            client.generate(TASK, target_model="a-model"),
            client.improve(MESSAGES, feedback="shorter", system="s"),
            client.templatize(MESSAGES[0]["content"], system="Greet hello"),
        ]
    sent = promptlathe_server.requests
    assert [one.body for one in sent[:3]] == [one.body for one in sent[3:]]


def test_raw_responses(promptlathe_server: Server) -> None:
    async def run() -> list[RawResponse[Any]]:
        async with client_of(promptlathe_server) as client:
            raw = client.with_raw_response
            return [
                await raw.generate(TASK),
                await raw.improve(MESSAGES),
                await raw.templatize(MESSAGES),
            ]

    for raw in asyncio.run(run()):
        assert type(raw) is RawResponse
        assert (raw.status, raw.attempts) == (200, 1)
        assert raw.request_id == raw.headers["request-id"]
        assert set(raw.data) >= {"messages", "system", "usage"}


def test_options_of_calls_and_copies(promptlathe_server: Server) -> None:
    async def run() -> None:
        client = client_of(promptlathe_server, betas=["one"], default_headers={"x-a": "1"})
        other = client.with_options(betas=["two"], default_headers={"x-b": "2"})
        await client.generate(TASK, betas=("three",), extra_headers={"x-c": "3"})
        await other.generate(TASK)
        await client.close()

    asyncio.run(run())
    first, second = (dict(request.headers) for request in promptlathe_server.requests)
    assert first["anthropic-beta"].endswith(",one,three")
    assert (first["x-a"], first["x-c"]) == ("1", "3")
    assert second["anthropic-beta"].endswith(",two") and "one" not in second["anthropic-beta"]
    assert (second["x-a"], second["x-b"]) == ("1", "2")


def test_copies_share_connections(promptlathe_server: Server) -> None:
    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            await client.generate(TASK)
            await client.with_options(timeout=10).generate(TASK)
            await client.generate(TASK)

    asyncio.run(run())
    assert promptlathe_server.connections == 1


def test_a_copy_of_a_subclass_keeps_its_attributes(promptlathe_server: Server) -> None:
    class Mine(AsyncClient):
        note = ""

    client = Mine(KEY, base_url=promptlathe_server.url)
    client.note = "kept"
    other = client.with_options(max_retries=0)
    assert type(other) is Mine and other.note == "kept"


def test_rate_limits_are_remembered(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"headers": {"anthropic-ratelimit-requests-remaining": "7"}}])

    async def run() -> int | None:
        async with client_of(promptlathe_server) as client:
            await client.generate(TASK)
            return client.rate_limits["requests"]["remaining"]

    assert asyncio.run(run()) == 7


# ---- Errors -------------------------------------------------------------------------------------


def outcome(server: Server, call: Any, **options: Any) -> BaseException:
    async def run() -> BaseException:
        async with client_of(server, **options) as client:
            with pytest.raises(Exception) as caught:
                await call(client)
            return caught.value

    return asyncio.run(run())


def test_errors_of_the_service(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"status": 529}])
    error = outcome(promptlathe_server, lambda client: client.generate(TASK))
    assert type(error) is OverloadedError and error.attempts == 1


def test_retries(promptlathe_server: Server, caplog: pytest.LogCaptureFixture) -> None:
    promptlathe_server.script([{"status": 503, "headers": {"retry-after-ms": "1"}}, {}])

    async def run() -> int:
        async with client_of(promptlathe_server, max_retries=1) as client:
            return (await client.with_raw_response.generate(TASK)).attempts

    with caplog.at_level(logging.DEBUG, "promptlathe"):
        assert asyncio.run(run()) == 2
    levels = [record.levelname for record in caplog.records if record.name == "promptlathe"]
    assert levels == ["DEBUG", "WARNING", "DEBUG", "INFO"]


def test_a_retry_is_logged_while_the_call_waits(promptlathe_server: Server) -> None:
    """The warning does not come only when all is over."""
    promptlathe_server.script([{"status": 503, "headers": {"retry-after": "30"}}])
    seen = asyncio.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.WARNING:
                seen.set()

    async def run() -> None:
        async with client_of(promptlathe_server, max_retries=1, timeout=60) as client:
            task = asyncio.create_task(client.generate(TASK))
            await asyncio.wait_for(seen.wait(), 20)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    logger, handler = logging.getLogger("promptlathe"), Handler()
    logger.addHandler(handler)
    try:
        asyncio.run(run())
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("kind", [ValueError, StopIteration])
def test_what_a_log_handler_raises_is_raised_by_the_call(
    promptlathe_server: Server, kind: type[Exception]
) -> None:
    """A future takes no StopIteration; the call must end all the same."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise kind("no")

    logger, handler = logging.getLogger("promptlathe"), Handler()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        error = outcome(promptlathe_server, lambda client: client.generate(TASK))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert isinstance(error, kind | TypeError | RuntimeError)


def test_invalid_input_sends_nothing(promptlathe_server: Server) -> None:
    error = outcome(promptlathe_server, lambda client: client.improve([]))
    assert isinstance(error, InvalidRequestError)
    assert error.errors[0]["path"] == "messages"
    error = outcome(promptlathe_server, lambda client: client.generate(TASK, timeout="1"))
    assert type(error) is TypeError and "timeout" in str(error)
    error = outcome(promptlathe_server, lambda client: client.generate(TASK, nonsense=1))
    assert type(error) is TypeError and "nonsense" in str(error)
    assert promptlathe_server.requests == []


def test_a_deadline() -> None:
    with raw_server.RawServer(raw_server.silent) as server:

        async def run() -> None:
            async with AsyncClient(KEY, base_url=server.url, max_retries=0) as client:
                with pytest.raises(APITimeoutError) as caught:
                    await client.generate(TASK, timeout=0.2)
                assert caught.value.phase == "wait"
                with pytest.raises(APITimeoutError):
                    await client.with_options(timeout=Timeout(0.1, connect=1)).generate(TASK)

        asyncio.run(run())


def test_an_answer_that_is_there_counts_however_late_the_loop_is() -> None:
    """A blocked event loop loses no answer that came in time."""
    came = threading.Event()

    def answer(connection: raw_server.Connection) -> None:
        connection.request()
        connection.send(raw_server.answer())
        came.set()
        connection.until_closed()

    with raw_server.RawServer(answer) as server:

        async def run() -> None:
            async with AsyncClient(KEY, base_url=server.url, max_retries=0) as client:
                task = asyncio.create_task(client.generate(TASK, timeout=0.2))
                await asyncio.sleep(0)
                assert came.wait(raw_server.PATIENCE)
                blocked = threading.Event()
                blocked.wait(0.4)  # the loop is held up beyond the deadline
                assert (await task)["usage"]

        asyncio.run(run())


def test_after_close_calls_are_refused(promptlathe_server: Server) -> None:
    async def run() -> None:
        client = client_of(promptlathe_server)
        await client.generate(TASK)
        await client.close()
        await client.close()
        with pytest.raises(ClientClosedError):
            await client.generate(TASK)
        with pytest.raises(ClientClosedError):
            client.with_options(timeout=1)
        with pytest.raises(ClientClosedError):
            client.map([])

    asyncio.run(run())


@pytest.mark.parametrize("which", ["client", "copy"])
def test_close_ends_calls_in_flight(promptlathe_server: Server, which: str) -> None:
    """Those of a copy when the original is closed; closing a copy ends its own alone."""
    never = threading.Event()
    promptlathe_server.script([{"until": never}] * 2)

    async def run() -> None:
        client = client_of(promptlathe_server)
        other = client.with_options(timeout=19)
        tasks = [asyncio.create_task(each.generate(TASK)) for each in (client, other)]
        await asyncio.to_thread(promptlathe_server.wait_for_requests, 2)
        if which == "copy":
            await other.close()
            with pytest.raises(ClientClosedError):
                await tasks[1]
            assert not tasks[0].done() and not client.closed
        await client.close()
        for task in tasks:
            with pytest.raises(ClientClosedError):
                await task
        assert other.closed

    asyncio.run(run())
    never.set()


def test_close_ends_the_oldest_call_first(promptlathe_server: Server) -> None:
    """In that order libcurl closes connections soonest: in another, thousands take far longer."""
    never = threading.Event()
    promptlathe_server.script([{"until": never}] * 8)
    ended: list[int] = []

    async def call(client: AsyncClient, number: int) -> None:
        with pytest.raises(ClientClosedError):
            await client.generate(TASK)
        ended.append(number)

    async def run() -> None:
        client = client_of(promptlathe_server)
        tasks = [asyncio.create_task(call(client, number)) for number in range(8)]
        await asyncio.to_thread(promptlathe_server.wait_for_requests, 8)
        await client.close()
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert ended == list(range(8))
    never.set()


# ---- Without asyncio ----------------------------------------------------------------------------


def test_without_a_loop_it_says_what_to_do() -> None:
    coroutine = AsyncClient(KEY).generate(TASK)
    with pytest.raises(RuntimeError, match=r"use asyncio\.run\(\)"):
        coroutine.send(None)


def test_under_trio_it_says_what_to_do() -> None:
    trio = pytest.importorskip("trio")
    with pytest.raises(RuntimeError, match=r"trio\.to_thread\.run_sync\(client\.generate, task\)"):
        trio.run(AsyncClient(KEY).generate, TASK)


def test_what_it_says_under_trio_works(promptlathe_server: Server) -> None:
    trio = pytest.importorskip("trio")
    with Client(KEY, base_url=promptlathe_server.url) as client:
        assert trio.run(trio.to_thread.run_sync, client.generate, TASK)["messages"]


def test_closing_needs_no_loop_of_asyncio() -> None:
    trio = pytest.importorskip("trio")
    client = AsyncClient(KEY)
    trio.run(client.close)
    assert client.closed


def test_anyio_on_asyncio(promptlathe_server: Server) -> None:
    anyio = pytest.importorskip("anyio")
    never = threading.Event()
    promptlathe_server.script([{}, {"until": never}])

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            await client.generate(TASK)
            with anyio.move_on_after(0.1) as scope:
                await client.generate(TASK)
            assert scope.cancelled_caught
            async with anyio.create_task_group() as group:
                group.start_soon(client.generate, TASK)
                group.start_soon(client.generate, TASK)

    anyio.run(run, backend="asyncio")
    never.set()
    assert len(promptlathe_server.requests) == 4


# ---- map ----------------------------------------------------------------------------------------


def requests_of(count: int) -> Iterator[dict[str, Any]]:
    for index in range(count):
        yield {"verb": "generate", "task": f"task {index}"}


async def still_running() -> set[asyncio.Task[Any]]:
    """Tasks beside this one, but for those that end in their next turns."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return (await asyncio.wait(others, timeout=1))[1] if others else others


async def asynchronously(requests: Iterator[Any]) -> AsyncIterator[Any]:
    for request in requests:
        await asyncio.sleep(0)
        yield request


def tasks_of(server: Server) -> list[str]:
    return [str(request.json["task"]) for request in server.requests]


def by_task(**steps: Any) -> list[Any]:
    """A script that looks at the number of the task, not at which request came first."""

    def step(request: Any) -> Any:
        return steps.get(request.json["task"].replace(" ", "_"), steps["others"])

    return [step] * 99


@pytest.mark.parametrize("source", [list, iter, asynchronously])
def test_map_yields_in_order(promptlathe_server: Server, source: Any) -> None:
    async def run() -> list[Any]:
        async with client_of(promptlathe_server) as client:
            results = client.map(source(requests_of(40)), concurrency=7)
            assert aiter(results) is results
            return [result async for result in results]

    results = asyncio.run(run())
    with Client(KEY, base_url=promptlathe_server.url) as client:
        assert results == [client.generate(f"task {index}") for index in range(40)]


@pytest.mark.parametrize("source", [iter, asynchronously])
def test_map_without_order_yields_as_they_end(promptlathe_server: Server, source: Any) -> None:
    first = threading.Event()
    promptlathe_server.script([{"until": first}])

    async def run() -> list[int]:
        seen = []
        async with client_of(promptlathe_server) as client:
            async for index, result in client.map(
                source(requests_of(12)), concurrency=3, ordered=False
            ):
                assert result["messages"]
                seen.append(index)
                if len(seen) == 11:
                    first.set()
        return seen

    seen = asyncio.run(run())
    held = tasks_of(promptlathe_server)[0]
    assert sorted(seen) == list(range(12))
    assert f"task {seen[-1]}" == held


def test_map_of_all_verbs_and_options(promptlathe_server: Server) -> None:
    requests: list[dict[str, Any]] = [
        {"verb": "generate", "task": TASK, "target_model": "m", "timeout": 5},
        {"verb": "improve", "messages": MESSAGES, "feedback": "f", "extra_headers": {"x-a": "1"}},
        {"verb": "templatize", "messages": "hello", "system": None, "max_retries": 0},
    ]

    async def run() -> list[Any]:
        async with client_of(promptlathe_server) as client:
            return [each async for each in client.map(requests, concurrency=1)]

    assert len(asyncio.run(run())) == 3
    assert [request.path.rpartition("/")[2] for request in promptlathe_server.requests] == [
        "generate_prompt",
        "improve_prompt",
        "templatize_prompt",
    ]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_map_reads_ahead_at_most_twice_the_concurrency(
    promptlathe_server: Server, asynchronous: bool
) -> None:
    """While the first is not answered, all others may be; and none is in flight beyond the limit."""
    first = threading.Event()

    promptlathe_server.script(by_task(task_0={"until": first}, others={}))
    read = 0

    def source() -> Iterator[dict[str, Any]]:
        nonlocal read
        for request in requests_of(50):
            read += 1
            yield request

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            requests = asynchronously(source()) if asynchronous else source()
            results = client.map(requests, concurrency=5)
            waiting = asyncio.create_task(anext(results))
            await asyncio.to_thread(promptlathe_server.wait_for_requests, 10)
            await asyncio.sleep(0.1)
            assert read in (10, 11)  # an asynchronous source may be asked before there is room
            first.set()
            await waiting
            assert len([None async for _ in results]) == 49

    asyncio.run(run())
    assert read == 50


def test_map_keeps_to_its_concurrency(promptlathe_server: Server) -> None:
    go = threading.Event()
    promptlathe_server.script([{"until": go}] * 3)

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            results = client.map(requests_of(9), concurrency=3)
            waiting = asyncio.create_task(anext(results))
            await asyncio.to_thread(promptlathe_server.wait_for_requests, 3)
            await asyncio.sleep(0.1)
            assert len(promptlathe_server.requests) == 3
            go.set()
            await waiting
            assert len([None async for _ in results]) == 8

    asyncio.run(run())


def test_map_raises_the_first_failure_at_its_place(promptlathe_server: Server) -> None:
    go = threading.Event()
    promptlathe_server.script(
        by_task(task_0={"until": go}, task_1={"status": 400}, others={"until": go})
    )

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            results = client.map(requests_of(9), concurrency=3)
            waiting = asyncio.create_task(anext(results))
            await asyncio.to_thread(promptlathe_server.wait_for_requests, 3)
            go.set()
            assert (await waiting)["messages"]
            with pytest.raises(promptlathe.BadRequestError):
                await anext(results)
            with pytest.raises(StopAsyncIteration):
                await anext(results)

    asyncio.run(run())


def test_map_cancels_the_rest_after_a_failure() -> None:
    refused = threading.Event()

    def first(connection: raw_server.Connection) -> None:
        connection.request()
        connection.wait(refused)
        connection.send(raw_server.answer(400, b"{}"))
        connection.until_closed()

    with raw_server.RawServer(first, raw_server.hold()) as server:

        async def run() -> None:
            async with AsyncClient(KEY, base_url=server.url, max_retries=0) as client:
                results = client.map(requests_of(9), concurrency=4, ordered=False)
                waiting = asyncio.create_task(anext(results))
                await asyncio.to_thread(server.wait_for_requests, 4)
                refused.set()
                with pytest.raises(APIStatusError):
                    await waiting
                for connection in server.connections[1:4]:
                    gone = await asyncio.to_thread(connection.closed.wait, raw_server.PATIENCE)
                    assert gone

        asyncio.run(run())


@pytest.mark.parametrize("ordered", [False, True])
def test_map_gives_exceptions_out_when_asked_to(promptlathe_server: Server, ordered: bool) -> None:
    promptlathe_server.script([{"status": 404}])
    requests: list[Any] = [
        {"verb": "generate", "task": TASK},
        {"verb": "generate", "task": 5},
        {"verb": "nonsense"},
        {"task": TASK},
        None,
        {"verb": "generate", "task": TASK, "nonsense": 1},
        {"verb": "generate", "task": TASK},
    ]

    async def run() -> list[Any]:
        async with client_of(promptlathe_server) as client:
            results = client.map(requests, concurrency=1, ordered=ordered, return_exceptions=True)
            return [each async for each in results]

    results = asyncio.run(run())
    if not ordered:
        assert sorted(index for index, _ in results) == list(range(7))
        results = [result for _, result in sorted(results, key=lambda pair: int(pair[0]))]
    for index, result in enumerate(results[:-1]):
        assert result.__notes__ == [f"in requests[{index}]"]
    assert [type(result) for result in results] == [
        promptlathe.NotFoundError,
        InvalidRequestError,
        InvalidRequestError,
        InvalidRequestError,
        TypeError,
        TypeError,
        dict,
    ]


def test_map_raises_an_invalid_request_at_its_place(promptlathe_server: Server) -> None:
    requests = [*requests_of(2), {"verb": "improve", "messages": []}, *requests_of(5)]

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            results = client.map(requests)
            assert (await anext(results))["messages"]
            assert (await anext(results))["messages"]
            with pytest.raises(InvalidRequestError) as raised:
                await anext(results)
            assert raised.value.__notes__ == ["in requests[2]"]

    asyncio.run(run())
    assert len(promptlathe_server.requests) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_map_raises_what_its_source_raises_after_the_results(
    promptlathe_server: Server, asynchronous: bool, keep: bool
) -> None:
    def source() -> Iterator[dict[str, Any]]:
        yield from requests_of(3)
        raise LookupError("the source")

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            requests = asynchronously(source()) if asynchronous else source()
            results = client.map(requests, return_exceptions=keep)
            for _ in range(3):
                assert (await anext(results))["messages"]
            with pytest.raises(LookupError, match="the source"):
                await anext(results)

    asyncio.run(run())


def test_map_reads_an_asynchronous_source_in_one_context(promptlathe_server: Server) -> None:
    """What it sets stays set, although several tasks read it: none waits while there is no room."""
    number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=-1)
    seen = []

    async def source() -> AsyncIterator[dict[str, Any]]:
        token = number.set(0)
        for request in requests_of(9):
            yield request
            await asyncio.sleep(0)
            number.set(number.get() + 1)
        seen.append(number.get())
        number.reset(token)

    async def run() -> int:
        async with client_of(promptlathe_server) as client:
            async for _ in client.map(source(), concurrency=1):
                await asyncio.sleep(0)
        return number.get()

    assert asyncio.run(run()) == -1
    assert seen == [9]


@pytest.mark.parametrize("how", ["aclose", "with", "break"])
def test_leaving_a_map_ends_its_asynchronous_source(promptlathe_server: Server, how: str) -> None:
    ended = asyncio.Event()

    async def source() -> AsyncIterator[dict[str, Any]]:
        try:
            while True:
                yield {"verb": "generate", "task": TASK}
        finally:
            ended.set()

    async def iterate(results: Any) -> None:
        if how == "with":
            async with results:
                await anext(results)
        elif how == "aclose":
            await anext(results)
            await results.aclose()
        else:
            async for _ in results:
                break

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            await iterate(client.map(source(), concurrency=2))
            await asyncio.wait_for(ended.wait(), 20)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["aclose", "with"])
def test_a_source_that_is_being_read_has_ended_when_its_map_has(
    promptlathe_server: Server, how: str
) -> None:
    ended = []

    async def source() -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"verb": "generate", "task": TASK}
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)  # as whatever gives a connection back
            ended.append(how)

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            results = client.map(source(), concurrency=2)
            if how == "with":
                async with results:
                    await anext(results)
            else:
                await anext(results)
                await results.aclose()
            assert ended == [how]
            assert not await still_running()

    asyncio.run(run())


def test_a_source_may_close_its_map(promptlathe_server: Server) -> None:
    async def run() -> None:
        async def source() -> AsyncIterator[dict[str, Any]]:
            await results.aclose()
            yield {"verb": "generate", "task": TASK}

        async with client_of(promptlathe_server) as client:
            results = client.map(source())
            async with asyncio.timeout(20):
                assert [each async for each in results] == []
            assert not await still_running()
        assert promptlathe_server.requests == []

    asyncio.run(run())


class Unusual(BaseException):
    """As pytest's and trio's own are."""


@pytest.mark.parametrize("keep", [False, True])
def test_map_raises_what_is_no_exception_of_its_asynchronous_source(
    promptlathe_server: Server, keep: bool
) -> None:
    async def source() -> AsyncIterator[dict[str, Any]]:
        for request in requests_of(2):
            yield request
        raise Unusual

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            results = client.map(source(), return_exceptions=keep)
            with pytest.raises(Unusual):
                async for _ in results:
                    pass
            with pytest.raises(StopAsyncIteration):
                await anext(results)

    asyncio.run(run())


def test_map_ends_in_silence_for_nobody_else_s_end(promptlathe_server: Server) -> None:
    """Where a source calls `anext`, say, and does not see that there is nothing."""

    class Source:
        left = 2

        def __iter__(self) -> Source:
            return self

        def __next__(self) -> dict[str, Any]:
            return self.take(StopAsyncIteration)

        def take(self, end: type[Exception]) -> dict[str, Any]:
            self.left -= 1
            if self.left < 0:
                raise end
            return {"verb": "generate", "task": "t"}

    class AsyncSource(Source):
        def __aiter__(self) -> AsyncSource:
            return self

        async def __anext__(self) -> dict[str, Any]:
            return self.take(StopIteration)

    async def run() -> None:
        async with client_of(promptlathe_server) as client:
            with pytest.raises(RuntimeError, match="StopAsyncIteration") as raised:
                async for _ in client.map(Source()):
                    pass
            assert isinstance(raised.value.__cause__, StopAsyncIteration)
            with pytest.raises(RuntimeError, match="StopIteration"):
                async for _ in client.map(AsyncSource()):
                    pass

    asyncio.run(run())


def test_results_that_are_there_are_given_before_the_client_is_found_closed(
    promptlathe_server: Server,
) -> None:
    never = threading.Event()
    go = threading.Event()
    second = {"headers": {"anthropic-ratelimit-requests-remaining": "7"}, "until": go}
    promptlathe_server.script(by_task(task_0={}, task_1=second, others={"until": never}))

    async def run() -> None:
        client = client_of(promptlathe_server)
        results = client.map(requests_of(30), concurrency=3)
        await anext(results)
        go.set()
        while client.rate_limits["requests"]["remaining"] != 7:
            await asyncio.sleep(0.01)
        await client.close()
        assert (await anext(results))["messages"]
        with pytest.raises(ClientClosedError):
            await anext(results)

    asyncio.run(run())
    never.set()


@pytest.mark.parametrize("how", ["break", "del", "aclose", "with", "cancel", "wait_for"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_leaving_a_map_early_cancels_the_rest(how: str, asynchronous: bool) -> None:
    with raw_server.RawServer(raw_server.serve, raw_server.hold()) as server:

        async def iterate(client: AsyncClient) -> None:
            requests = requests_of(99)
            source = asynchronously(requests) if asynchronous else requests
            results = client.map(source, concurrency=4, ordered=False)
            if how == "break":
                async for _ in results:
                    if len(server.requests) >= 8:
                        break
            elif how in ("del", "aclose"):
                await anext(results)
                if how == "aclose":
                    await results.aclose()
                    await results.aclose()
                    with pytest.raises(StopAsyncIteration):
                        await anext(results)
            elif how == "with":
                async with results:
                    await anext(results)
                with pytest.raises(StopAsyncIteration):
                    await anext(results)
            elif how == "wait_for":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(exhaust(results), 0.3)
            else:
                task = asyncio.create_task(exhaust(results))
                await asyncio.to_thread(server.wait_for_requests, 4)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            del results

        async def exhaust(results: Any) -> None:
            async for _ in results:
                pass

        async def run() -> None:
            async with AsyncClient(KEY, base_url=server.url, max_retries=0) as client:
                await iterate(client)
                gc.collect()
                for connection in server.connections[1:]:
                    gone = await asyncio.to_thread(connection.closed.wait, raw_server.PATIENCE)
                    assert gone
                assert not await still_running()

        asyncio.run(run())


def test_a_map_of_a_closed_client_ends(promptlathe_server: Server) -> None:
    never = threading.Event()
    promptlathe_server.script([{"until": never}] * 99)

    async def run() -> None:
        client = client_of(promptlathe_server)
        results = client.map(requests_of(50), return_exceptions=True)
        waiting = asyncio.create_task(anext(results))
        await asyncio.to_thread(promptlathe_server.wait_for_requests, 16)
        await client.close()
        with pytest.raises(ClientClosedError):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await anext(results)

    asyncio.run(run())
    never.set()


def test_one_task_at_a_time_and_one_loop(promptlathe_server: Server) -> None:
    never = threading.Event()
    promptlathe_server.script([{"until": never}])
    client = client_of(promptlathe_server)
    results = client.map(requests_of(1))

    async def run() -> None:
        waiting = asyncio.create_task(anext(results))
        await asyncio.to_thread(promptlathe_server.wait_for_requests, 1)
        with pytest.raises(RuntimeError, match="another task waits"):
            await anext(results)
        never.set()
        await waiting

    asyncio.run(run())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(anext(results))  # type: ignore[arg-type]
    asyncio.run(client.close())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"concurrency": 0}, ConfigurationError),
        ({"concurrency": 65537}, ConfigurationError),
        ({"concurrency": True}, TypeError),
        ({"concurrency": 1.0}, TypeError),
        ({"ordered": 1}, TypeError),
        ({"return_exceptions": None}, TypeError),
    ],
)
def test_options_of_map_are_checked(options: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=next(iter(options))):
        AsyncClient(KEY).map([], **options)


def test_a_map_takes_what_counts_and_cannot_be_copied() -> None:
    class Number:
        def __index__(self) -> int:
            return 4

    results = AsyncClient(KEY).map([], concurrency=Number())  # type: ignore[arg-type]
    assert results._work.concurrency == 4
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied or pickled"):
            way(results)


def test_map_takes_an_iterable_only() -> None:
    with pytest.raises(TypeError, match="asynchronous or not, not int"):
        AsyncClient(KEY).map(5)  # type: ignore[arg-type]


def test_an_empty_map(promptlathe_server: Server) -> None:
    async def run() -> list[Any]:
        async with client_of(promptlathe_server) as client:
            return [each async for each in client.map([])]

    assert asyncio.run(run()) == []


def test_a_map_that_was_never_asked_reads_nothing() -> None:
    def source() -> Iterator[Any]:
        raise AssertionError("read")
        yield

    before = descriptors()
    results = AsyncClient(KEY).map(source())
    del results
    assert descriptors() == before
