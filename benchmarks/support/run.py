"""One client's calls: how they are made, and what they took."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import ssl
import threading
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import Any

PATH = "/v1/experimental/generate_prompt"
KEY = "a-key"
HEADERS = {
    "x-api-key": KEY,
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
    """The calls to make, and what they took between `begin` and `end`.

    A client either hands over a function that makes one call, by `repeat` or `repeat_async`, or makes
    the calls by itself and tells of each answer.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.base, self.url = options.url, options.url + PATH
        self.calls, self.concurrency = options.calls, options.concurrency
        self.ca_file: str | None = options.ca
        self.http2: bool = options.http2
        self.task: str = json.loads(Path(options.request).read_bytes())["task"]
        self.answers, self.failures, self.failure = 0, 0, ""

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """For clients that take a context; without an authority nobody looks at it."""
        return ssl.create_default_context(cafile=self.ca_file)

    # ---- Measuring

    def begin(self) -> None:
        self.answers = 0
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        self._memory = _memory("VmRSS")
        self._cpu = _cpu()

    def end(self) -> None:
        self.cpu = _cpu() - self._cpu
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
                "memory": self.memory / self.concurrency,
                "failures": self.failures + abs(lost),
                "failure": self.failure or (f"{lost} answers are missing" if lost else ""),
            }
        )

    # ---- Calling

    def repeat(self, call: Callable[[], Any]) -> None:
        """One after another, or from as many threads as calls may be in flight, which share them."""
        self.check(call())
        self.begin()
        left = iter(range(self.calls))
        lock = threading.Lock()

        def work() -> None:
            for _ in left:
                try:
                    answer = call()
                except Exception as failure:
                    with lock:
                        self.fail(failure)
                else:
                    with lock:
                        self.check(answer)

        if self.concurrency == 1:
            work()
        else:
            threads = [threading.Thread(target=work) for _ in range(self.concurrency)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.end()

    async def repeat_async(self, call: Callable[[], Awaitable[Any]]) -> None:
        """As many tasks as calls may be in flight share the work: the least that asyncio needs."""
        self.check(await call())
        self.begin()
        left = iter(range(self.calls))

        async def work() -> None:
            for _ in left:
                try:
                    self.check(await call())
                except Exception as failure:
                    self.fail(failure)

        if self.concurrency == 1:
            await work()
        else:
            await asyncio.gather(*(work() for _ in range(self.concurrency)))
        self.end()
