"""One client making calls, in a process of its own: what benchmarks/peers.py starts.

    python benchmarks/support/clients.py [--ca FILE] [--http2] CLIENT URL REQUEST CALLS CONCURRENCY

Every client posts the JSON in the file REQUEST, made anew from a dict for each call, and reads each
answer into a dict, that is looked at and let go. After one call to warm up, CALLS are made,
CONCURRENCY of them in flight. It prints a line of JSON, as loop.c does: CPU and memory of the whole
process, and failures.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import resource
from typing import NamedTuple


class Client(NamedTuple):
    """How a client is found, beside this file, and what it does."""

    module: str
    function: str
    asynchronous: bool = False
    one: bool = True  # whether it makes one call at a time
    many: bool = True  # whether it makes several at once, a sync client from a thread for each
    http2: bool = True  # whether it speaks HTTP/2
    slow: bool = False  # it makes fewer calls, so that all does not last too long

    @property
    def threads(self) -> bool:
        """Whether several calls at once are made from a thread for each."""
        return self.one and not self.asynchronous

    @property
    def ours(self) -> bool:
        return self.module == "ours"


CLIENTS = {
    "promptlathe Client": Client("ours", "client"),
    "promptlathe AsyncClient": Client("ours", "async_client", True),
    "promptlathe Client.map": Client("ours", "client_map", one=False),
    "promptlathe AsyncClient.map": Client("ours", "async_client_map", True, one=False),
    "pycurl, orjson": Client("peers_pycurl", "easy", many=False),
    "pycurl multi, orjson": Client("peers_pycurl", "multi", one=False),
    "pyreqwest": Client("peers_rust", "pyreqwest"),
    "pyreqwest async": Client("peers_rust", "pyreqwest_async", True),
    "primp": Client("peers_rust", "primp"),
    "primp async": Client("peers_rust", "primp_async", True),
    "aiohttp": Client("peers_python", "aiohttp", True, http2=False),
    "httpx": Client("peers_python", "httpx", slow=True),
    "httpx async": Client("peers_python", "httpx_async", True, slow=True),
    "requests": Client("peers_python", "requests", http2=False, slow=True),
    "vendor's SDK": Client("peers_python", "sdk", http2=False, slow=True),
    "vendor's SDK async": Client("peers_python", "sdk_async", True, http2=False, slow=True),
}
# In an event loop, many calls at once of primp 2.0.1 over HTTP/2 never end, with nghttpd neither.
NEVER_END = {("primp async", "256 in flight, HTTP/2")}


def main() -> None:
    from run import Run

    parser = argparse.ArgumentParser()
    parser.add_argument("--ca")
    parser.add_argument("--http2", action="store_true")
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("url")
    parser.add_argument("request")
    parser.add_argument("calls", type=int)
    parser.add_argument("concurrency", type=int)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    client = CLIENTS[options.client]
    run, work = Run(options), getattr(importlib.import_module(client.module), client.function)
    if client.asynchronous:
        asyncio.run(work(run))
    else:
        work(run)
    print(run.report(), flush=True)
    if not client.ours:
        os._exit(0)  # a thread of pyreqwest 0.15.1 now and then aborts an interpreter that ends


if __name__ == "__main__":
    main()
