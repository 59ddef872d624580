"""A request as the simulated service keeps it for the test that looks at it later."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from promptlathe.server import simulated


@dataclass(eq=False)
class Request:
    """What the server received.

    Attributes
    ----------
    index
        The place in `Server.requests`, from 0.
    connection
        The number of the connection it came on, from 1: equal numbers, same connection.
    time
        When it was complete, in seconds of `time.monotonic`.
    method, path, http_version
        Of the request line; the path with its query.
    raw_headers
        Pairs as received, in order.
    body
        The bytes of the body, chunks put together.
    disconnected
        An event: the client ended the connection before it had the whole answer.
    """

    index: int
    connection: int
    time: float
    method: str
    path: str
    http_version: str
    raw_headers: list[tuple[str, str]] = field(repr=False)  # they hold the key
    body: bytes = field(repr=False)
    disconnected: threading.Event = field(default_factory=threading.Event, repr=False)
    number: int = field(default=0, repr=False)  # of all requests of the server; makes the id

    @cached_property
    def headers(self) -> dict[str, str]:
        """The headers by their names in lower case, repeats joined by ", "."""
        joined: dict[str, str] = {}
        for name, value in self.raw_headers:
            name = name.lower()
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return joined

    @cached_property
    def json(self) -> Any:
        """The parsed body; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def request_id(self) -> str:
        """The id that the answer carries."""
        return simulated.request_id(self.number)
