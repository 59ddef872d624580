"""The three manners of calling, each as a `faults.outcome.Way`."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from faults.outcome import KEY, Sync
from promptlathe import APIConnectionError, APIError, AsyncClient


class Async:
    """The client that is awaited, in a loop of its own."""

    def __init__(self, url: str, **options: Any) -> None:
        self.runner = asyncio.Runner()
        self.client = AsyncClient(KEY, base_url=url, **{"timeout": 5, "max_retries": 1, **options})

    def generate(self, task: str, **options: Any) -> dict[str, Any]:
        return self.runner.run(self._generate(task, options))

    async def _generate(self, task: str, options: dict[str, Any]) -> dict[str, Any]:
        return await self.client.generate(task, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.run(self.client.close())
        self.runner.close()


def ending(result: Any) -> tuple[object, ...]:
    """What the calls of one map have to agree in."""
    if isinstance(result, APIConnectionError):
        return type(result), result.phase, result.attempts
    return type(result), result.attempts if isinstance(result, APIError) else None


class Mapped(Sync):
    """Some calls of a map at once, which have to end alike."""

    calls = 3

    def generate(self, task: str, **options: Any) -> dict[str, Any]:
        request = {"verb": "generate", "task": task, **options}
        results = list(self.client.map([request] * self.calls, return_exceptions=True))
        assert len({ending(result) for result in results}) == 1, results
        result = results[0]
        if isinstance(result, Exception):
            raise result
        assert results == [result] * self.calls
        return dict(result)


class MappedOne(Mapped):
    """A map of one call, for tests in which the call itself changes what the network does."""

    calls = 1


WAYS = {"sync": Sync, "async": Async, "map": Mapped}
WAYS_OF_ONE = {**WAYS, "map": MappedOne}
