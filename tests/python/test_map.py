"""Client.map: many calls from one thread, their order, their failures, and every way to end."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import os
import pickle
import resource
import signal
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import promptlathe
import pytest
from canned import Canned
from faults.conftest import descriptors
from one_call import TASK, client_of
from promptlathe import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    BadRequestError,
    Client,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
    Map,
    OverloadedError,
    render,
)
from promptlathe.mock import Server

PATIENCE = 30.0


@pytest.fixture
def server(promptlathe_server: Server) -> Server:
    return promptlathe_server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with client_of(server) as client:
        yield client


@pytest.fixture
def never(server: Server) -> Iterator[threading.Event]:
    """What a held answer waits for; set when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def text(number: int) -> str:
    """A text that templatize gives back as it is."""
    return f"only zz{number}zz here"


def ask(number: int, **options: Any) -> dict[str, Any]:
    return {"verb": "templatize", "messages": text(number), **options}


def asks(count: int, **options: Any) -> list[dict[str, Any]]:
    return [ask(number, **options) for number in range(count)]


def number_of(result: Any) -> int:
    """The number of the request that a result answers."""
    rendered = render(result, result["variable_values"], partial=True)
    said: str = rendered["messages"][0]["content"][0]["text"]
    return int(said.split("zz")[1])


def said(request: Any) -> int:
    """The number of a request that the server has received; -1 when it has none."""
    parts = str(request.json).split("zz")
    return int(parts[1]) if len(parts) > 1 else -1


def held(event: threading.Event, *numbers: int) -> list[Any]:
    """A script that holds the answers to these requests, whenever they arrive."""
    return [lambda request: {"until": event} if said(request) in numbers else None] * 100


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def assert_over(results: Map[Any]) -> None:
    """It is exhausted, and stays so."""
    for _ in range(3):
        with pytest.raises(StopIteration):
            next(results)


def allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


# ---- Results ------------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 4, 64])
def test_results_in_order(server: Server, client: Client, concurrency: int) -> None:
    results = client.map(asks(100), concurrency=concurrency)
    assert iter(results) is results
    assert [number_of(result) for result in results] == list(range(100))
    assert_over(results)
    assert server.connections <= concurrency and len(server.requests) == 100


@pytest.mark.parametrize("concurrency", [1, 4, 64])
def test_results_as_they_come(client: Client, concurrency: int) -> None:
    """Every index once, each with its own result."""
    pairs = list(client.map(asks(100), concurrency=concurrency, ordered=False))
    assert sorted(index for index, _ in pairs) == list(range(100))
    assert all(number_of(result) == index for index, result in pairs)


def test_the_slow_one_does_not_hold_the_others_up(server: Server, client: Client) -> None:
    go = threading.Event()
    server.script(held(go, 1))
    results = client.map(asks(10), concurrency=2, ordered=False)
    seen = [next(results)[0] for _ in range(9)]
    go.set()
    assert [index for index, _ in results] == [1]
    assert sorted(seen) == [0, *range(2, 10)]


def test_verbs_and_options(server: Server) -> None:
    """Each request has its own; a copy's defaults are used."""
    requests: list[dict[str, Any]] = [
        {"verb": "generate", "task": TASK, "target_model": "m"},
        {"verb": "improve", "messages": TASK, "feedback": "f", "system": "s", "betas": ["b-1"]},
        {"verb": "templatize", "messages": [{"role": "user", "content": TASK}], "timeout": 5},
        {"verb": "generate", "task": TASK, "extra_headers": {"x-mine": "2"}, "max_retries": 1},
    ]
    with client_of(server) as client:
        copy = client.with_options(default_headers={"x-mine": "1"})
        expected = [
            copy.generate(TASK, target_model="m"),
            copy.improve(TASK, feedback="f", system="s", betas=["b-1"]),
            copy.templatize(TASK, timeout=5),
            copy.generate(TASK, extra_headers={"x-mine": "2"}),
        ]
        server.reset()
        assert list(copy.map(requests, concurrency=1)) == expected
    assert [request.headers["x-mine"] for request in server.requests] == ["1", "1", "1", "2"]
    assert server.requests[1].headers["anthropic-beta"].endswith(",b-1")
    assert server.requests[0].json == {"task": TASK, "target_model": "m"}


def test_none_at_all(client: Client) -> None:
    for ordered in (True, False):
        results = client.map(iter(()), ordered=ordered)
        assert_over(results)


def test_a_request_is_a_snapshot(client: Client) -> None:
    """One dict used again and again, whose methods are its own."""

    class Hostile(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise AssertionError

        get = keys = items = __iter__ = __contains__ = __getitem__  # type: ignore[assignment]

    shared = Hostile(verb="templatize")

    def requests() -> Iterator[dict[str, Any]]:
        for number in range(20):
            shared["messages"] = text(number)
            yield shared
            shared["verb"] = "nonsense"
            dict.clear(shared)
            shared["verb"] = "templatize"

    assert [number_of(result) for result in client.map(requests())] == list(range(20))


def test_retries(server: Server) -> None:
    again = {"status": 529, "headers": {"retry-after-ms": "1"}}
    server.script([again, {"close": True}, None, again])
    with client_of(server, max_retries=3) as client:
        results = client.map(asks(8), concurrency=3)
        assert [number_of(result) for result in results] == list(range(8))
    assert len(server.requests) == 11


# ---- How far it reads ahead ---------------------------------------------------------------------


class Counted:
    """Requests that are counted as they are read, against those that were given out."""

    def __init__(self, count: int) -> None:
        self.count, self.read, self.given, self.most = count, 0, 0, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self.count):
            self.read += 1
            self.most = max(self.most, self.read - self.given)
            yield ask(number)


def test_nothing_is_read_before_the_first_result_is_asked_for(
    server: Server, client: Client
) -> None:
    requests = Counted(10)
    results = client.map(requests)
    assert requests.read == 0 and server.requests == []
    assert number_of(next(results)) == 0
    assert requests.read == 10
    results.close()


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_look_ahead_in_order(server: Server, client: Client, concurrency: int) -> None:
    """While the first is held all but one of the others are made, twice the concurrency in all."""
    go = threading.Event()
    server.script(held(go, 0))
    requests = Counted(5 * concurrency)
    ahead = 2 * concurrency if concurrency > 1 else 1  # the first fills a concurrency of one
    seen: list[int] = []

    def release() -> None:
        server.wait_for_requests(ahead)
        seen.append(requests.read)
        go.set()

    def results() -> Iterator[Any]:
        yield from client.map(requests, concurrency=concurrency)

    thread = in_thread(release)
    for number, result in enumerate(results()):
        assert number_of(result) == number
        requests.given += 1
    thread.join()
    assert requests.most <= 2 * concurrency
    assert seen == [ahead] and requests.read == requests.given == 5 * concurrency


def test_look_ahead_without_order(server: Server, client: Client) -> None:
    requests = Counted(60)
    for _ in client.map(requests, concurrency=4, ordered=False):
        requests.given += 1
    assert requests.given == 60 and requests.most <= 8
    assert server.connections <= 4


def test_a_thousand_in_flight_from_one_thread() -> None:
    """Nobody is answered before all of them have arrived."""
    allow_descriptors(4096)
    with Canned() as canned:
        with Client("key", base_url=canned.url("together-1000"), max_retries=0) as client:
            results = client.map(asks(1200, timeout=60), concurrency=1000, ordered=False)
            assert sorted(index for index, _ in results) == list(range(1200))


@pytest.mark.parametrize("scarce", [False, True])
def test_connections_are_kept_for_the_next_map_unless_descriptors_are_scarce(scarce: bool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = descriptors()
    used = 60 + max(int(number) for number, _ in before)
    count = used // 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + count if scarce else 8 * used, hard))
    try:
        with Canned() as canned:
            with Client("key", base_url=canned.url(f"together-{count}")) as client:
                before = descriptors()
                results = client.map(asks(count, timeout=60), concurrency=count)
                assert len(list(results)) == count
                kept = len(descriptors() - before)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert kept < 9 if scarce else kept >= count


def test_a_slow_iterable_holds_no_result_back(server: Server, client: Client) -> None:
    """What has been read is sent, and its result given, while the iterable takes its time."""
    arrived = threading.Event()

    def requests() -> Iterator[dict[str, Any]]:
        yield ask(0)
        for number in range(1, 4):
            time.sleep(0.02)
            yield ask(number)
        server.wait_for_requests(3)  # they were sent although the map still reads
        arrived.set()
        yield ask(4)

    assert [number_of(r) for r in client.map(requests(), concurrency=8)] == list(range(5))
    assert arrived.is_set()


@pytest.mark.timing
def test_memory_depends_on_the_concurrency_alone() -> None:
    """50,000 requests from a generator leave Python's memory and the process as they are."""
    count, concurrency = 50_000, 32
    resident: list[int] = []

    def requests() -> Iterator[dict[str, Any]]:
        for number in range(count):
            yield {"verb": "templatize", "messages": f"{number} " + "x" * 1000}

    def pages() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with Canned() as canned, Client("key", base_url=canned.url("good-2000")) as client:
        for number, _ in enumerate(client.map(requests(), concurrency=concurrency)):
            if number == count // 10:
                tracemalloc.start(1)
                before = tracemalloc.get_traced_memory()[0]
                resident.append(pages())
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        resident.append(pages())
    assert number == count - 1
    assert after - before < 64 << 10, f"{after - before} bytes of Python"
    assert peak - before < 1 << 20, f"{peak - before} bytes of Python at a time"
    assert resident[1] - resident[0] < 2 << 20, f"{resident} bytes of the process"


# ---- Failures -----------------------------------------------------------------------------------

# A request, what the service answers to it, and the failure.
FAILURES: dict[str, tuple[Any, Any, type[Exception]]] = {
    "no verb": ({"task": TASK}, None, InvalidRequestError),
    "verb of a wrong type": ({"verb": 5, "task": TASK}, None, InvalidRequestError),
    "no such verb": ({"verb": "map", "task": TASK}, None, InvalidRequestError),
    "verb with a surrogate": ({"verb": "\ud800"}, None, InvalidRequestError),
    "no dict": (["generate", TASK], None, TypeError),
    "no argument": ({"verb": "generate"}, None, TypeError),
    "unknown argument": ({"verb": "generate", "task": TASK, "system": ""}, None, TypeError),
    "many arguments": (
        {"verb": "generate", **{f"a{n}": n for n in range(100)}},
        None,
        TypeError,
    ),
    "key of a wrong type": ({"verb": "generate", "task": TASK, 5: 6}, None, TypeError),
    "wrong input": ({"verb": "improve", "messages": []}, None, InvalidRequestError),
    "input of a wrong type": ({"verb": "generate", "task": 5}, None, InvalidRequestError),
    "wrong option": (ask(0, timeout=-1), None, ConfigurationError),
    "option of a wrong type": (ask(0, betas="b"), None, TypeError),
    "wrong header": (ask(0, extra_headers={"host": "x"}), None, ConfigurationError),
    "refused": (ask(0), {"status": 400}, BadRequestError),
    "busy": (ask(0), {"status": 529}, OverloadedError),
    "no answer": (ask(0), {"close": True}, APIConnectionError),
    "no JSON": (ask(0), {"body": "{"}, APIResponseValidationError),
    "too late": (ask(0, timeout=0.1), {"delay": 20}, APITimeoutError),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_given_as_a_result(server: Server, client: Client, name: str) -> None:
    """In its place, and the others go on; it is what the verb itself raises."""
    request, step, kind = FAILURES[name]
    server.script([None, None] + [step] * (step is not None))
    requests = [ask(0), ask(1), request, ask(3), ask(4)]
    results = list(client.map(requests, concurrency=1, return_exceptions=True))
    failure = results.pop(2)
    assert type(failure) is kind and [number_of(r) for r in results] == [0, 1, 3, 4]
    assert TASK not in str(failure)
    server.script([] if step is None else [step])
    verb = request["verb"] if isinstance(request, dict) and "verb" in request else None
    if verb in ("generate", "improve", "templatize"):
        arguments = {key: value for key, value in request.items() if key != "verb"}
        with pytest.raises(kind) as caught:
            getattr(client, verb)(**arguments)
        own, given = str(caught.value), str(failure)
        # Those of the service name a request; one of Python's own has other words.
        assert own == given or step is not None or 5 in request
        assert {**vars(caught.value), "__notes__": 0}.keys() == vars(failure).keys()
    assert failure.__notes__ == ["in requests[2]"]


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_raised_in_its_place(server: Server, client: Client, name: str) -> None:
    request, step, kind = FAILURES[name]
    server.script([None, None] + [step] * (step is not None))
    results = client.map([ask(0), ask(1), request, ask(3), ask(4)], concurrency=1)
    assert [number_of(next(results)) for _ in range(2)] == [0, 1]
    with pytest.raises(kind) as caught:
        next(results)
    assert type(caught.value) is kind and caught.value.__notes__ == ["in requests[2]"]
    assert_over(results)
    server.script([])
    assert client.generate(TASK)["messages"]


def test_faults_of_the_verb_are_told() -> None:
    with Client("key", base_url="http://127.0.0.1:1") as client:
        requests: list[Any] = [{}, {"verb": None}, {"verb": "Generate"}, 5, {"verb": "\udfff"}]
        found = list(client.map(requests, return_exceptions=True))
    codes = [
        [(fault["path"], fault["code"]) for fault in failure.errors]
        for failure in found
        if isinstance(failure, InvalidRequestError)
    ]
    assert codes == [
        [("verb", code)] for code in ("missing", "wrong_type", "bad_verb", "not_unicode")
    ]
    for failure in (found[0], found[2]):
        assert all(verb in str(failure) for verb in ("generate", "improve", "templatize"))
    assert str(found[3]) == "requests[3] must be a dict, not int"


def test_a_failure_cancels_the_rest(server: Server, client: Client, never: threading.Event) -> None:
    """Those in flight end at once; what was not read is not read any more."""
    go = threading.Event()

    def answer(request: Any) -> dict[str, Any]:
        if said(request) == 1:
            return {"status": 400, "until": go}
        return {"until": never if said(request) else go}

    server.script([answer] * 4)
    requests = Counted(50)
    results = client.map(requests, concurrency=4)

    def release() -> None:
        server.wait_for_requests(4)
        go.set()

    thread = in_thread(release)
    assert number_of(next(results)) == 0
    with pytest.raises(BadRequestError):
        next(results)
    thread.join()
    never.set()
    server.wait_for_disconnects(2)
    assert_over(results)
    assert requests.read <= 9  # the one that was given, and twice the concurrency
    assert client.generate(TASK)["messages"]


def test_an_invalid_request_without_order_comes_after_the_results_before_it(
    client: Client,
) -> None:
    requests: list[Any] = [ask(0), ask(1), ask(2), {"verb": "x"}, ask(4)]
    results = client.map(requests, ordered=False)
    assert sorted(next(results)[0] for _ in range(3)) == [0, 1, 2]
    with pytest.raises(InvalidRequestError):
        next(results)
    assert_over(results)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("keeps", [True, False])
def test_what_the_iterable_raises_comes_in_its_place(
    client: Client, ordered: bool, keeps: bool
) -> None:
    """After the results of what was read before, with its own traceback."""

    def requests() -> Iterator[dict[str, Any]]:
        yield from asks(5)
        raise ZeroDivisionError("of the iterable")

    results: Map[Any] = client.map(requests(), ordered=ordered, return_exceptions=keeps)
    given = [next(results) for _ in range(5)]
    assert sorted(number_of(r if ordered else r[1]) for r in given) == list(range(5))
    with pytest.raises(ZeroDivisionError, match="of the iterable") as caught:
        next(results)
    assert caught.traceback[-1].name == "requests"
    assert_over(results)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_no_program_handles_in_passing_comes_at_once(
    server: Server, client: Client, never: threading.Event, kind: type[BaseException]
) -> None:
    server.script([{"until": never}] * 3)

    def requests() -> Iterator[dict[str, Any]]:
        yield from asks(3)
        raise kind

    results = client.map(requests(), return_exceptions=True)
    with pytest.raises(kind):
        next(results)
    assert_over(results)
    never.set()
    assert client.generate(TASK)["messages"]


# ---- Arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"concurrency": 0}, ConfigurationError),
        ({"concurrency": -1}, ConfigurationError),
        ({"concurrency": 65537}, ConfigurationError),
        ({"concurrency": 10**30}, ConfigurationError),
        ({"concurrency": True}, TypeError),
        ({"concurrency": 2.0}, TypeError),
        ({"concurrency": "2"}, TypeError),
        ({"concurrency": None}, TypeError),
        ({"ordered": 1}, TypeError),
        ({"return_exceptions": None}, TypeError),
        ({"nonsense": 1}, TypeError),
        ({"requests": 5}, TypeError),
        ({"requests": None}, TypeError),
    ],
)
def test_wrong_arguments_are_told_at_once(
    client: Client, options: dict[str, Any], kind: type[Exception]
) -> None:
    anything: Any = client
    with pytest.raises(kind) as caught:
        anything.map(**{"requests": [], **options})
    assert type(caught.value) is kind
    assert next(iter(options)) in str(caught.value)


def test_arguments_that_pass(client: Client) -> None:
    class Index:
        def __index__(self) -> int:
            return 2

    class Sequence:
        def __getitem__(self, index: int) -> dict[str, Any]:
            return asks(3)[index]

    anything: Any = client
    assert len(list(anything.map(Sequence(), concurrency=Index()))) == 3
    assert len(list(client.map(asks(2), concurrency=65536))) == 2
    with pytest.raises(TypeError):
        anything.map([], 16)


def test_an_iterable_that_gives_no_iterator(client: Client) -> None:
    class Broken:
        def __iter__(self) -> Iterator[Any]:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        client.map(Broken())


def test_the_type() -> None:
    anything: Any = Map
    with pytest.raises(TypeError):
        anything()
    with Client("key", base_url="http://127.0.0.1:1") as client:
        results = client.map([])
        assert type(results) is Map and not hasattr(results, "__length_hint__")
        with pytest.raises(TypeError):
            pickle.dumps(results)
    assert Map[int].__origin__ is Map  # type: ignore[attr-defined]


# ---- The iterable reaches back ------------------------------------------------------------------


def test_the_iterable_asks_for_a_result(client: Client) -> None:
    failures: list[Exception] = []

    def requests() -> Iterator[dict[str, Any]]:
        yield ask(0)
        try:
            next(results)
        except ValueError as failure:
            failures.append(failure)
        yield ask(1)

    results = client.map(requests())
    assert [number_of(result) for result in results] == [0, 1]
    assert len(failures) == 1 and "already executing" in str(failures[0])


def test_the_iterable_closes_the_map(server: Server, client: Client) -> None:
    def requests() -> Iterator[dict[str, Any]]:
        yield ask(0)
        results.close()
        results.close()
        yield ask(1)

    results = client.map(requests())
    assert list(results) == []
    assert_over(results)
    assert client.generate(TASK)["messages"]


def test_the_iterable_closes_the_client(client: Client) -> None:
    def requests() -> Iterator[dict[str, Any]]:
        yield ask(0)
        client.close()
        yield ask(1)

    results = client.map(requests(), return_exceptions=True)
    with pytest.raises(ClientClosedError):
        for _ in results:
            pass
    assert_over(results)


def test_the_iterable_makes_calls_and_maps(client: Client) -> None:
    def requests() -> Iterator[dict[str, Any]]:
        for number in range(10):
            assert client.generate(TASK)["messages"]
            yield from (ask(number_of(r)) for r in client.map([ask(number)]))

    assert [number_of(result) for result in client.map(requests())] == list(range(10))


# ---- Threads ------------------------------------------------------------------------------------


def test_two_threads_ask_at_once(server: Server, client: Client) -> None:
    go = threading.Event()
    server.script([{"until": go}])
    results = client.map(asks(2), concurrency=1)
    given: list[Any] = []
    thread = in_thread(lambda: given.append(next(results)))
    server.wait_for_requests(1)
    with pytest.raises(ValueError, match="already executing"):
        next(results)
    go.set()
    thread.join()
    assert [number_of(r) for r in [*given, *results]] == [0, 1]


def test_another_thread_closes_it(server: Server, client: Client, never: threading.Event) -> None:
    """Who waits gets the end of the iteration; the client goes on."""
    server.script([{"until": never}] * 3)
    ends: list[str] = []
    results = client.map(asks(9), concurrency=3)
    thread = in_thread(lambda: ends.append(next(results, "the end")))  # type: ignore[arg-type]
    server.wait_for_requests(3)
    results.close()
    thread.join(PATIENCE)
    assert ends == ["the end"]
    never.set()
    server.wait_for_disconnects(3)
    assert_over(results)
    assert client.generate(TASK)["messages"]


def test_handed_from_thread_to_thread(client: Client) -> None:
    results = client.map(asks(20), concurrency=4)
    given: list[int] = []
    for _ in range(20):
        thread = in_thread(lambda: given.append(number_of(next(results))))
        thread.join()
    assert given == list(range(20))


def test_maps_in_threads_on_one_client_with_single_calls_beside_them(client: Client) -> None:
    gate = threading.Barrier(9)
    failures: list[BaseException] = []

    def run(work: Callable[[int], None], number: int) -> None:
        try:
            gate.wait(PATIENCE)
            work(number)
        except BaseException as failure:
            failures.append(failure)

    def mapped(number: int) -> None:
        mine = range(number * 1000, number * 1000 + 50)
        if number % 2:
            found = [number_of(r) for r in client.map(map(ask, mine), concurrency=8)]
        else:
            pairs = client.map(map(ask, mine), concurrency=8, ordered=False)
            found = sorted(number_of(r) for _, r in pairs)
        assert found == list(mine)

    def single(number: int) -> None:
        for each in range(20):
            mine = number * 1000 + each
            assert number_of(client.templatize(text(mine))) == mine

    works = [mapped] * 6 + [single] * 3
    threads = [in_thread(lambda w=w, n=n: run(w, n)) for n, w in enumerate(works)]  # type: ignore[misc]
    for thread in threads:
        thread.join(60)
    assert failures == []


# ---- Early ends ---------------------------------------------------------------------------------


def leave_by_break(results: Map[Any]) -> None:
    for _ in results:
        break


def leave_by_exception(results: Map[Any]) -> None:
    with contextlib.suppress(ZeroDivisionError):
        for _ in results:
            raise ZeroDivisionError


def leave_by_close(results: Map[Any]) -> None:
    next(results)
    results.close()


def leave_by_with(results: Map[Any]) -> None:
    with results as same:
        assert same is results
        next(same)
    assert_over(results)


def leave_by_generator(results: Map[Any]) -> None:
    def wrapped() -> Iterator[Any]:
        yield from results

    generator = wrapped()
    next(generator)
    generator.close()  # type: ignore[attr-defined]


LEAVING = [leave_by_break, leave_by_exception, leave_by_close, leave_by_with, leave_by_generator]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.fault(
    "Process",
    "a map is left or collected, calls in flight",
    ends="the connections are closed; the client goes on",
)
def test_leaving_early_cancels_the_rest(
    server: Server, client: Client, never: threading.Event, leave: Callable[[Map[Any]], None]
) -> None:
    """The connections of those in flight are closed as soon as the map is gone."""
    server.script(held(never, *range(1, 100)))
    results = client.map(asks(100), concurrency=4)
    leave(results)
    connections = server.connections
    del results
    gc.collect()
    never.set()
    server.wait_for_disconnects(connections - 1)  # one of them served the first
    assert len(server.requests) <= 5
    assert client.generate(TASK)["messages"]


def test_collected_in_a_cycle(client: Client) -> None:
    """The iterable holds the map, and the map the iterable; kept failures hold what they may."""
    kept: list[Any] = []

    class Loose:
        pass

    def requests(loose: Any) -> Iterator[Any]:
        yield ask(0)
        failure = LookupError()
        failure.loose = loose  # type: ignore[attr-defined]
        yield from [5, 6, loose]
        yield ask(1)

    loose: Any = Loose()
    watch = weakref.ref(loose)
    results = client.map(requests(loose), concurrency=2, return_exceptions=True)
    loose.results = results
    kept.append(next(results))
    del results, loose
    gc.collect()
    assert watch() is None and len(kept) == 1
    assert [thing for thing in gc.get_objects() if isinstance(thing, Map)] == []


@pytest.mark.parametrize("how", ["end", "failure", "close"])
def test_nothing_is_held_after_the_end(server: Server, how: str) -> None:
    client = client_of(server)
    requests = Counted(3)
    generator = iter(requests)
    results = client.map(generator)
    if how == "end":
        list(results)
    elif how == "failure":
        server.script([{"status": 400}])
        with pytest.raises(BadRequestError):
            list(results)
    else:
        next(results)
        results.close()
    watches = [weakref.ref(client), weakref.ref(generator)]
    del client, generator
    gc.collect()
    assert [watch() for watch in watches] == [None, None]
    assert_over(results)


def test_the_client_is_held_meanwhile(server: Server) -> None:
    results = client_of(server).map(asks(5), concurrency=2)
    gc.collect()
    assert [number_of(result) for result in results] == list(range(5))
    results = client_of(server).with_options(timeout=9).map(asks(5), concurrency=2)
    gc.collect()
    assert [number_of(result) for result in results] == list(range(5))


# ---- Closed clients -----------------------------------------------------------------------------


def test_a_closed_client_refuses_at_once(server: Server) -> None:
    client = client_of(server)
    copy = client.with_options(timeout=5)
    client.close()
    for each in (client, copy):
        with pytest.raises(ClientClosedError):
            each.map([])


@pytest.mark.parametrize("which", ["original", "copy"])
@pytest.mark.parametrize("keeps", [True, False])
def test_closing_ends_a_map_between_two_results(
    server: Server, never: threading.Event, which: str, keeps: bool
) -> None:
    """Whatever `return_exceptions` says: the requests may have no end."""
    server.script(held(never, *range(1, 100)))
    original = client_of(server)
    mapping = original.with_options(max_retries=0)
    results = mapping.map(map(ask, itertools.count()), concurrency=2, return_exceptions=keeps)
    assert number_of(next(results)) == 0
    (original if which == "original" else mapping).close()
    with pytest.raises(ClientClosedError):
        next(results)
    assert_over(results)
    original.close()


@pytest.mark.fault("Process", "close during a map", ends="ClientClosedError")
def test_closing_ends_a_map_that_waits(
    server: Server, client: Client, never: threading.Event
) -> None:
    server.script([{"until": never}] * 3)

    def close() -> None:
        server.wait_for_requests(3)
        client.close()

    thread = in_thread(close)
    with pytest.raises(ClientClosedError):
        list(client.map(asks(9), concurrency=3, ordered=False))
    thread.join()


@pytest.mark.parametrize("keeps", [True, False])
def test_results_that_are_there_come_before_the_end(
    server: Server, client: Client, keeps: bool
) -> None:
    """With the first held, a fourth was sent only because the second and third had ended."""
    go = threading.Event()
    server.script(held(go, 0))

    def release() -> None:
        server.wait_for_requests(4)
        go.set()

    thread = in_thread(release)
    requests = map(ask, itertools.count())
    results = client.map(requests, concurrency=2, return_exceptions=keeps)
    assert number_of(next(results)) == 0
    thread.join()
    client.close()
    assert [number_of(next(results)) for _ in range(2)] == [1, 2]
    with pytest.raises(ClientClosedError):
        for result in results:
            assert number_of(result) == 3
    assert_over(results)


# ---- Time ---------------------------------------------------------------------------------------


def test_deadlines_stand_still_while_the_caller_is_away(server: Server, client: Client) -> None:
    """The answer comes while nobody looks, long after the time that the request has."""
    go = threading.Event()
    server.script(held(go, 1))
    results = client.map(asks(2, timeout=1.0), concurrency=2)
    next(results)
    server.wait_for_requests(2)
    time.sleep(1.5)
    threading.Timer(0.2, go.set).start()  # not there yet when the caller comes back
    assert number_of(next(results)) == 1
    assert_over(results)


def test_deadlines_stand_still_while_a_request_is_read(server: Server, client: Client) -> None:
    go = threading.Event()
    server.script(held(go, 0))

    def requests() -> Iterator[dict[str, Any]]:
        yield ask(0, timeout=1.0)
        time.sleep(0.05)
        yield ask(1)
        time.sleep(1.5)
        threading.Timer(0.2, go.set).start()
        yield ask(2)

    results = client.map(requests(), concurrency=4)
    assert [number_of(result) for result in results] == [0, 1, 2]


def test_deadlines_count_while_it_waits(
    server: Server, client: Client, never: threading.Event
) -> None:
    server.script([{"until": never}] * 2)
    started = time.monotonic()
    requests = [ask(0, timeout=0.3), ask(1, timeout=60)]
    results = client.map(requests, ordered=False, return_exceptions=True)
    index, failure = next(results)
    assert index == 0 and type(failure) is APITimeoutError
    assert 0.3 <= time.monotonic() - started < 5
    results.close()


# ---- Signals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.fault(
    "Process",
    "Ctrl-C in a map",
    ends="KeyboardInterrupt; the rest is cancelled, the client goes on",
)
def test_ctrl_c(server: Server, client: Client, never: threading.Event, ordered: bool) -> None:
    """The rest is cancelled, and the client goes on."""
    server.script([{"until": never}] * 8)
    sent: list[float] = []
    wanted = [True]

    def interrupt() -> None:
        server.wait_for_requests(8)
        sent.append(time.monotonic())
        if wanted:
            os.kill(os.getpid(), signal.SIGINT)

    results: Map[Any] = client.map(asks(99), concurrency=8, ordered=ordered)
    thread = in_thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        try:
            next(results)
        finally:
            wanted.clear()
    assert time.monotonic() - sent[0] < 1.0  # the promise is a tenth
    thread.join()
    never.set()
    server.wait_for_disconnects(8)
    assert_over(results)
    assert client.generate(TASK)["messages"]


def test_a_signal_handler_runs_and_the_map_goes_on(server: Server, client: Client) -> None:
    ran = threading.Event()
    server.script([{"until": ran}])

    def send() -> None:
        server.wait_for_requests(1)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: ran.set())
    try:
        thread = in_thread(send)
        assert [number_of(r) for r in client.map(asks(3))] == [0, 1, 2]
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


# ---- Processes ----------------------------------------------------------------------------------


def in_child(work: Callable[[], str]) -> str:
    """What `work` says in a fork of this process, which then ends without a farewell."""
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        try:
            said = work()
        except BaseException as failure:
            said = repr(failure)
        os.write(writable, said.encode())
        os._exit(0)
    os.close(writable)
    with open(readable, "rb") as file:
        said = file.read().decode()
    os.waitpid(child, 0)
    return said


def outcome(results: Map[Any]) -> str:
    try:
        next(results)
    except Exception as failure:
        return f"{type(failure).__name__}: {failure}, then {next(results, 'the end')}"
    return "a result"


BEGUN = "ClientClosedError: the map was begun before a fork, then the end"

if sys.version_info >= (3, 12):
    forks = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
else:
    forks = pytest.mark.filterwarnings("default")


@forks
@pytest.mark.parametrize("taken", [0, 1, 3])
def test_fork_between_two_results(server: Server, client: Client, taken: int) -> None:
    """The child's is of no use, the parent's goes on; the client serves both."""
    results = client.map(asks(8), concurrency=3)
    given = [number_of(next(results)) for _ in range(taken)]

    def work() -> str:
        said = outcome(results)
        fresh = [number_of(result) for result in client.map(asks(3))]
        return f"{said}, {fresh}"

    assert in_child(work) == f"{BEGUN}, [0, 1, 2]"
    assert given + [number_of(result) for result in results] == list(range(8))


@forks
def test_fork_by_the_iterable(client: Client) -> None:
    said: list[str] = []

    def requests() -> Iterator[dict[str, Any]]:
        yield from asks(3)
        readable, writable = os.pipe()
        child = os.fork()
        if not child:
            inherited.append(writable)
            yield ask(3)
        os.close(writable)
        with open(readable, "rb") as file:
            said.append(file.read().decode())
        os.waitpid(child, 0)
        yield ask(3)

    inherited: list[int] = []
    results = client.map(requests(), concurrency=8)
    try:
        numbers = [number_of(result) for result in results]
        if inherited:
            os._exit(1)
    except BaseException as failure:
        if not inherited:
            raise
        os.write(inherited[0], f"{type(failure).__name__}: {failure}".encode())
        os._exit(0)
    assert numbers == [0, 1, 2, 3]
    assert said == ["ClientClosedError: the map was begun before a fork"]


@forks
def test_fork_while_another_thread_waits(server: Server, client: Client) -> None:
    go = threading.Event()
    server.script([{"until": go}])
    results = client.map(asks(3), concurrency=1)
    given: list[int] = []
    thread = in_thread(lambda: given.extend(number_of(result) for result in results))
    server.wait_for_requests(1)

    def work() -> str:
        nonlocal results
        said = outcome(results)
        del results
        gc.collect()
        return said

    assert in_child(work) == BEGUN
    go.set()
    thread.join()
    assert given == [0, 1, 2]


# ---- Logging ------------------------------------------------------------------------------------


def test_each_call_is_logged(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    server.script([None, {"status": 400}])
    with caplog.at_level(logging.DEBUG, "promptlathe"):
        list(client.map([*asks(3), {"verb": "x"}], concurrency=1, return_exceptions=True))
    calls = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    attempts = [r.getMessage() for r in caplog.records if r.levelno == logging.DEBUG]
    assert ["ok" in line for line in calls] == [True, False, True]
    assert "BadRequestError, status 400" in calls[1]
    assert len(attempts) == 3 and text(0) not in "".join(attempts)


def test_retries_are_logged_while_the_map_waits(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> int:
        return sum(record.levelno == logging.WARNING for record in caplog.records)

    known: list[int] = []
    again = {"status": 503, "headers": {"retry-after-ms": "30"}}
    server.script([again, lambda request: known.append(warnings())])
    with caplog.at_level(logging.DEBUG, "promptlathe"), client_of(server, max_retries=1) as client:
        list(client.map(asks(1)))
    assert known == [1]


def test_bodies_are_logged_when_asked_for(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "promptlathe"):
        with client_of(server, log_bodies=True) as client:
            list(client.map(asks(2), concurrency=1))
    bodies = [r.getMessage() for r in caplog.records if "body" in r.getMessage()]
    assert len(bodies) == 4 and text(1) in bodies[2]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING])
@pytest.mark.parametrize("kind", [ZeroDivisionError, SystemExit])
def test_what_logging_raises_is_the_request_s(
    server: Server, level: int, kind: type[BaseException]
) -> None:
    """As for a single call; what no program handles in passing ends the map."""

    class Broken(logging.Handler):
        left = 1

        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == level and self.left:
                self.left -= 1
                raise kind

    server.script([{"status": 503, "headers": {"retry-after-ms": "1"}}])
    logger, handler = logging.getLogger("promptlathe"), Broken()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with client_of(server, max_retries=1) as client:
            results = client.map(asks(3), concurrency=1, return_exceptions=True)
            if kind is ZeroDivisionError:
                given = list(results)
                assert type(given.pop(0)) is kind and [number_of(r) for r in given] == [1, 2]  # type: ignore[arg-type]
            else:
                with pytest.raises(kind):
                    list(results)
                assert_over(results)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_a_stop_that_logging_raises_does_not_end_the_map_in_silence(client: Client) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise StopIteration

    logger, handler = logging.getLogger("promptlathe"), Broken()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with pytest.raises(RuntimeError, match="raised StopIteration") as raised:
            list(client.map(asks(3)))
        assert isinstance(raised.value.__cause__, StopIteration)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


def test_logging_closes_the_map(server: Server, client: Client) -> None:
    class Closing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            results.close()

    logger, handler = logging.getLogger("promptlathe"), Closing()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        results = client.map(asks(3), concurrency=2)
        assert len(list(results)) <= 1
        assert_over(results)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert promptlathe.Map is Map
