"""A service on Hypercorn, a server made by others: ``python -m faults.http2_app FD CERTIFICATE KEY``.

The first part of a request's path says what it does; `usage` tells how the request came. For
``hang`` it writes a line to standard output and never answers.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

LARGE = "The {{ANIMAL}} of {{NAME}} is {{COLOUR}}. " * 100_000  # 4 MB

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def live(receive: Receive, send: Send) -> None:
    """Start and stop, without anything to do for either."""
    for word in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{word}.complete"})


async def body_of(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def answer(scope: dict[str, Any], size: int, text: str) -> bytes:
    message = {"role": "user", "content": [{"type": "text", "text": text}]}
    usage = {"version": scope["http_version"], "port": scope["client"][1], "size": size}
    return json.dumps({"messages": [message], "system": "", "usage": usage}).encode()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        return await live(receive, send)
    size = len(await body_of(receive))
    kind = scope["path"].split("/")[1]
    if kind == "hang":
        print("hanging", flush=True)
        await asyncio.Event().wait()
    body = answer(scope, size, LARGE if kind == "large" else "fine")
    headers = [(b"content-type", b"application/json")]
    if kind == "gzip":
        body = gzip.compress(body)
        headers.append((b"content-encoding", b"gzip"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for at in range(0, len(body), 1 << 16):
        part = body[at : at + (1 << 16)]
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{sys.argv[1]}"]
    config.certfile, config.keyfile = sys.argv[2:]
    config.errorlog = config.accesslog = None
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
