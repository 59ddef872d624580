"""One client making many calls at once, in a process of its own: what benchmarks/in_flight.py starts.

    python benchmarks/support/clients.py CLIENT URL CALLS CONCURRENCY

Every client posts the same JSON, made from a dict for each call, and reads each answer into a dict,
that is looked at and let go. After one call to warm up, CALLS are made, CONCURRENCY of them in flight.
It prints a line of JSON: CPU of the whole process, time, memory and failures.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import select
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

TASK = (
    "Write a prompt for an assistant that reads a customer's letter, says in one sentence what the "
    "customer asks for, names the department that has to answer it, and drafts a short and friendly "
    "reply in the customer's own language; it must promise nothing that the letter does not mention."
)
PATH = "/v1/experimental/generate_prompt"
HEADERS = {
    "x-api-key": "a-key",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "prompt-tools-2025-04-02",
}
WHOLE = 600.0  # seconds for a call


def _memory(name: str) -> int:
    """Bytes of a line in the process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Run:
    """The calls to make, and what they took between `begin` and `end`."""

    def __init__(self, url: str, calls: int, concurrency: int) -> None:
        self.base, self.url = url, url + PATH
        self.calls, self.concurrency = calls, concurrency
        self.answers, self.failures, self.failure = 0, 0, ""

    def begin(self) -> None:
        self.answers = 0
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        self._memory = _memory("VmRSS")
        self._wall, self._cpu = time.perf_counter(), _cpu()

    def end(self) -> None:
        self.cpu, self.wall = _cpu() - self._cpu, time.perf_counter() - self._wall
        self.memory = _memory("VmHWM") - self._memory

    def check(self, answer: Any) -> None:
        assert answer["messages"][0]["role"] == "user"
        self.answers += 1

    def fail(self, failure: object) -> None:
        self.failures += 1
        self.failure = self.failure or repr(failure)

    def report(self) -> str:
        lost = self.calls - self.answers - self.failures
        return json.dumps(
            {
                "cpu": self.cpu / self.calls,
                "wall": self.wall,
                "memory": self.memory / self.concurrency,
                "failures": self.failures + abs(lost),
                "failure": self.failure or (f"{lost} answers are missing" if lost else ""),
            }
        )


async def _keep_up(run: Run, call: Callable[[], Awaitable[Any]]) -> None:
    """As many tasks as calls may be in flight, which share the work: the least that asyncio needs."""
    run.check(await call())
    run.begin()
    left = iter(range(run.calls))

    async def work() -> None:
        for _ in left:
            try:
                run.check(await call())
            except Exception as failure:
                run.fail(failure)

    await asyncio.gather(*(work() for _ in range(run.concurrency)))
    run.end()


# ---- promptlathe --------------------------------------------------------------------------------


def _requests(run: Run) -> Iterator[Any]:
    return ({"verb": "generate", "task": TASK} for _ in range(run.calls))


def _take(run: Run, answer: Any) -> None:
    if isinstance(answer, Exception):
        run.fail(answer)
    else:
        run.check(answer)


def lathe_map(run: Run) -> None:
    from promptlathe import Client

    with Client("a-key", base_url=run.base) as client:
        run.check(client.generate(TASK))
        run.begin()
        for answer in client.map(
            _requests(run), concurrency=run.concurrency, return_exceptions=True
        ):
            _take(run, answer)
        run.end()


async def lathe_async(run: Run) -> None:
    from promptlathe import AsyncClient

    async with AsyncClient("a-key", base_url=run.base) as client:
        await _keep_up(run, lambda: client.generate(TASK))


async def lathe_async_map(run: Run) -> None:
    from promptlathe import AsyncClient

    async with AsyncClient("a-key", base_url=run.base) as client:
        run.check(await client.generate(TASK))
        run.begin()
        async for answer in client.map(
            _requests(run), concurrency=run.concurrency, return_exceptions=True
        ):
            _take(run, answer)
        run.end()


# ---- Others -------------------------------------------------------------------------------------


async def aiohttp(run: Run) -> None:
    import aiohttp as package

    connector = package.TCPConnector(limit=run.concurrency)
    limit = package.ClientTimeout(total=WHOLE)
    async with package.ClientSession(
        connector=connector, timeout=limit, headers=HEADERS, raise_for_status=True
    ) as session:

        async def call() -> Any:
            async with session.post(run.url, json={"task": TASK}) as response:
                return await response.json()

        await _keep_up(run, call)


async def httpx(run: Run) -> None:
    import httpx as package

    limits = package.Limits(
        max_connections=run.concurrency, max_keepalive_connections=run.concurrency
    )
    async with package.AsyncClient(limits=limits, timeout=WHOLE, headers=HEADERS) as client:

        async def call() -> Any:
            response = await client.post(run.url, json={"task": TASK})
            return response.raise_for_status().json()

        await _keep_up(run, call)


async def pyreqwest(run: Run) -> None:
    from pyreqwest.client import ClientBuilder

    builder = ClientBuilder().default_headers(HEADERS).timeout(timedelta(seconds=WHOLE))
    async with builder.error_for_status().build() as client:

        async def call() -> Any:
            response = await client.post(run.url).body_json({"task": TASK}).build().send()
            return await response.json()

        await _keep_up(run, call)


class Multi:
    """pycurl's multi interface with epoll; each handle is set up once and used again and again."""

    def __init__(self, run: Run, dumps: Callable[[Any], Any], loads: Callable[[Any], Any]) -> None:
        import pycurl

        self.pycurl, self.run, self.dumps, self.loads = pycurl, run, dumps, loads
        self.poll = select.epoll()
        self.watched: set[int] = set()
        self.due = 0.0
        self.multi = pycurl.CurlMulti()
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self.handles = [self._new() for _ in range(run.concurrency)]

    def _new(self) -> Any:
        pycurl = self.pycurl
        easy = pycurl.Curl()
        lines = [f"{name}: {value}" for name, value in HEADERS.items()]
        easy.setopt(pycurl.URL, self.run.url)
        easy.setopt(pycurl.HTTPHEADER, [*lines, "content-type: application/json", "expect:"])
        easy.setopt(pycurl.NOSIGNAL, 1)
        easy.setopt(pycurl.POST, 1)
        easy.setopt(pycurl.TIMEOUT_MS, int(WHOLE * 1000))
        return easy

    def _watch(self, what: int, fd: int, multi: Any, data: Any) -> None:
        if what == self.pycurl.POLL_REMOVE:
            self.watched.discard(fd)
            self.poll.unregister(fd)
            return
        mask = select.EPOLLIN if what & self.pycurl.POLL_IN else 0
        mask |= select.EPOLLOUT if what & self.pycurl.POLL_OUT else 0
        if fd in self.watched:
            self.poll.modify(fd, mask)
        else:
            self.watched.add(fd)
            self.poll.register(fd, mask)

    def _set_timer(self, milliseconds: int) -> None:
        self.due = time.monotonic() + milliseconds / 1000 if milliseconds >= 0 else float("inf")

    def _start(self, easy: Any) -> None:
        easy.body = BytesIO()
        easy.setopt(self.pycurl.WRITEDATA, easy.body)
        easy.setopt(self.pycurl.POSTFIELDS, self.dumps({"task": TASK}))
        self.multi.add_handle(easy)

    def _end(self, easy: Any, failure: str) -> None:
        self.multi.remove_handle(easy)
        status = easy.getinfo(self.pycurl.RESPONSE_CODE)
        if failure or status != 200:
            self.run.fail(failure or status)
        else:
            self.run.check(self.loads(easy.body.getvalue()))

    def _step(self) -> None:
        wait = self.due - time.monotonic()
        events = self.poll.poll(None if wait == float("inf") else max(wait, 0))
        for fd, what in events:
            mask = self.pycurl.CSELECT_IN if what & ~select.EPOLLOUT else 0
            mask |= self.pycurl.CSELECT_OUT if what & select.EPOLLOUT else 0
            self.multi.socket_action(fd, mask)
        if self.due <= time.monotonic():
            self.due = float("inf")
            self.multi.socket_action(self.pycurl.SOCKET_TIMEOUT, 0)

    def _ended(self) -> Iterator[Any]:
        left = 1
        while left:
            left, done, failed = self.multi.info_read()
            for easy in done:
                self._end(easy, "")
                yield easy
            for easy, _code, text in failed:
                self._end(easy, text)
                yield easy

    def work(self, calls: int) -> None:
        running = min(calls, len(self.handles))
        for easy in self.handles[:running]:
            self._start(easy)
        left = calls - running
        while running:
            self._step()
            for easy in self._ended():
                running -= 1
                if left:
                    left -= 1
                    running += 1
                    self._start(easy)


def _multi(run: Run, dumps: Callable[[Any], Any], loads: Callable[[Any], Any]) -> None:
    multi = Multi(run, dumps, loads)
    multi.work(1)
    run.begin()
    multi.work(run.calls)
    run.end()


def pycurl_json(run: Run) -> None:
    _multi(run, json.dumps, json.loads)


def pycurl_orjson(run: Run) -> None:
    import orjson

    _multi(run, orjson.dumps, orjson.loads)


OURS: dict[str, Callable[[Run], Any]] = {
    "map": lathe_map,
    "AsyncClient": lathe_async,
    "AsyncClient.map": lathe_async_map,
}
PEERS: dict[str, Callable[[Run], Any]] = {
    "pycurl, orjson": pycurl_orjson,
    "pycurl, json": pycurl_json,
    "pyreqwest": pyreqwest,
    "aiohttp": aiohttp,
    "httpx": httpx,
}


def main() -> None:
    name, url, calls, concurrency = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    run = Run(url, int(calls), int(concurrency))
    work = (OURS | PEERS)[name]
    if asyncio.iscoroutinefunction(work):
        asyncio.run(work(run))
    else:
        work(run)
    print(run.report(), flush=True)
    if name in PEERS:
        os._exit(0)  # a thread of pyreqwest 0.15.1 now and then aborts an interpreter that ends


if __name__ == "__main__":
    main()
