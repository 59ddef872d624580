"""Clients written in Python: the vendor's SDK, httpx, aiohttp and requests."""

from __future__ import annotations

from typing import Any

from run import HEADERS, KEY, PATH, WHOLE, Run


def _sdk_options(run: Run) -> dict[str, Any]:
    beta = {"anthropic-beta": HEADERS["anthropic-beta"]}
    return {"api_key": KEY, "base_url": run.base, "timeout": WHOLE, "default_headers": beta}


def sdk(run: Run) -> None:
    import anthropic

    transport = anthropic.DefaultHttpxClient(verify=run.tls)
    with anthropic.Anthropic(http_client=transport, **_sdk_options(run)) as client:
        run.repeat(lambda: client.post(PATH, body={"task": run.task}, cast_to=object))


async def sdk_async(run: Run) -> None:
    import anthropic

    transport = anthropic.DefaultAsyncHttpxClient(verify=run.tls)
    async with anthropic.AsyncAnthropic(http_client=transport, **_sdk_options(run)) as client:
        await run.repeat_async(lambda: client.post(PATH, body={"task": run.task}, cast_to=object))


def _httpx_options(run: Run) -> dict[str, Any]:
    import httpx

    limits = httpx.Limits(
        max_connections=run.concurrency, max_keepalive_connections=run.concurrency
    )
    return {
        "limits": limits,
        "timeout": WHOLE,
        "headers": HEADERS,
        "verify": run.tls,
        "http2": run.http2,
    }


def httpx(run: Run) -> None:
    import httpx as package

    with package.Client(**_httpx_options(run)) as client:

        def call() -> Any:
            return client.post(run.url, json={"task": run.task}).raise_for_status().json()

        run.repeat(call)


async def httpx_async(run: Run) -> None:
    import httpx as package

    async with package.AsyncClient(**_httpx_options(run)) as client:

        async def call() -> Any:
            response = await client.post(run.url, json={"task": run.task})
            return response.raise_for_status().json()

        await run.repeat_async(call)


async def aiohttp(run: Run) -> None:
    import aiohttp as package

    connector = package.TCPConnector(limit=run.concurrency, ssl=run.tls)
    limit = package.ClientTimeout(total=WHOLE)
    async with package.ClientSession(
        connector=connector, timeout=limit, headers=HEADERS, raise_for_status=True
    ) as session:

        async def call() -> Any:
            async with session.post(run.url, json={"task": run.task}) as response:
                return await response.json()

        await run.repeat_async(call)


def requests(run: Run) -> None:
    import requests as package

    adapter = package.adapters.HTTPAdapter(pool_maxsize=run.concurrency)
    with package.Session() as session:
        session.headers.update(HEADERS)
        session.mount(run.base, adapter)
        session.verify = run.ca_file or True

        def call() -> Any:
            response = session.post(run.url, json={"task": run.task}, timeout=WHOLE)
            response.raise_for_status()
            return response.json()

        run.repeat(call)
