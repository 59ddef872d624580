"""A million calls: ``python tests/soak.py [COUNT]``. Memory and descriptors must stay flat.

The calls go in turn through threads, `map`, tasks of asyncio and `AsyncClient.map`, a slice each, on
two clients that live from the first call to the last; a new event loop is made for each slice in
asyncio. A server in a process of its own, which speaks plain HTTP/1.1 (TLS and HTTP/2 are for the
random fault scripts), repeats in its answer the number that the request holds; one number in fifty
is answered with a fault, a different one each time. Every number must come back once: as itself, or
as the error that belongs to its fault.

After each slice the resident memory and the open descriptors are noted. The rule: over the samples
of the last half, a straight line fitted to each rises by no more than LEEWAY beyond twice its
standard error: 1 MiB, two bytes for each call of a million, and 4 descriptors. After both clients
are closed, as many descriptors are open as before they were made.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import re
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

KEY = "sk-soak-0123456789abcdef"
LEEWAY = {"memory": 1 << 20, "descriptors": 4}
EVERY = 50  # one number in so many is answered with a fault
THREADS, CONCURRENCY = 8, 64
FAULTS = {
    "status-500": "InternalServerError",
    "status-400": "BadRequestError",
    "reset": "APIConnectionError",
    "html": "APIResponseValidationError",
    "close": "APIConnectionError",
    "status-404": "NotFoundError",
    "short": "APIConnectionError",
    "shape": "APIResponseValidationError",
    "garbage": "APIConnectionError",
    "status-302": "APIStatusError",
}
CYCLE = list(FAULTS)


def fault_of(number: int) -> str:
    """What a request of this number is answered with; "" is a good answer."""
    return CYCLE[number // EVERY % len(CYCLE)] if number % EVERY == 0 else ""


# ---- The server ---------------------------------------------------------------------------------


def http(status: str, body: bytes, *lines: str) -> bytes:
    """A whole response."""
    head = [f"HTTP/1.1 {status}", "request-id: req_soak", *lines]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


def good(number: int) -> bytes:
    """The answer to a request that holds this number."""
    text = f"<{number}>" + " You are a careful translator. " * 15
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}
    return http("200 OK", json.dumps({**body, "system": "", "usage": {"tokens": 1}}).encode())


def answers() -> dict[str, bytes]:
    """The bytes of each fault."""
    error = json.dumps({"type": "error", "error": {"type": "api_error", "message": "no"}}).encode()
    return {
        **{name: http(f"{name[-3:]} No", error) for name in FAULTS if name.startswith("status")},
        "reset": b"",
        "close": b"",
        "html": http("200 OK", b"<html>no</html>"),
        "shape": http("200 OK", b'{"messages": [{"role": "user", "content": 5}]}'),
        "short": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        "garbage": b"\x00\x01 not HTTP at all\r\n\r\n",
    }


class Served(asyncio.Protocol):
    """One connection of the server."""

    faults = answers()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.data = b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        end = self.data.find(b"\r\n\r\n")
        found = re.search(rb"(?i)\r\ncontent-length: (\d+)", self.data)
        if end < 0 or found is None or len(self.data) < end + 4 + int(found[1]):
            return
        number = re.search(rb"<(\d+)>", self.data[end:])
        assert number, self.data
        self.data = b""
        self.answer(int(number[1]))

    def answer(self, number: int) -> None:
        fault = fault_of(number)
        self.transport.write(self.faults[fault] if fault else good(number))
        if fault == "reset":
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        elif fault in ("close", "short", "garbage"):
            self.transport.close()


async def serve() -> None:
    """Serve until standard input ends, that is until the parent does."""
    server = await asyncio.get_running_loop().create_server(Served, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


# ---- The calls ----------------------------------------------------------------------------------


class Account:
    """What has become of each number."""

    def __init__(self, count: int) -> None:
        self.seen = bytearray(count)
        self.wrong: list[str] = []

    def settle(self, number: int, outcome: Any) -> None:
        """A call has ended."""
        fault = fault_of(number)
        if fault:
            right = type(outcome).__name__ == FAULTS[fault]
        else:
            right = isinstance(outcome, dict) and f"<{number}> " in text_of(outcome)
        if not right:
            self.wrong.append(f"{number}, {fault or 'good'}: {outcome!r:.200}")
        self.seen[number] += 1

    def check(self) -> list[str]:
        """What is wrong with it, in sentences."""
        found = self.wrong[:20]
        if lost := self.seen.count(0):
            found.append(f"{lost} calls were lost")
        if doubled := len(self.seen) - lost - self.seen.count(1):
            found.append(f"{doubled} calls ended more than once")
        return found


def text_of(result: dict[str, Any]) -> str:
    """The text of a result."""
    text: str = result["messages"][0]["content"][0]["text"]
    return text


def task(number: int) -> str:
    """The task of a request, which holds its number."""
    return f"<{number}> Write a prompt for a translator who says nothing else."


def requests(numbers: range) -> Iterator[dict[str, Any]]:
    """The requests of these numbers, for a map."""
    return ({"verb": "generate", "task": task(number)} for number in numbers)


Slice = Callable[[Any, range, Account], None]


def by_threads(client: Any, numbers: range, account: Account) -> None:
    """Synchronous calls of some threads."""

    def run(mine: range) -> None:
        for number in mine:
            try:
                outcome = client.generate(task(number))
            except Exception as error:
                outcome = error
            account.settle(number, outcome)

    threads = [
        threading.Thread(target=run, args=[numbers[first::THREADS]]) for first in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def by_map(client: Any, numbers: range, account: Account) -> None:
    """A map, ordered."""
    results = client.map(requests(numbers), concurrency=CONCURRENCY, return_exceptions=True)
    for number, outcome in zip(numbers, results, strict=True):
        account.settle(number, outcome)


def by_tasks(client: Any, numbers: range, account: Account) -> None:
    """Tasks that each make calls, in an event loop of their own."""

    async def run(mine: range) -> None:
        for number in mine:
            try:
                outcome = await client.generate(task(number))
            except Exception as error:
                outcome = error
            account.settle(number, outcome)

    async def main() -> None:
        await asyncio.gather(*(run(numbers[first::CONCURRENCY]) for first in range(CONCURRENCY)))

    asyncio.run(main())


def by_async_map(client: Any, numbers: range, account: Account) -> None:
    """A map in an event loop of its own, unordered."""

    async def main() -> None:
        options = {"concurrency": CONCURRENCY, "ordered": False, "return_exceptions": True}
        async for index, outcome in client.map(requests(numbers), **options):
            account.settle(numbers[index], outcome)

    asyncio.run(main())


# ---- What is measured ---------------------------------------------------------------------------


class Sample(NamedTuple):
    """What is there after so many calls."""

    calls: int
    memory: int  # resident, in bytes
    descriptors: int


def sample(calls: int) -> Sample:
    """Look at this process."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    memory = pages * resource.getpagesize()
    return Sample(calls, memory, len(os.listdir("/proc/self/fd")))


def rise(points: list[tuple[int, int]]) -> tuple[float, float]:
    """By how much a line fitted to the points rises from the first to the last; its standard error."""
    count = len(points)
    x_mean = sum(x for x, _ in points) / count
    y_mean = sum(y for _, y in points) / count
    xx = sum((x - x_mean) ** 2 for x, _ in points)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / xx
    rest = sum((y - y_mean - slope * (x - x_mean)) ** 2 for x, y in points)
    length = points[-1][0] - points[0][0]
    return slope * length, math.sqrt(rest / max(count - 2, 1) / xx) * length


def judge(samples: list[Sample]) -> list[str]:
    """What is not flat, in sentences."""
    last = samples[len(samples) // 2 :]
    found = []
    for what, leeway in LEEWAY.items():
        risen, error = rise([(each.calls, getattr(each, what)) for each in last])
        told = f"{what}: {risen:+.1f} over the last half, standard error {error:.1f}"
        print(told)
        if risen - 2 * error > leeway:
            found.append(f"not flat: {told}")
    return found


# ---- The run ------------------------------------------------------------------------------------


def slices(count: int) -> Iterator[range]:
    """The numbers from 0, in slices of which there are some for every way."""
    size = max(count // 100, 500)
    for first in range(0, count, size):
        yield range(first, min(first + size, count))


def soak(count: int, port: int) -> list[str]:
    """Make so many calls; what was wrong, in sentences."""
    from promptlathe import AsyncClient, Client

    before = len(os.listdir("/proc/self/fd"))
    options: dict[str, Any] = {"base_url": f"http://127.0.0.1:{port}", "max_retries": 0}
    client, async_client = Client(KEY, **options), AsyncClient(KEY, **options)
    ways: list[tuple[Slice, Any]] = [
        (by_threads, client),
        (by_tasks, async_client),
        (by_map, client),
        (by_async_map, async_client),
    ]
    account, samples = Account(count), []
    for index, numbers in enumerate(slices(count)):
        way, chosen = ways[index % len(ways)]
        way(chosen, numbers, account)
        samples.append(sample(numbers.stop))
        if index % max(count // 10 // len(numbers), 1) == 0 or numbers.stop == count:
            tell(samples[-1])
    client.close()
    asyncio.run(async_client.close())
    left = len(os.listdir("/proc/self/fd")) - before
    found = account.check() + judge(samples)
    if left:
        found.append(f"{left} descriptors are left when both clients are closed")
    if not found:
        print(f"{count} calls accounted for, {len(range(0, count, EVERY))} of them faults")
    return found


def tell(now: Sample) -> None:
    """One line of progress."""
    print(
        f"{now.calls:9} calls {now.memory >> 10:8} KiB {now.descriptors:5} descriptors", flush=True
    )


def main() -> int:
    """Run it all, with the server."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("count", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    command = [sys.executable, "-S", __file__, "--serve"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        began, cpu = time.monotonic(), time.process_time()
        found = soak(options.count, int(server.stdout.readline()))
        took, cpu = time.monotonic() - began, time.process_time() - cpu
        server.communicate()
    each = 1e6 / options.count
    print(f"{took:.1f} s, {took * each:.0f} us and {cpu * each:.0f} us of CPU for each call")
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
