"""A server with a quota of requests and of tokens, in a process of its own, for tests of pacing.

Each of the three endpoints answers with a tiny body that passes for all three verbs, after a delay,
and with the ``anthropic-ratelimit-*`` headers; what goes beyond a quota is answered by 429 with
``retry-after``. A quota is a window (so much in each minute from the first request on) or a bucket
(full at first, and refilled all the time), and how long a minute is can be chosen. The cost of a
call in tokens is random, with a seed. ``GET /stats`` tells as JSON what was served, refused and
used, and what could have been used from the first request to the last answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any

GOOD = json.dumps(
    {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "system": "",
        "usage": [{"input_tokens": 1, "output_tokens": 1}],
        "variable_values": {},
    }
).encode()
REFUSAL = {"type": "rate_limit_error", "message": "This request would exceed your rate limit."}
REFUSED = json.dumps({"type": "error", "error": REFUSAL}).encode()


class Quota:
    """So much per minute, as a window or as a bucket; times are seconds since 1970."""

    def __init__(self, limit: int, minute: float, *, bucket: bool, now: float) -> None:
        self.limit = limit
        self.used = 0.0
        self._minute = minute
        self._bucket = bucket
        self._left = float(limit)
        self._at = self._began = now
        self._end = now + minute

    def advance(self, now: float) -> None:
        if self._bucket:
            refill = (now - self._at) * self.limit / self._minute
            self._left = min(self._left + refill, self.limit)
        elif now >= self._end:
            self._left = self.limit
            self._end += math.floor((now - self._end) / self._minute + 1) * self._minute
        self._at = now

    def wait(self, amount: float) -> float:
        """Seconds until there is so much; 0 when there is."""
        missing = min(amount, self.limit) - self._left
        if missing <= 0:
            return 0
        return missing * self._minute / self.limit if self._bucket else self._end - self._at

    def charge(self, amount: float) -> None:
        self._left -= amount
        self.used += amount

    def available(self) -> float:
        """What could have been used: of windows that end later, the elapsed part."""
        refilled = self.limit * (self._at - self._began) / self._minute
        return refilled + self.limit if self._bucket else refilled

    def headers(self, kind: str, unit: int) -> list[str]:
        missing = (self.limit - self._left) * self._minute / self.limit
        reset = datetime.fromtimestamp(self._at + missing if self._bucket else self._end, UTC)
        left = round(max(self._left, 0) / unit) * unit if unit > 1 else int(max(self._left, 0))
        precision = "seconds" if self._minute >= 60 else "milliseconds"
        name = f"anthropic-ratelimit-{kind}"
        return [
            f"{name}-limit: {self.limit}",
            f"{name}-remaining: {left}",
            f"{name}-reset: {reset.replace(tzinfo=None).isoformat(timespec=precision)}Z",
        ]


class Service:
    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._random = random.Random(options.seed)
        self._served = self._refused = 0
        self._began = False
        self._requests = self._tokens = self._quota(1)

    def _quota(self, limit: int) -> Quota:
        options = self._options
        return Quota(limit, options.minute, bucket=options.kind == "bucket", now=time.time())

    def _begin(self) -> None:
        """With the first request, so that nothing before it counts."""
        self._began = True
        self._requests = self._quota(self._options.requests)
        self._tokens = self._quota(self._options.tokens)

    def _advance(self) -> None:
        for quota in (self._requests, self._tokens):
            quota.advance(time.time())

    async def answer(self) -> bytes:
        if not self._began:
            self._begin()
        options = self._options
        self._advance()
        cost = self._random.lognormvariate(math.log(options.cost), options.sigma)
        wait = max(self._requests.wait(1), self._tokens.wait(cost))
        told = self._requests.headers("requests", 1) + self._tokens.headers("tokens", 1000)
        if wait:
            self._refused += 1
            return _http("429 Too Many Requests", REFUSED, f"retry-after: {math.ceil(wait)}", *told)
        self._requests.charge(1)
        self._tokens.charge(cost)
        await asyncio.sleep(self._random.uniform(*options.delay))
        self._served += 1
        self._advance()
        told = self._requests.headers("requests", 1) + self._tokens.headers("tokens", 1000)
        return _http("200 OK", GOOD, *told)

    def stats(self) -> bytes:
        quotas = {"requests": self._requests, "tokens": self._tokens}
        told: dict[str, Any] = {
            name: {"used": quota.used, "available": quota.available()}
            for name, quota in quotas.items()
        }
        told |= {"served": self._served, "refused": self._refused}
        return _http("200 OK", json.dumps(told).encode())


def _http(status: str, body: bytes, *lines: str) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"date: {formatdate(usegmt=True)}",
        "content-type: application/json",
        "request-id: req_quota",
        *lines,
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def _serve(
    service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, OSError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, found, rest = head.partition(b"\r\ncontent-length:")
            await reader.readexactly(int(rest.split(b"\r\n")[0]) if found else 0)
            path = head.split(b" ")[1]
            writer.write(service.stats() if path == b"/stats" else await service.answer())
            await writer.drain()
    writer.close()


async def _run(options: argparse.Namespace) -> None:
    service = Service(options)
    server = await asyncio.start_server(
        lambda reader, writer: _serve(service, reader, writer), "127.0.0.1", 0, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    """Serve until standard input ends, that is until the parent does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["window", "bucket"], default="window")
    parser.add_argument("--requests", type=int, default=1000, help="a minute")
    parser.add_argument("--tokens", type=int, default=10**9, help="a minute")
    parser.add_argument("--minute", type=float, default=60.0, help="its seconds")
    parser.add_argument("--cost", type=float, default=1000.0, help="median tokens of a call")
    parser.add_argument("--sigma", type=float, default=0.8, help="of the logarithm of the cost")
    parser.add_argument("--delay", type=float, nargs=2, default=[0.02, 0.1], help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(_run(parser.parse_args()))


class QuotaServer:
    """The server as a context manager, with its options by name: ``QuotaServer(requests=500)``."""

    def __init__(self, **options: str | float | tuple[float, float]) -> None:
        self._arguments: list[str] = []
        for name, value in options.items():
            values = value if isinstance(value, tuple) else (value,)
            self._arguments += [f"--{name}", *map(str, values)]

    def __enter__(self) -> QuotaServer:
        self._process = subprocess.Popen(
            [sys.executable, "-S", Path(__file__), *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/stats") as answer:
            told: dict[str, Any] = json.load(answer)
        return told

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()  # ends its standard input


if __name__ == "__main__":
    main()
