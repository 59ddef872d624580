"""The client against random faults: ``python random_scripts.py --count 10000 --seed 1 [--only N]``.

A script is drawn from the seed and its number: a client with its options, calls of one kind (one
after another, by threads, by `map`, in asyncio), cancels, limits, a close in between; the server's
part, plain HTTP/1.1, HTTP/1.1 over TLS or HTTP/2, is random_server.py's. Every call must end in its
time, with a documented outcome, with its own answer; the client must work afterwards; nothing may
be left. ``--only`` plays one script again and tells what was done on both sides (threads and the
network may take another turn, though).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import json
import os
import pickle
import queue
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO, Any

import promptlathe
from promptlathe import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AsyncClient,
    Client,
    ClientClosedError,
    Timeout,
)

KEY = "sk-random-0123456789abcdef"
SECRET = "the words of the request"
PATIENCE = 60.0  # seconds without the end of any script: a hang
LATE = 1.0  # seconds that a call may take beyond its deadline
# A machine that is busy elsewhere can hold up this whole process: who is late by less than this is
# played again alone, and must be in time then, so often.
HELD_UP = 5.0
REPEATS = 3
TIMEOUTS = [0.05, 0.1, 0.2, 0.4, 0.7, 1.0]
# "resolve", though the address is one of numbers: a call over HTTP/2 that waits for the handshake of
# another's connection, of which libcurl says nothing.
PHASES = {"queue", "resolve", "connect", "tls", "send", "wait", "read"}
BY_STATUS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    413: "RequestTooLargeError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    529: "OverloadedError",
}


# ---- The server ---------------------------------------------------------------------------------


class Service:
    """The process of random_server.py."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.ca_file = folder / "authority.pem"
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-m", "faults.random_server", str(seed), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


class Control:
    """What a script says to the server."""

    def __init__(self, port: int, number: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file = self._socket.makefile("rw")
        self.url = self.ask(f"open {number}")

    def ask(self, what: str) -> str:
        self._file.write(f"{what}\n")
        self._file.flush()
        return self._file.readline().strip()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()
        self._socket.close()


# ---- A script -----------------------------------------------------------------------------------


@dataclass
class Call:
    """One call: what is asked, and within which limits."""

    number: int
    verb: str
    text: str
    total: float  # seconds, its deadline
    retries: int
    options: dict[str, Any]
    read: float = 0.0  # when `map` took it from its source
    doomed: bool = False  # it is made on a copy of the client that is closed meanwhile

    def arguments(self) -> dict[str, Any]:
        """The verb's arguments by name, options included."""
        name = "task" if self.verb == "generate" else "messages"
        return {name: self.text, **self.options}

    def request(self) -> dict[str, Any]:
        return {"verb": self.verb, **self.arguments()}


@dataclass
class Script:
    """What is drawn for a number, what has come of it, and what was wrong."""

    seed: int
    number: int
    ca_file: Path
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    unusable: str = ""
    said: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    attempts: dict[int, int] = field(default_factory=dict)  # by call, as the outcome tells
    began: float = field(default_factory=time.monotonic)
    took: float = 0.0
    loop: asyncio.AbstractEventLoop | None = None
    worst: float = 0.0  # the most seconds by which a call was late
    closing: bool = False  # a call may be told that its client is closed
    clients: list[Any] = field(default_factory=list)  # the client, perhaps with copies
    doomed: Any = None  # a copy that is closed while others are used
    closed: float = float("inf")  # when it was

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.random = Random(f"{self.seed} {self.number}")
        self.total = self.random.choice(TIMEOUTS)
        self.retries = self.random.randint(0, 3)

    # ---- Drawing ----

    def client_options(self) -> dict[str, Any]:
        timeout = Timeout(total=self.total, connect=self.random.choice([0.03, 1, 5]))
        return {
            "base_url": self.url,
            "ca_file": self.ca_file if self.url.startswith("https") else None,
            "max_retries": self.retries,
            "timeout": self.total if self.random.random() < 0.7 else timeout,
        }

    def draw_call(self) -> Call:
        """A call with an id of its own."""
        random = self.random
        number = len(self.calls)
        filler = "x" * random.choice([0, 0, 0, 0, 0, 1000, 20_000, 300_000])
        call = Call(
            number,
            random.choice(["generate", "improve", "templatize"]),
            f"<{self.number}:{number}> {SECRET} {filler}",
            self.total,
            self.retries,
            {},
        )
        if random.random() < 0.3:
            call.total = call.options["timeout"] = random.choice(TIMEOUTS)
        if random.random() < 0.3:
            call.retries = call.options["max_retries"] = random.randint(0, 3)
        self.calls.append(call)
        return call

    def draw_calls(self, least: int, most: int) -> list[Call]:
        return [self.draw_call() for _ in range(self.random.randint(least, most))]

    def draw_copies(self, client: Any) -> None:
        """Perhaps add copies, which share the client's engines; one of them may be doomed."""
        self.clients = [client]
        if self.random.random() < 0.4:
            self.clients += [client.with_options(betas=["x-1"]), client.with_options()]
            if self.random.random() < 0.5:
                self.doomed = self.clients[-1]

    def choose(self, call: Call) -> Any:
        """The client that makes this call."""
        chosen = self.random.choice(self.clients)
        call.doomed = chosen is self.doomed
        return chosen

    # ---- Judging ----

    def fail(self, what: str) -> None:
        self.wrong.append(what)

    def draw_last(self) -> Call:
        """A call that must be answered well, once the server is calm."""
        call = self.draw_call()
        call.total, call.retries = 30.0, 10  # a gate that was closed opens by degrees
        timeout = Timeout(total=call.total, connect=call.total)  # the client's may be too short
        call.options = {"timeout": timeout, "max_retries": call.retries}
        return call

    def say(self, what: str) -> None:
        self.said.append(what)

    def ended(self, call: Call, outcome: Any, began: float, limit: float | None = None) -> None:
        """A call has come to its end: judge its time and what it gave."""
        now = time.monotonic()
        late = now - began - (call.total if limit is None else limit)
        if self.closed < now:
            late = max(late, now - max(self.closed, began))
        self.worst = max(self.worst, late)
        self.say(f"call {call.number} ({call.verb}): {now - began:.3f} s, {outcome!r:.300}")
        self.judge_time(late, f"call {call.number}: {outcome!r:.300}")
        with self.lock:
            self.judge(call, outcome)

    def judge_time(self, late: float, what: str) -> None:
        if late > LATE:
            told = f"{late:.3f} s late, {what}"
            (self.late if late <= HELD_UP else self.wrong).append(told)

    def judge(self, call: Call, outcome: Any) -> None:
        """Whether it is one of the documented outcomes, and this call's own."""
        self.outcomes[type(outcome).__name__] += 1
        if isinstance(outcome, (dict, promptlathe.RawResponse)):
            self.judge_result(call, outcome)
        elif isinstance(outcome, APIError):
            self.judge_error(call, outcome)
        elif isinstance(outcome, ClientClosedError) and (self.closing or call.doomed):
            pass
        else:
            trace = "".join(traceback.format_exception(outcome))
            self.fail(f"call {call.number}: undocumented outcome {outcome!r:.300}\n{trace}")

    def judge_result(self, call: Call, outcome: Any) -> None:
        data = outcome
        if isinstance(outcome, promptlathe.RawResponse):
            data = outcome.data
            self.judge_attempts(call, outcome.attempts, 1)
            self.judge_owner(call, outcome.request_id)
            if outcome.status != 200 or not 0 <= outcome.elapsed < call.total + HELD_UP:
                self.fail(f"call {call.number}: {outcome.status}, {outcome.elapsed} s")
        mine = f"<{self.number}:{call.number}>"
        if set(re.findall(r"<\d+:\d+>", str(data))) != {mine}:
            self.fail(f"call {call.number} was given {data!r:.300}")

    def judge_owner(self, call: Call, request_id: str | None) -> None:
        if request_id is not None and f"req_{self.number}_{call.number}" not in request_id:
            self.fail(f"call {call.number} was given the answer of {request_id}")

    def judge_attempts(self, call: Call, attempts: int, least: int) -> None:
        self.attempts[call.number] = attempts
        if not least <= attempts <= call.retries + 1:
            self.fail(f"call {call.number}: {attempts} attempts, with {call.retries} retries")

    def judge_error(self, call: Call, error: APIError) -> None:
        least = 0 if isinstance(error, APITimeoutError) else 1
        self.judge_attempts(call, error.attempts, least)
        for word in (SECRET, KEY):
            if word in str(error):
                self.fail(f"call {call.number}: {word} in {error}")
        again = pickle.loads(pickle.dumps(error))
        if type(again) is not type(error) or str(again) != str(error):
            self.fail(f"call {call.number}: pickled, {error!r} becomes {again!r}")
        if isinstance(error, APIConnectionError):
            self.judge_connection(call, error)
        elif isinstance(error, (APIStatusError, APIResponseValidationError)):
            self.judge_owner(call, error.request_id)
            self.judge_status(call, error)
        else:
            self.fail(f"call {call.number}: {type(error)}")

    def judge_connection(self, call: Call, error: APIConnectionError) -> None:
        if type(error) not in (APIConnectionError, APITimeoutError):
            self.fail(f"call {call.number}: {type(error)}")
        if error.phase not in PHASES or error.host != "127.0.0.1":
            self.fail(f"call {call.number}: phase {error.phase}, host {error.host}")

    def judge_status(self, call: Call, error: APIStatusError | APIResponseValidationError) -> None:
        status = error.status_code
        kind = BY_STATUS.get(status, "InternalServerError" if status >= 500 else "APIStatusError")
        if 200 <= status < 300 or isinstance(error, APIResponseValidationError):
            kind = "APIResponseValidationError"
        if type(error).__name__ != kind:
            self.fail(f"call {call.number}: {type(error).__name__} for status {status}")

    def judge_requests(self, counts: dict[str, int]) -> None:
        """Nothing may have been sent more often than the outcome says."""
        for call in self.calls:
            count = counts.get(f"{self.number}:{call.number}", 0)
            most = self.attempts.get(call.number, call.retries + 1)
            if count > most:
                self.fail(f"call {call.number} was sent {count} times, with {most} attempts")

    def judge_usable(self, call: Call, outcome: Any) -> None:
        if not isinstance(outcome, dict):
            self.unusable = f"the client is not usable afterwards: {outcome!r}"
        else:
            self.judge(call, outcome)


def outcome_of(work: Callable[[], Any]) -> Any:
    """What it returns or raises."""
    try:
        return work()
    except Exception as error:
        return error


def plain_call(client: Client, call: Call, raw: bool) -> Any:
    target = client.with_raw_response if raw else client
    return outcome_of(lambda: getattr(target, call.verb)(**call.arguments()))


# ---- Synchronous scripts ------------------------------------------------------------------------


def one_by_one(script: Script) -> None:
    """Calls one after another."""
    with closed_meanwhile(script):
        for call in script.draw_calls(1, 5):
            chosen, raw = script.choose(call), script.random.random() < 0.3
            began = time.monotonic()
            script.ended(call, plain_call(chosen, call, raw), began)


def in_threads(script: Script) -> None:
    """Threads that share the client, each with calls of its own."""
    start = threading.Barrier(script.random.randint(2, 6))

    def run(mine: list[tuple[Client, Call, bool]]) -> None:
        start.wait()
        for chosen, call, raw in mine:
            began = time.monotonic()
            script.ended(call, plain_call(chosen, call, raw), began)

    def draw() -> list[tuple[Client, Call, bool]]:
        calls = script.draw_calls(1, 3)
        return [(script.choose(call), call, script.random.random() < 0.2) for call in calls]

    parts = [draw() for _ in range(start.parties)]
    threads = [threading.Thread(target=run, args=[part]) for part in parts]
    with closed_meanwhile(script):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@contextlib.contextmanager
def closed_meanwhile(script: Script) -> Iterator[None]:
    """Close the doomed copy, if there is one, while the body is at work."""
    if script.doomed is None:
        yield
        return
    timer = threading.Timer(script.random.uniform(0, 0.2), script.doomed.close)
    timer.start()
    yield
    timer.join()


@dataclass
class Mapping:
    """How a map is used, and what it has given."""

    script: Script
    calls: list[Call]
    concurrency: int
    ordered: bool
    keeps: bool
    leave: int  # after so many results
    pauses: list[float]  # of the caller, in turn
    given: list[int] = field(default_factory=list)
    away: float = 0.0

    @classmethod
    def drawn(cls, script: Script) -> Mapping:
        random = script.random
        calls = script.draw_calls(1, 12)
        leave = random.randint(0, len(calls)) if random.random() < 0.3 else len(calls) + 1
        pauses = [random.uniform(0, 0.02) if random.random() < 0.2 else 0.0 for _ in calls]
        concurrency = random.choice([1, 2, 3, 5, 16])
        flags = random.random() < 0.6, random.random() < 0.7
        return cls(script, calls, concurrency, *flags, leave, pauses)

    def options(self) -> dict[str, Any]:
        return {
            "concurrency": self.concurrency,
            "ordered": self.ordered,
            "return_exceptions": self.keeps,
        }

    def source(self) -> Iterator[dict[str, Any]]:
        for call in self.calls:
            call.read = time.monotonic() - self.away
            yield call.request()

    async def async_source(self) -> AsyncIterator[dict[str, Any]]:
        for request in self.source():
            await asyncio.sleep(0)
            yield request

    def take(self, item: Any) -> bool:
        """A result was given; whether the next is wanted."""
        index, result = (len(self.given), item) if self.ordered else item
        if index in self.given:
            self.script.fail(f"map gave result {index} twice")
        self.given.append(index)
        call = self.calls[index]
        self.script.ended(call, result, call.read + self.away, self.limit())
        return len(self.given) < self.leave

    def pause(self) -> float:
        """How long the caller stays away now."""
        self.away += (seconds := self.pauses[len(self.given) - 1])
        return seconds

    def limit(self) -> float:
        # A result waits for those before it, whose deadlines may be longer; they were read before.
        return max(call.total for call in self.calls)

    def over(self, failure: Exception | None) -> None:
        """The iteration is over, by itself or by a failure."""
        if failure is None:
            if len(self.given) != len(self.calls):
                self.script.fail(f"map gave {len(self.given)} results of {len(self.calls)}")
            return
        if isinstance(failure, ClientClosedError) and self.script.closing:
            self.script.outcomes["ClientClosedError of a map"] += 1
            return
        if self.keeps:
            self.script.fail(f"map raised {failure!r} in spite of return_exceptions")
        if call := self.failed(failure):
            self.script.ended(call, failure, call.read + self.away, self.limit())
            if not self.ordered:
                self.script.attempts.pop(call.number, None)  # it is a guess whose they were

    def failed(self, failure: Exception) -> Call | None:
        """Whose failure it is; without an order and a name, the call that may have tried most."""
        if self.ordered:
            return self.calls[len(self.given)]
        named = re.search(r"req_\d+_(\d+)", str(getattr(failure, "request_id", "")))
        others = [call for call in self.calls if call.number not in self.given and call.read]
        if named:
            others = [call for call in others if call.number == int(named[1])]
        if not others:
            self.script.fail(f"map raised a failure of no call: {failure!r}")
        return max(others, key=lambda call: call.retries, default=None)


def mapped(script: Script) -> None:
    """A map, which may be left early."""
    mapping = Mapping.drawn(script)
    client = script.random.choice(script.clients)
    results = outcome_of(lambda: client.map(mapping.source(), **mapping.options()))
    if isinstance(results, Exception):
        mapping.over(results)
        return
    failure = outcome_of(lambda: _take_all(mapping, results))
    if failure is not True:
        mapping.over(failure)
        if outcome_of(lambda: next(results)).__class__ is not StopIteration:
            script.fail("a map that is over gave another result")
    elif script.random.random() < 0.5:
        results.close()


def _take_all(mapping: Mapping, results: Iterator[Any]) -> bool | None:
    """Take results; True when the map was left early."""
    if mapping.leave == 0:
        return True
    for item in results:
        if not mapping.take(item):
            return True
        time.sleep(mapping.pause())
    return None


# ---- Scripts in asyncio -------------------------------------------------------------------------


async def async_call(client: AsyncClient, call: Call, raw: bool) -> Any:
    target = client.with_raw_response if raw else client
    try:
        return await getattr(target, call.verb)(**call.arguments())
    except Exception as error:
        return error


async def gathered(script: Script) -> None:
    """Tasks at once; some are cancelled, some have a limit from outside."""
    random = script.random

    async def run(call: Call, chosen: AsyncClient, raw: bool, limit: float | None) -> None:
        began = time.monotonic()
        try:
            outcome = await asyncio.wait_for(async_call(chosen, call, raw), limit)
        except TimeoutError:
            late = time.monotonic() - began - (limit or 0.0)
            script.outcomes["wait_for"] += 1
            script.judge_time(late, f"call {call.number}, wait_for({limit})")
            if limit is None or late < -0.01:
                script.fail(
                    f"call {call.number}: TimeoutError, wait_for({limit}), {late:.3f} s late"
                )
            return
        script.ended(call, outcome, began)

    tasks, cancelled = [], []
    if script.doomed is not None:
        tasks.append(asyncio.create_task(_close_copy(script, random.uniform(0, 0.2))))
    for call in script.draw_calls(1, 10):
        limit = random.uniform(0.0, 0.3) if random.random() < 0.2 else None
        chosen, raw = script.choose(call), random.random() < 0.2
        tasks.append(asyncio.create_task(run(call, chosen, raw, limit)))
        if random.random() < 0.2:
            after = random.choice([0.0, random.uniform(0.0, 0.2)])
            asyncio.get_running_loop().call_later(after, tasks[-1].cancel)
            cancelled.append(tasks[-1])
    for task, result in zip(
        tasks, await asyncio.gather(*tasks, return_exceptions=True), strict=True
    ):
        if isinstance(result, asyncio.CancelledError) and task in cancelled:
            script.outcomes["cancelled"] += 1
        elif result is not None:
            raise result


async def _close_copy(script: Script, delay: float) -> None:
    await asyncio.sleep(delay)
    await script.doomed.close()


async def async_mapped(script: Script) -> None:
    """A map in asyncio, which may be left early."""
    mapping = Mapping.drawn(script)
    is_async = script.random.random() < 0.3
    source: Any = mapping.async_source() if is_async else mapping.source()
    results = script.random.choice(script.clients).map(source, **mapping.options())
    try:
        early = await _take_all_async(mapping, results)
    except Exception as failure:
        mapping.over(failure)
        return
    if not early:
        mapping.over(None)
    elif script.random.random() < 0.5:
        await results.aclose()


async def _take_all_async(mapping: Mapping, results: AsyncIterator[Any]) -> bool:
    if mapping.leave == 0:
        return True
    async for item in results:
        if not mapping.take(item):
            return True
        await asyncio.sleep(mapping.pause())
    return False


# ---- Playing ------------------------------------------------------------------------------------

SCENES = [one_by_one, in_threads, mapped]
ASYNC_SCENES = [gathered, async_mapped]


def play(script: Script, control: Control) -> None:
    """Play a script from the making of its client to its end."""
    script.url = control.url
    if script.random.random() < 0.5:
        _play_plainly(script, control)
    else:
        _play_in_asyncio(script, control)
    report = json.loads(control.ask("end"))
    script.clients, script.doomed = [], None  # they would keep the client alive
    script.judge_requests(report["requests"])
    if script.unusable:
        # Unless the server itself was held up: then it is played again, as what is late.
        (script.late if report["held_up"] > LATE else script.wrong).append(script.unusable)
    script.said += report["done"]


def _play_plainly(script: Script, control: Control) -> None:
    scene = script.random.choice(SCENES)
    script.say(f"{scene.__name__}: timeout {script.total}, max_retries {script.retries}")
    client = Client(KEY, **script.client_options())
    script.draw_copies(client)
    end = script.random.choice(["close", "drop", "early"])
    timer = threading.Timer(script.random.uniform(0, 0.2), _close, [script, client])
    if end == "early":
        script.closing = True
        timer.start()
    scene(script)
    if end == "early":
        timer.join()
        assert_closed(script, client)
        return
    control.ask("calm")
    call = script.draw_last()
    script.judge_usable(call, plain_call(client, call, False))
    if end == "close":
        client.close()


def _close(script: Script, client: Client) -> None:
    client.close()
    script.closed = time.monotonic()


def assert_closed(script: Script, client: Client) -> None:
    if not isinstance(plain_call(client, script.draw_call(), False), ClientClosedError):
        script.fail("a closed client takes calls")


def _play_in_asyncio(script: Script, control: Control) -> None:
    scene = script.random.choice(ASYNC_SCENES)
    script.say(f"{scene.__name__}: timeout {script.total}, max_retries {script.retries}")
    client = AsyncClient(KEY, **script.client_options())
    script.draw_copies(client)
    end = script.random.choice(["close", "drop", "early"])
    delay = script.random.uniform(0, 0.2)
    anew = script.random.random() < 0.3  # the last call is made in another event loop

    async def last() -> None:
        script.loop = asyncio.get_running_loop()
        await asyncio.to_thread(control.ask, "calm")
        call = script.draw_last()
        script.judge_usable(call, await async_call(client, call, False))
        if end == "close":
            await client.close()

    async def main() -> None:
        script.loop = asyncio.get_running_loop()
        if end == "early":
            script.closing = True
            closing = asyncio.create_task(_close_soon(script, client, delay))
            await scene(script)
            await closing
        else:
            await scene(script)
            if not anew:
                await last()

    asyncio.run(main())
    if anew and end != "early":
        asyncio.run(last())


async def _close_soon(script: Script, client: AsyncClient, delay: float) -> None:
    await asyncio.sleep(delay)
    await client.close()
    script.closed = time.monotonic()
    outcome = await async_call(client, script.draw_call(), False)
    if not isinstance(outcome, ClientClosedError):
        script.fail("a closed client takes calls")


# ---- Many scripts -------------------------------------------------------------------------------


class Company:
    """Plays scripts, some at once, and looks at what they leave."""

    def __init__(self, seed: int, service: Service, at_once: int, report: IO[str]) -> None:
        self.seed, self.service, self.at_once, self.report = seed, service, at_once, report
        self.outcomes: Counter[str] = Counter()
        self.failures = 0
        self.worst = 0.0
        self.longest = (0.0, 0)
        self.calls = 0
        self.held_up: list[Script] = []
        self.repeated = 0
        self.last: Script | None = None

    def batch(self, first: int, count: int) -> None:
        """Play these numbers; nothing may be left of them."""
        before = leftovers()
        numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(first, first + count):
            numbers.put(number)
        running: dict[int, Script] = {}
        ended: queue.SimpleQueue[Script] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self.work, args=[numbers, running, ended], daemon=True)
            for _ in range(min(self.at_once, count))
        ]
        self.watch()
        for thread in threads:
            thread.start()
        for _ in range(count):
            self.collect(running, ended)
        for thread in threads:
            thread.join()
        for script in self.held_up:
            self.play_alone(script)
        self.held_up.clear()
        faulthandler.cancel_dump_traceback_later()
        self.look_for_rest(before, f"scripts {first} to {first + count - 1}")

    def work(
        self,
        numbers: queue.SimpleQueue[int],
        running: dict[int, Script],
        ended: queue.SimpleQueue[Script],
    ) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                script = Script(self.seed, numbers.get_nowait(), self.service.ca_file)
                running[script.number] = script
                self.play(script)
                del running[script.number]
                script.took = time.monotonic() - script.began
                ended.put(script)

    def play(self, script: Script) -> None:
        try:
            with Control(self.service.port, script.number) as control:
                play(script, control)
        except BaseException:
            script.fail(traceback.format_exc())

    def play_alone(self, held_up: Script) -> None:
        """Play again what was late in company."""
        self.repeated += 1
        for _ in range(REPEATS):
            self.watch()
            script = Script(self.seed, held_up.number, held_up.ca_file)
            self.play(script)
            for what in (*script.wrong, *script.late):
                self.tell(f"script {script.number}, alone", what)

    def collect(self, running: dict[int, Script], ended: queue.SimpleQueue[Script]) -> None:
        """Wait for the end of a script."""
        self.watch()
        try:
            script = ended.get(timeout=PATIENCE)
        except queue.Empty:
            self.hang(dict(running))
        self.last = script
        self.outcomes += script.outcomes
        self.calls += len(script.calls)
        self.worst = max(self.worst, script.worst)
        self.longest = max(self.longest, (script.took, script.number))
        for what in script.wrong:
            self.tell(f"script {script.number}", what)
        if script.late:
            self.held_up.append(script)

    def watch(self) -> None:
        """Set Python's own watchdog, for what never gives up the GIL; the server tells the number."""
        faulthandler.dump_traceback_later(PATIENCE + 10, exit=True, file=self.report)

    def hang(self, running: dict[int, Script]) -> None:
        now = time.monotonic()
        for number, script in running.items():
            self.tell(f"script {number}", f"has not ended after {now - script.began:.0f} s")
            print(*script.said, sep="\n", file=self.report)
            for task in asyncio.all_tasks(script.loop) if script.loop else ():
                task.print_stack(file=self.report)
        faulthandler.dump_traceback(file=self.report)
        self.report.flush()
        os._exit(1)

    def tell(self, who: str, what: str) -> None:
        self.failures += 1
        print(f"seed {self.seed}, {who}: {what}", file=self.report, flush=True)

    def look_for_rest(self, before: set[str], who: str) -> None:
        gc.collect()
        end = time.monotonic() + 5
        # The system takes a thread away a little after Python has joined it, and tells nobody.
        while (rest := leftovers() - before) and time.monotonic() < end:
            time.sleep(0.01)
        if rest:
            self.tell(who, f"left behind: {sorted(rest)} (see --first, --count, --at-once 1)")


def leftovers() -> set[str]:
    """What is open and what runs in this process, as far as the system tells."""
    found = {f"thread {thread.name}" for thread in threading.enumerate()}
    with contextlib.suppress(FileNotFoundError):
        found |= {f"task {number}" for number in os.listdir("/proc/self/task")}
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(FileNotFoundError):
                found.add(f"descriptor {number}: {os.readlink(f'/proc/self/fd/{number}')}")
    return found


@contextlib.contextmanager
def stderr_taken() -> Iterator[tuple[IO[str], Callable[[], str]]]:
    """Stderr into a file; gives the true one, and what reads what has come since."""
    sys.stderr.flush()
    report = os.fdopen(os.dup(2), "w")
    with tempfile.TemporaryFile() as taken:
        os.dup2(taken.fileno(), 2)
        at = 0

        def come() -> str:
            nonlocal at
            sys.stderr.flush()
            data = os.pread(2, 100_000, at)
            at += len(data)
            return data.decode(errors="replace")

        try:
            yield report, come
        finally:
            sys.stderr.flush()
            os.dup2(report.fileno(), 2)
            report.close()


def run(options: argparse.Namespace) -> int:
    """Play what the options ask for; how many failures there were."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, stderr_taken() as (report, come):
        service = Service(options.seed, Path(folder))
        company = Company(options.seed, service, options.at_once, report)
        size = options.at_once * 30 if options.at_once > 1 else 1
        last = options.first + options.count
        for first in range(options.first, last, size):
            count = min(size, last - first)
            company.batch(first, count)
            if said := come():
                company.tell(f"scripts {first} to {first + count - 1}", f"on stderr: {said}")
        service.close()
    if options.only is not None and company.last is not None:
        print(*company.last.said, sep="\n")
    tell(options, company, time.monotonic() - began)
    return company.failures


def tell(options: argparse.Namespace, company: Company, seconds: float) -> None:
    """Sum up."""
    print(
        f"{options.count} scripts of seed {options.seed} in {seconds:.1f} s, {company.calls} calls, "
        f"{company.failures} failures; the latest end was {company.worst * 1000:+.0f} ms after its "
        f"deadline; the longest script, {company.longest[1]}, took {company.longest[0]:.1f} s; "
        f"{company.repeated} were late in company and played again alone"
    )
    for name, count in company.outcomes.most_common():
        print(f"{count:9} {name}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, usage="%(prog)s [options]")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=1, help="the first script's number")
    parser.add_argument("--only", type=int, help="play this script alone, and tell what was done")
    parser.add_argument("--at-once", type=int, default=32, help="1: look for rests after each")
    options = parser.parse_args()
    if options.only is not None:
        options.first, options.count = options.only, 1
    warnings.simplefilter("always")
    return 1 if run(options) else 0


if __name__ == "__main__":
    sys.exit(main())
