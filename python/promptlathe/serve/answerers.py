"""What stands behind the endpoints: the simulated answers, or a client of an upstream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from promptlathe import AsyncClient, ConfigurationError
from promptlathe.server import simulated
from promptlathe.server.handler import Refusal

from .clients import Clients, Credential
from .faults import refusal_of
from .options import Options
from .record import Record

LARGE = 16 << 10  # bytes of a request; work on more is done beside the event loop


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its verb, the checked members, the caller's key, its size and the seconds left."""

    verb: str
    given: dict[str, Any]
    credential: Credential
    size: int
    seconds: float


class Answerer(Protocol):
    """Makes the body of a 200 answer, or raises a `Refusal`."""

    waits: bool  # whether it waits for others, so that it can be worth while to cancel it
    told: dict[str, Any]  # what it is, for the log

    async def answer(self, call: Call, record: Record) -> dict[str, Any]:
        """Answer a call, and note in the record what it took."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class Simulated:
    """The simulated answers."""

    waits = False

    def __init__(self) -> None:
        self.told: dict[str, Any] = {"simulated": True}

    async def answer(self, call: Call, record: Record) -> dict[str, Any]:
        """Answer from the rules."""
        if call.size > LARGE:
            result = await asyncio.to_thread(simulated.answer, call.verb, call.given)
        else:
            result = simulated.answer(call.verb, call.given)
        record.note_usage(result["usage"])
        return result

    async def close(self) -> None:
        """Do nothing."""


class Upstream:
    """A Messages API.

    Parameters
    ----------
    options
        Of the server.
    own_key
        Use the key of the environment for everybody; else every caller's own.

    Raises
    ------
    ConfigurationError
        When a client cannot be made: no key of one's own, a malformed URL.
    """

    waits = True

    def __init__(self, options: Options, *, own_key: bool) -> None:
        self._options = options
        self._own = make_client(options) if own_key else None
        # A wrong option is told now, not to callers.
        client = self._own or make_client(options, ("api_key", "probe"))
        self.told: dict[str, Any] = {"model": options.model, "upstream": client.base_url}
        self._clients = Clients(lambda credential: make_client(options, credential))

    async def answer(self, call: Call, record: Record) -> dict[str, Any]:
        """Have the upstream's model answer, within the seconds that are left."""
        if self._own is not None:
            return await _ask(self._own, call, record, own_key=True)
        try:
            async with self._clients.lent(call.credential) as client:
                return await _ask(client, call, record, own_key=False)
        except ConfigurationError as error:
            # All but the key was seen to be good; a folder of instructions may be gone since.
            if not str(error).startswith(("api_key", "auth_token")):
                raise
            raise Refusal(401, "invalid x-api-key") from None

    async def close(self) -> None:
        """Close the connections; calls in flight end."""
        await self._clients.close()
        if self._own is not None:
            await self._own.close()


def make_client(options: Options, credential: Credential | None = None) -> AsyncClient:
    """Return a client of the upstream; without a credential its key is that of the environment."""
    settings: dict[str, Any] = {
        "base_url": options.upstream,
        "timeout": options.timeout,
        "allow_http": options.allow_http,
        "model": options.model,
        "max_tokens": options.max_tokens,
        "effort": options.effort,
        "on_variable_change": options.on_variable_change,
    }
    if options.instructions is not None:
        settings["instructions"] = options.instructions
    if credential is not None:
        settings |= [credential]
    return AsyncClient(**settings)


async def _ask(client: AsyncClient, call: Call, record: Record, *, own_key: bool) -> dict[str, Any]:
    ask = getattr(client.with_raw_response, call.verb)
    try:
        raw = await ask(**call.given, timeout=call.seconds)
    except Exception as error:
        record.note_upstream(getattr(error, "request_id", None), getattr(error, "attempts", 0))
        record.note_usage(getattr(error, "usage", None))
        refusal = refusal_of(error, own_key=own_key)
        if refusal is None:
            raise
        raise refusal from None
    record.note_upstream(raw.request_id, raw.attempts)
    result: dict[str, Any] = raw.data
    record.note_usage(result.get("usage"))
    return result
