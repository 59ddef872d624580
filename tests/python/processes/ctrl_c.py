"""A program whose calls Ctrl-C ends, ``python -m processes.ctrl_c main ORDERS``, and who sends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import promptlathe

from processes.children import HOLD, KEY, hear, say, text_of

if TYPE_CHECKING:
    from processes.conftest import Program
    from processes.stages import Stage

Request = dict[str, Any]

# ---- The program: all calls are the main thread's -----------------------------------------------


class Way(NamedTuple):
    """A kind of client, and how the main thread waits for all of some calls at once."""

    make: Callable[..., Any]
    call: Callable[[Any, list[Request]], Any]
    close: Callable[[Any], Any]


def call_alone(client: promptlathe.Client, requests: list[Request]) -> list[Any]:
    return [client.generate(**request) for request in requests]


def for_map(requests: list[Request]) -> Any:
    return {"requests": [{"verb": "generate", **each} for each in requests], "concurrency": 1000}


def call_map(client: promptlathe.Client, requests: list[Request]) -> list[Any]:
    return list(client.map(**for_map(requests)))


def call_tasks(client: promptlathe.AsyncClient, requests: list[Request]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*(client.generate(**request) for request in requests))

    return asyncio.run(main())


def call_async_map(client: promptlathe.AsyncClient, requests: list[Request]) -> list[Any]:
    async def main() -> list[Any]:
        return [result async for result in client.map(**for_map(requests))]

    return asyncio.run(main())


def close_async(client: promptlathe.AsyncClient) -> None:
    asyncio.run(client.close())


WAYS = {
    "sync": Way(promptlathe.Client, call_alone, promptlathe.Client.close),
    "map": Way(promptlathe.Client, call_map, promptlathe.Client.close),
    "async": Way(promptlathe.AsyncClient, call_tasks, close_async),
    "async map": Way(promptlathe.AsyncClient, call_async_map, close_async),
}


def request(mark: str, size: int = 0, **headers: str) -> Request:
    return {"task": mark + " " * size, "extra_headers": {"x-mark": mark, **headers}}


def tell_of_lookup() -> None:
    """Say so when the look-up hangs."""
    with open(os.environ["LOOKUP_BEGAN"], "rb") as began:
        began.read()
    say("calling")


def hold(orders: dict[str, Any], way: Way, client: Any) -> float:
    """Make the calls that the server holds; when the interrupt was there, by the monotonic clock."""
    calls = range(orders["calls"])
    held = [request(f"held {number}", orders["size"], **HOLD) for number in calls]
    if orders["lookup"]:
        threading.Thread(target=tell_of_lookup).start()
    else:
        say("calling")
    try:
        way.call(client, held)
    except KeyboardInterrupt:
        return time.monotonic()
    raise AssertionError("the calls have ended by themselves")


def main(orders: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever has started this
    way = WAYS[orders["way"]]
    patience = promptlathe.Timeout(total=40, connect=40)
    usual = {"ca_file": orders["ca_file"], "allow_http": True, "timeout": patience}
    client = way.make(KEY, base_url=orders["url"], **usual)
    if orders["used"]:
        with contextlib.suppress(promptlathe.RateLimitError):  # which closes the gate
            way.call(client, [request("first") | {"max_retries": 0}])
    say(hold(orders, way, client))
    hear()
    (response,) = way.call(client, [request("after")])
    way.close(client)
    say(text_of(response))


# ---- The other side -----------------------------------------------------------------------------


def wait_until_asleep(pid: int) -> None:
    """Until a program's main thread waits for something."""
    pause = threading.Event()  # the kernel tells nobody: look again and again
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        pause.wait(0.001)


def interrupt(program: Program, stage: Stage) -> float:
    """Send Ctrl-C when the calls are in their place; seconds from there to KeyboardInterrupt.

    The client must be of use afterwards.
    """
    assert program.hear() == "calling"
    stage.reached()
    wait_until_asleep(program.process.pid)
    sent = time.monotonic()
    os.kill(program.process.pid, signal.SIGINT)
    took: float = program.hear() - sent
    stage.release()
    program.say()
    assert program.hear() == "after"
    return took


if __name__ == "__main__":
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
