"""Who is let in: so many calls at once, and none when the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from promptlathe.server.handler import Refusal

_RETRY = ("retry-after", "1")
_CLOSE = ("connection", "close")


class Gate:
    """Counts the calls in flight and can end them.

    Parameters
    ----------
    limit
        How many are let in at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._inside: set[asyncio.Task[object]] = set()
        self._cut: set[asyncio.Task[object]] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.stopping = False

    def __len__(self) -> int:
        return len(self._inside)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Let the current task in, or raise a `Refusal`: 529 when it is full, 503 when it stops."""
        if self.stopping:
            raise _stopped("the server is stopping")
        if len(self._inside) >= self._limit:
            raise Refusal(529, f"{self._limit} calls are in flight already; try again", [_RETRY])
        task = asyncio.current_task()
        assert task is not None
        self._inside.add(task)
        self._empty.clear()
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise _stopped("the server has stopped, and the call was cancelled") from None
        finally:
            self._leave(task)

    def _leave(self, task: asyncio.Task[object]) -> None:
        self._inside.discard(task)
        self._cut.discard(task)
        if not self._inside:
            self._empty.set()

    async def stop(self, grace: float) -> None:
        """Let nobody in any more, wait `grace` seconds for those inside, then `cut` them."""
        self.stopping = True
        try:
            async with asyncio.timeout(grace):
                await self._empty.wait()
        except TimeoutError:
            self.cut()
            await self._empty.wait()

    def cut(self) -> None:
        """Cancel every call in flight; each is answered by a 503."""
        for task in self._inside - self._cut:
            self._cut.add(task)
            task.cancel()


def _stopped(what: str) -> Refusal:
    return Refusal(503, f"{what}; try again", [_RETRY, _CLOSE])
