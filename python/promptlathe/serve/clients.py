"""The clients of the upstream: one for each key, not too many, none closed under its calls."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from promptlathe import AsyncClient

LIMIT = 128

Credential = tuple[str, str]  # the client's option that takes the key, and the key
MakeClient = Callable[[Credential], AsyncClient]


class _Entry:
    __slots__ = ("client", "kept", "users")

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.users = 0
        self.kept = True


class Clients:
    """Clients by key. A client's connections carry its key alone, so keys never share one.

    Beyond `limit` the client that was asked for longest ago leaves. It is closed when the last of
    its calls has ended, so that a caller with many keys cannot end the calls of others.

    Parameters
    ----------
    make
        Makes the client for a key; what it raises passes through.
    limit
        How many clients are kept.
    """

    def __init__(self, make: MakeClient, limit: int = LIMIT) -> None:
        self._make = make
        self._limit = limit
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def lent(self, credential: Credential) -> AsyncIterator[AsyncClient]:
        """Lend the client for a key, made when there is none."""
        entry = self._find(credential)
        entry.users += 1
        try:
            await self._shrink()
            yield entry.client
        finally:
            entry.users -= 1
            await _close_unused(entry)

    def _find(self, credential: Credential) -> _Entry:
        # The client holds its key in memory that it wipes; here a digest will do.
        digest = hashlib.sha256("\0".join(credential).encode()).digest()
        entry = self._entries.get(digest)
        if entry is None:
            entry = self._entries[digest] = _Entry(self._make(credential))
        self._entries.move_to_end(digest)
        return entry

    async def _shrink(self) -> None:
        while len(self._entries) > self._limit:
            entry = self._entries.popitem(last=False)[1]
            entry.kept = False
            await _close_unused(entry)

    async def close(self) -> None:
        """Close all clients; calls that they still make end with ClientClosedError."""
        entries = list(self._entries.values())
        self._entries.clear()
        for entry in entries:
            await entry.client.close()


async def _close_unused(entry: _Entry) -> None:
    if not entry.kept and entry.users == 0:
        await entry.client.close()
