"""Objects that many threads use and change at once.

With a GIL these tests look for what switches between threads can do; on a free-threaded Python, for
what real parallel use can. Every service here is a test's own, so that each test may also be run in
several threads at once.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import pickle
import subprocess
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import promptlathe
import pytest
from one_call import KEY, TASK, client_of
from promptlathe import (
    APIStatusError,
    Client,
    ClientClosedError,
    InvalidRequestError,
    MissingVariableError,
    RawResponse,
    Timeout,
)
from test_threads import serving, together

NOWHERE = "http://127.0.0.1:1"
READERS = 6
CHANGERS = 2
ROUNDS = 40


def read_while_changed(
    read: Callable[[], None], change: Callable[[int], None], rounds: int = ROUNDS
) -> None:
    """Several threads read something `rounds` times each while others change it all the time."""
    reading = threading.Semaphore(0)
    over = threading.Event()

    def work(number: int) -> None:
        if number < CHANGERS:
            for step in itertools.count(number):
                change(step)
                if over.is_set():
                    return
        try:
            for _ in range(rounds):
                read()
        finally:
            reading.release()

    def watch() -> None:
        for _ in range(READERS):
            reading.acquire(timeout=60)
        over.set()

    count = CHANGERS + READERS
    together(lambda number: watch() if number == count else work(number), count + 1)


def test_the_gil_stays_off_where_it_is_off() -> None:
    """The extension says that it needs none; else its import would switch the GIL on for all."""
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this Python always has a GIL")
    code = "import sys, promptlathe.mock, promptlathe._core; print(sys._is_gil_enabled())"
    package = Path(promptlathe.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


# ---- Values that others change ------------------------------------------------------------------


def test_messages_that_many_read_and_several_change() -> None:
    """Each reader sees whole strings that were there at some time, or is told of a fault."""
    block: dict[str, Any] = {"type": "text", "text": "one {{A}}"}
    content: list[Any] = [block]
    messages: list[Any] = [{"role": "user", "content": content}]
    texts = ["one {{A}}", "zwei \xe9 {{B}}", "three \U0001f600 {{C}}", ""]
    results = ["one a", "zwei \xe9 b", "three \U0001f600 c"]

    def change(step: int) -> None:
        block["text"] = texts[step % len(texts)]
        if step % 3 == 0:
            content.append({"type": "text", "text": texts[step // 3 % len(texts)]})
            messages.append({"role": "user", "content": content})
        elif step % 3 == 1:
            block[f"further-{step % 40}"] = None
            del content[1:]
        else:
            del messages[1:]
            for number in range(40):
                block.pop(f"further-{number}", None)

    def read() -> None:
        with contextlib.suppress(InvalidRequestError):
            for message in promptlathe.validate_messages(messages):
                assert message["role"] == "user"
                assert {part["text"] for part in message["content"]} <= {*texts}
        with contextlib.suppress(InvalidRequestError):
            assert {*promptlathe.find_variables(messages)} <= {"A", "B", "C"}
        with contextlib.suppress(InvalidRequestError, MissingVariableError):
            rendered = promptlathe.render(messages, {"A": "a", "B": "b", "C": "c"})
            assert {part["text"] for part in rendered[0]["content"]} <= {*texts, *results}

    read_while_changed(read, change)


def test_a_list_is_taken_as_it_is_at_one_moment() -> None:
    """What is at fault stays last, however often the list before it grows and shrinks."""
    good = {"role": "user", "content": "x"}
    messages: list[Any] = [good, None]

    def change(step: int) -> None:
        messages[:-1] = [good] * (step % 30)

    def read() -> None:
        with pytest.raises(InvalidRequestError) as caught:
            promptlathe.validate_messages(messages)
        assert caught.value.total == 1

    read_while_changed(read, change, rounds=1000)


def test_values_of_a_template_that_others_change() -> None:
    """A name goes with its own value, however often the dict grows and shrinks."""
    values: dict[str, str] = {"A": "a-0", "B": "b-0"}

    def change(step: int) -> None:
        values["A"] = f"a-{step}"
        values["B"] = f"b-{step}"
        values[f"V{step % 50}"] = "v"
        if step % 50 == 49:
            values.clear()
            values.update(A="a-0", B="b-0")

    def read() -> None:
        text = promptlathe.render("{{A}} {{B}}", values, partial=True)
        a, b = text.split(" ")
        assert a == "{{A}}" or a.startswith("a-"), text
        assert b == "{{B}}" or b.startswith("b-"), text

    read_while_changed(read, change)


def test_options_that_others_change() -> None:
    """A header keeps its own value; betas are those that stood in the list at some time."""
    headers: dict[str, str] = {}
    betas: list[str] = []
    known = {f"beta-{number}" for number in range(20)}

    def change(step: int) -> None:
        number = step % 20
        headers[f"x-test-{number}"] = f"value-{number}"
        betas.append(f"beta-{number}")
        if number == 19:
            headers.clear()
            del betas[:]

    with serving() as server, client_of(server) as client:

        def read() -> None:
            with client.with_options(default_headers=headers, betas=betas) as copy:
                copy.generate(TASK, extra_headers=headers, betas=betas)
            Client(KEY, base_url=NOWHERE, default_headers=headers, betas=betas).close()

        read_while_changed(read, change, rounds=8)
        assert len(server.requests) == READERS * 8
        for request in server.requests:
            sent = {k: v for k, v in request.headers.items() if k.startswith("x-test-")}
            assert all(v == f"value-{k.rpartition('-')[2]}" for k, v in sent.items())
            assert {*request.headers["anthropic-beta"].split(",")[1:]} <= known


def test_a_string_that_many_threads_encode_first() -> None:
    """A str makes its UTF-8 form once, at the first request for it."""
    for number in range(30):
        text = f"{number} \xe9\u4e16\U0001f600 " * 50
        expected = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        found: list[Any] = []

        def work(_: int, text: str = text, found: list[Any] = found) -> None:
            found.append(promptlathe.validate_messages(text))

        together(work, 8)
        assert found == [expected] * 8


# ---- Clients ------------------------------------------------------------------------------------


class Meeting:
    """A number of seconds; whoever reads it waits until `count` threads do."""

    def __init__(self, count: int) -> None:
        self.gate = threading.Barrier(count)

    def __float__(self) -> float:
        self.gate.wait(30)
        return 20.0


def test_a_client_is_set_up_by_one_thread() -> None:
    """One of those that are in __init__ at once succeeds; what it made stays."""
    for _ in range(20):
        client = Client.__new__(Client)
        timeout: Any = Meeting(4)
        outcomes: list[str] = []

        def work(
            number: int,
            client: Client = client,
            timeout: Any = timeout,
            outcomes: list[str] = outcomes,
        ) -> None:
            try:
                client.__init__(KEY, base_url=f"{NOWHERE}{number}", timeout=timeout)  # type: ignore[misc]
                outcomes.append(client.base_url)
            except RuntimeError as error:
                assert "set up already" in str(error)

        together(work, 4)
        assert outcomes == [client.base_url]


def test_a_client_that_is_used_before_it_is_set_up() -> None:
    with serving() as server:
        for _ in range(20):
            client = Client.__new__(Client)

            def work(number: int, client: Client = client) -> None:
                if number == 0:
                    client.__init__(KEY, base_url=server.url)  # type: ignore[misc]
                    return
                for _ in range(100):
                    seen = repr(client)
                    assert "not set up" in seen or server.url in seen
                    with contextlib.suppress(RuntimeError):
                        assert client.rate_limits == {}

            together(work, 4)
            assert client.generate(TASK)["messages"]
            client.close()


def test_close_while_others_use_and_copy() -> None:
    """Every use ends in its result or in ClientClosedError, and afterwards all is closed."""
    with serving() as server:
        for _ in range(10):
            client = client_of(server)
            copies: list[Client] = []

            def use(number: int, client: Client, copies: list[Client]) -> None:
                while not client.closed:
                    copies.append(client.with_options(timeout=5 + number))
                    assert copies[-1].with_raw_response.generate(TASK).status == 200
                    assert isinstance(client.rate_limits, dict) and repr(client)

            def work(number: int, client: Client = client, copies: list[Client] = copies) -> None:
                if number == 0:
                    copies.append(client.with_options(timeout=5))
                    copies[0].generate(TASK)
                    client.close()
                    return
                with contextlib.suppress(ClientClosedError):
                    use(number, client, copies)

            together(work, 6)
            assert client.closed and all(copy.closed for copy in copies)


def test_the_last_reference_goes_in_any_thread() -> None:
    """Whoever drops a client last frees it, also while weak references to it are taken."""
    with serving() as server:
        for _ in range(20):
            holder = [client_of(server)]
            reference = weakref.ref(holder[0])

            def work(
                number: int,
                holder: list[Client] = holder,
                reference: weakref.ref[Client] = reference,
            ) -> None:
                if number == 0:
                    holder.pop().generate(TASK)
                elif (client := reference()) is not None:
                    mine = [weakref.ref(client), client.with_raw_response, client.with_options()]
                    del client
                    mine.pop(1).generate(TASK)  # type: ignore[union-attr]

            together(work, 6)
            gc.collect()
            assert reference() is None


DEFAULT = """
import gc, os, sys, threading
import promptlathe
os.environ["ANTHROPIC_API_KEY"] = "key"
os.environ["ANTHROPIC_BASE_URL"] = sys.argv[1]
gate = threading.Barrier(8)
answers = []
def work():
    gate.wait()
    answers.append(promptlathe.generate("one")["messages"])
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
gc.collect()
print(len(answers), sum(isinstance(o, promptlathe.Client) for o in gc.get_objects()))
"""


def test_the_default_client_is_made_once() -> None:
    """Threads that make the first call together end up with the same client."""
    package = Path(promptlathe.__file__).parents[1]
    with serving() as server:
        done = subprocess.run(
            [sys.executable, "-c", DEFAULT, server.url],
            env={**os.environ, "PYTHONPATH": str(package)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.stdout, done.stderr) == ("8 1\n", "")


# ---- Results and errors -------------------------------------------------------------------------


def test_results_that_many_threads_share() -> None:
    """One RawResponse, Timeout and exception, read in every way by all threads."""
    with serving() as server, client_of(server) as client:
        server.script([None, {"status": 429, "headers": {"retry-after": "1"}}])
        raw: RawResponse[Any] = client.with_raw_response.generate(TASK)
        with pytest.raises(APIStatusError) as caught:
            client.generate(TASK)
        error, limit = caught.value, Timeout(20, 3)

        def work(number: int) -> None:
            for _ in range(20):
                again = pickle.loads(pickle.dumps(raw))
                assert again.data == raw.data and again.headers == raw.headers
                assert repr(again) == repr(raw)
                assert pickle.loads(pickle.dumps(limit)) == limit and hash(limit) == hash((20, 3))
                other = pickle.loads(pickle.dumps(error))
                assert other.status_code == 429 and other.body == error.body
                with pytest.raises(APIStatusError):
                    raise error
            assert client.generate(TASK, timeout=limit)["messages"]

        together(work, 8)


def test_errors_of_all_kinds_at_once() -> None:
    """The tree of exceptions is shared; each thread gets the attributes of its own error."""

    def answer(request: Any) -> dict[str, Any]:
        number = int(request.json["task"])
        body = {"type": "error", "error": {"type": "t", "message": f"no {number}"}}
        return {"status": (400, 404, 429, 500)[number % 4], "body": body}

    with serving() as server, client_of(server) as client:
        server.script([answer] * 64)

        def work(number: int) -> None:
            for turn in range(8):
                mine = number * 8 + turn
                with pytest.raises(APIStatusError) as caught:
                    client.generate(str(mine))
                error = caught.value
                assert error.message == f"no {mine}"
                assert error.status_code == (400, 404, 429, 500)[mine % 4]
                with pytest.raises(InvalidRequestError) as refused:
                    promptlathe.validate_messages([mine] * (mine + 1))  # type: ignore[list-item]
                assert refused.value.total == mine + 1
                with pytest.raises(MissingVariableError) as missing:
                    promptlathe.render(f"{{{{V{mine}}}}}", {})
                assert missing.value.names == [f"V{mine}"]

        together(work, 8)
