"""Clients written in Rust: pyreqwest and primp."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from run import HEADERS, WHOLE, Run


def _set(builder: Any, run: Run) -> Any:
    builder = builder.default_headers(HEADERS).timeout(timedelta(seconds=WHOLE))
    if run.ca_file:
        builder = builder.add_root_certificate_pem(Path(run.ca_file).read_bytes())
    return builder.error_for_status().http2(run.http2).build()


def pyreqwest(run: Run) -> None:
    from pyreqwest.client import SyncClientBuilder

    with _set(SyncClientBuilder(), run) as client:

        def call() -> Any:
            return client.post(run.url).body_json({"task": run.task}).build().send().json()

        run.repeat(call)


async def pyreqwest_async(run: Run) -> None:
    from pyreqwest.client import ClientBuilder

    async with _set(ClientBuilder(), run) as client:

        async def call() -> Any:
            response = await client.post(run.url).body_json({"task": run.task}).build().send()
            return await response.json()

        await run.repeat_async(call)


def _primp_options(run: Run) -> dict[str, Any]:
    return {"headers": HEADERS, "timeout": WHOLE, "ca_cert_file": run.ca_file}


def primp(run: Run) -> None:
    import primp as package

    with package.Client(**_primp_options(run)) as client:

        def call() -> Any:
            response = client.post(run.url, json={"task": run.task})
            response.raise_for_status()
            return response.json()

        run.repeat(call)


async def primp_async(run: Run) -> None:
    import primp as package

    async with package.AsyncClient(**_primp_options(run)) as client:

        async def call() -> Any:
            response = await client.post(run.url, json={"task": run.task})
            response.raise_for_status()
            return response.json()

        await run.repeat_async(call)
