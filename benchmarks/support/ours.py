"""The clients of promptlathe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from run import KEY, Run


def client(run: Run) -> None:
    from promptlathe import Client

    with Client(KEY, base_url=run.base, ca_file=run.ca_file) as client:
        run.repeat(lambda: client.generate(run.task))


async def async_client(run: Run) -> None:
    from promptlathe import AsyncClient

    async with AsyncClient(KEY, base_url=run.base, ca_file=run.ca_file) as client:
        await run.repeat_async(lambda: client.generate(run.task))


def _requests(run: Run) -> Iterator[Any]:
    return ({"verb": "generate", "task": run.task} for _ in range(run.calls))


def _take(run: Run, answer: Any) -> None:
    if isinstance(answer, Exception):
        run.fail(answer)
    else:
        run.check(answer)


def client_map(run: Run) -> None:
    from promptlathe import Client

    with Client(KEY, base_url=run.base, ca_file=run.ca_file) as client:
        run.check(client.generate(run.task))
        run.begin()
        for answer in client.map(
            _requests(run), concurrency=run.concurrency, return_exceptions=True
        ):
            _take(run, answer)
        run.end()


async def async_client_map(run: Run) -> None:
    from promptlathe import AsyncClient

    async with AsyncClient(KEY, base_url=run.base, ca_file=run.ca_file) as client:
        run.check(await client.generate(run.task))
        run.begin()
        async for answer in client.map(
            _requests(run), concurrency=run.concurrency, return_exceptions=True
        ):
            _take(run, answer)
        run.end()
