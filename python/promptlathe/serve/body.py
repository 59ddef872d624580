"""Reading a request's body, no further than is allowed, and watching for callers that leave."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from promptlathe.server import handler

_T = TypeVar("_T")

LINGER = 2.0  # seconds in which a caller that still sends may come to read its 413


class Gone(Exception):
    """The caller has left."""


async def read(fields: handler.Fields, receive: Receive, limit: int) -> bytes:
    """Return the body.

    Parameters
    ----------
    fields
        The request's headers.
    receive
        The application's `receive`.
    limit
        How many bytes are allowed. A body that announces more is not read at all, one in chunks
        not beyond the chunk that goes too far.

    Raises
    ------
    Refusal
        413, when there are more.
    Gone
        When the caller left before the body's end.
    """
    announced = fields.get("content-length", "")
    if announced.isascii() and announced.isdigit():
        handler.check_size(int(announced[:4000]), limit)
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        handler.check_size(size, limit)
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def linger(receive: Receive) -> None:
    """Drop what a refused caller still sends, for a while.

    A connection that is closed with data unread is reset, and the caller may lose the answer.
    """
    try:
        async with asyncio.timeout(LINGER):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def attended(call: Coroutine[Any, Any, _T], receive: Receive) -> _T:
    """Await the call while its caller is there; else cancel it and raise `Gone`."""
    working = asyncio.ensure_future(call)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
