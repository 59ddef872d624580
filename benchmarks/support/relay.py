"""A relay of TCP connections that counts them, and passes on late what the server sends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Self


class Relay:
    """Connections to `port` of this host, in a thread of its own, between enter and exit."""

    def __init__(self, port: int, delay: float) -> None:
        self._server_port, self._delay = port, delay
        self.port = self.connections = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._join, "127.0.0.1", 0, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there = await asyncio.open_connection("127.0.0.1", self._server_port)
        await asyncio.gather(
            self._pass_on(reader, there[1], 0), self._pass_on(there[0], writer, self._delay)
        )

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                self._loop.call_later(delay, writer.write, data)
        self._loop.call_later(delay, writer.close)
