"""How the rows are checked: a client for a server, a call that must fail, in its time.

What came of the calls is kept in `seen`, from which the table of the fault rows is made.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import pytest
from promptlathe import APIConnectionError, APIError, APITimeoutError, AsyncClient, Client

KEY = "sk-test-0123456789abcdef"
TASK = "Write a haiku about rivers"
E = TypeVar("E", bound=BaseException)


@dataclass(frozen=True)
class Outcome:
    """What a call ended in."""

    kind: str  # the exception's class, or "an answer"
    phase: str
    attempts: int
    took: float  # seconds
    limit: str = ""  # the limit that ended it, in the error's own words
    late: float = 0.0  # seconds beyond that limit

    def __str__(self) -> str:
        return f"{self.kind}, {self.phase}" if self.phase else self.kind


seen: list[Outcome] = []  # in the test under way


USUAL = {"timeout": 5, "max_retries": 1}


def client_for(url: str, **options: Any) -> Client:
    """A client that tries twice and gives up after five seconds, unless told otherwise."""
    return Client(KEY, base_url=url, **{**USUAL, **options})


class Way(Protocol):
    """A client in one manner of calling it."""

    def generate(self, task: str, **options: Any) -> Any: ...


class Sync:
    """The client whose caller waits."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = client_for(url, **options)

    def generate(self, task: str, **options: Any) -> Any:
        return self.client.generate(task, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()


class Map(Sync):
    """The same client's map, over one request."""

    def generate(self, task: str, **options: Any) -> Any:
        with self.client.map([{"verb": "generate", "task": task, **options}]) as results:
            (result,) = results
        return result


class Async:
    """The client of asyncio, in an event loop that runs in a thread as long as it lives."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = AsyncClient(KEY, base_url=url, **{**USUAL, **options})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def generate(self, task: str, **options: Any) -> Any:
        return self._run(self.client.generate(task, **options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


# What the fixture `way` gives in turn: a context manager that is a `Way`.
WAYS: dict[str, type[Sync | Async]] = {"sync": Sync, "async": Async, "map": Map}


def _outcome_of(error: BaseException, took: float) -> Outcome:
    kind, attempts = type(error).__name__, getattr(error, "attempts", 1)
    if not isinstance(error, APIConnectionError):
        return Outcome(kind, "", attempts, took)
    if not isinstance(error, APITimeoutError):
        return Outcome(kind, error.phase, attempts, took)
    found = re.search(r"within the ((?:connect )?timeout) of (\S+) s", str(error))
    assert found, str(error)
    # The time to connect is for each attempt, the other one for the whole call.
    began_at_the_attempt = found[1] != "timeout"
    late = (error.times["total"] if began_at_the_attempt else took) - float(found[2])
    return Outcome(kind, error.phase, attempts, took, f"{found[1]} of {found[2]} s", late)


def failure(
    client: Way, kind: type[E], *, within: float = 6.0, after: float = 0.0, **options: Any
) -> E:
    """Make a call that must end in exactly `kind`, between `after` and `within` seconds."""
    task = options.pop("task", TASK)
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        client.generate(task, **options)
    took = time.monotonic() - started
    assert type(caught.value) is kind, repr(caught.value)
    seen.append(_outcome_of(caught.value, took))
    assert after <= took <= within, f"it took {took:.3f} s"
    if isinstance(caught.value, APIError):
        assert task not in str(caught.value) and KEY not in str(caught.value)
    return caught.value


def answer_or_failure(client: Way, kind: type[E]) -> E | None:
    """Make a call that is answered, or ends in exactly `kind`: that depends on a library."""
    started = time.monotonic()
    try:
        client.generate(TASK)
    except kind as error:
        assert type(error) is kind, repr(error)
        seen.append(_outcome_of(error, time.monotonic() - started))
        return error
    seen.append(Outcome("an answer", "", 1, time.monotonic() - started))
    return None


def success(client: Way, *, attempts: int = 1, within: float = 6.0, **options: Any) -> Any:
    """Make a call that must be answered in time; the caller has to check the attempts."""
    started = time.monotonic()
    result = client.generate(options.pop("task", TASK), **options)
    took = time.monotonic() - started
    seen.append(Outcome("an answer", "", attempts, took))
    assert took <= within, f"it took {took:.3f} s"
    return result
