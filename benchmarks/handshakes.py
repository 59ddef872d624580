"""How long many TLS handshakes at once hold the event loop of an AsyncClient.

    python benchmarks/handshakes.py [CONNECTIONS [ROUNDS]]

Each round makes a client, one call, whose connection parses the CA certificates and is shown apart,
and then CONNECTIONS calls at once, each on a new connection: the server, a process of its own, answers
none of them before all have come, and resumes no session. Every callback that the loop runs is
timed. It exits with 1 when the longest one took over 5 ms, in the median of the rounds, or over 5 ms
of CPU in any of them.
"""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import promptlathe
from support.measuring import describe, spread

PROMISE = 0.005  # seconds


# ---- The server ---------------------------------------------------------------------------------


async def serve(certificate: str, key: str, count: int) -> None:
    from canned import answer

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    waiting: list[asyncio.StreamWriter] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = head.partition(b"content-length:")[2].split(b"\r\n")[0]
                await reader.readexactly(int(size))
                waiting.append(writer)
                if b"alone" in head or len(waiting) == count:
                    for each in waiting:
                        each.write(answer("good-2000").data)
                    waiting.clear()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(
        converse, "127.0.0.1", 0, ssl=context, backlog=count + 8, ssl_handshake_timeout=60
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the parent ends


# ---- Measuring ----------------------------------------------------------------------------------


class Watch:
    """Times every callback that loops of this process run."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        run = asyncio.Handle._run  # type: ignore[attr-defined]

        def timed(handle: Any) -> None:
            wall, cpu = time.perf_counter(), time.thread_time()
            run(handle)
            self.wall = max(self.wall, time.perf_counter() - wall)
            self.cpu = max(self.cpu, time.thread_time() - cpu)

        asyncio.Handle._run = timed  # type: ignore[attr-defined]

    def take(self) -> tuple[float, float]:
        """The longest callback since the last time, in seconds and in seconds of CPU."""
        longest = self.wall, self.cpu
        self.wall = self.cpu = 0.0
        return longest


async def one_round(watch: Watch, url: str, ca_file: Path, count: int) -> list[float]:
    async with promptlathe.AsyncClient("a-key", base_url=url, ca_file=ca_file) as client:
        await client.generate("a proof-reader", extra_headers={"x-how": "alone"})
        first, _ = watch.take()
        calls = [asyncio.create_task(client.generate("a proof-reader")) for _ in range(count)]
        await asyncio.sleep(0)
        watch.take()  # what it takes to make so many tasks is none of the client's doing
        await asyncio.gather(*calls)
        return [first, *watch.take()]


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    from faults.tls import Authority

    describe()
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder), "authority")
        server = subprocess.Popen(
            [sys.executable, __file__, "--serve", *authority.files("127.0.0.1"), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        url, watch = f"https://127.0.0.1:{int(server.stdout.readline())}", Watch()
        try:
            measured = [
                asyncio.run(one_round(watch, url, authority.file, count)) for _ in range(rounds)
            ]
        finally:
            server.communicate()
    first, wall, cpu = (list(column) for column in zip(*measured, strict=True))
    print(f"ms of the longest callback: median, smallest and largest of {rounds} rounds")
    print(f"first connection      {spread(first, 1e-3)}")
    print(f"{count:4} at once          {spread(wall, 1e-3)}   promised: 5")
    print(f"{count:4} at once, CPU     {spread(cpu, 1e-3)}")
    return int(sorted(wall)[rounds // 2] > PROMISE or max(cpu) > PROMISE)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        sys.exit(main())
