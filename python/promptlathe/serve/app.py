"""The ASGI application: what is served under which path, and what every request goes through."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import options as defaults
from .answerers import Answerer, Simulated, Upstream
from .endpoints import Endpoints
from .gate import Gate
from .keys import Keys
from .log import Write, entry_of
from .metrics import CONTENT_TYPE, Metrics
from .options import Options
from .record import KEY, Record


class App(Starlette):
    """The application that `create_app` makes."""

    def __init__(self, options: Options, log: Write | None) -> None:
        self.keys = None if options.api_key_file is None else Keys(options.api_key_file)
        self.gate = Gate(options.concurrency)
        self.metrics = Metrics()
        self.metrics.in_flight.set_function(lambda: len(self.gate))
        self.answerer = _answerer(options)
        self.behind = self.answerer.told
        super().__init__(
            routes=[
                Route("/healthz", self._health, methods=["GET"]),
                Route("/metrics", self._metrics, methods=["GET"]),
                Mount("/", app=self._endpoints(options)),
            ],
            middleware=[Middleware(_Recorder, metrics=self.metrics, log=log)],
            lifespan=_lifespan,
        )

    def _endpoints(self, options: Options) -> Endpoints:
        return Endpoints(
            self.answerer,
            self.gate,
            accepts=None if self.keys is None else self.keys.accepts,
            max_body_bytes=options.max_body_bytes,
            timeout=options.timeout,
            marked=options.simulated,
        )

    async def stop(self, grace: float = defaults.GRACE) -> None:
        """Refuse new calls with 503, end those in flight after a time, close the connections.

        The application's own lifespan does so without grace; a server that mounts the application
        does not run that, and has to call this.

        Parameters
        ----------
        grace
            Seconds for the calls in flight; what is left then is cancelled and answered by a 503.
        """
        await self.gate.stop(grace)
        await self.answerer.close()

    def reload_keys(self) -> None:
        """Read the file of the callers' keys again; ConfigurationError leaves the old ones."""
        if self.keys is not None:
            self.keys.reload()

    async def _health(self, request: Request) -> Response:
        if self.gate.stopping:
            return JSONResponse({"status": "stopping"}, 503)
        return JSONResponse({"status": "ok"})

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), headers={"content-type": CONTENT_TYPE})


def create_app(
    *,
    model: str | None = None,
    simulated: bool = False,
    upstream: str | None = None,
    allow_http: bool = False,
    api_key_file: str | os.PathLike[str] | None = None,
    max_body_bytes: int = defaults.MAX_BODY_BYTES,
    timeout: float = defaults.TIMEOUT,
    concurrency: int = defaults.CONCURRENCY,
    max_tokens: int = defaults.MAX_TOKENS,
    effort: str = "fast",
    on_variable_change: str = "raise",
    instructions: str | os.PathLike[str] | None = None,
    log: Callable[[dict[str, Any]], None] | None = None,
) -> App:
    """Make an ASGI application that serves the three endpoints, ``/healthz`` and ``/metrics``.

    Parameters
    ----------
    model : str, optional
        The model that answers.
    simulated : bool, default False
        Answer from fixed rules, without any model. Either this or a model.
    upstream : str, optional
        The base URL of the Messages API; else ANTHROPIC_BASE_URL, else https://api.anthropic.com.
    allow_http : bool, default False
        Allow an upstream of http on another host than this one.
    api_key_file : str or os.PathLike, optional
        A file of the keys that callers may use, one on each line. The upstream then gets the key of
        ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN; without a file it gets each caller's own.
    max_body_bytes : int, default 8388608
        A longer request body is a 413.
    timeout : float, default 600
        Seconds for a whole call; a 504 then.
    concurrency : int, default 512
        Calls in flight at once; beyond them a 529.
    max_tokens : int, default 8192
        The most tokens that the model may write for one answer.
    effort : "fast" or "thorough", default "fast"
        Of `improve`.
    on_variable_change : "raise", "keep_original" or "warn", default "raise"
        Of `improve`, when the result has other variables than the prompt: a 502, the original, or
        the result all the same.
    instructions : str or os.PathLike, optional
        A folder with instructions to use instead of the built-in ones.
    log : callable, optional
        Called with a dict for each request that has ended; without text of callers and upstreams.

    Returns
    -------
    App
        An ASGI application of Starlette, for one event loop. `App.stop` ends it.

    Raises
    ------
    ConfigurationError
        When an option cannot be used, or there is no key of one's own where one is needed.
    """
    options = Options(
        model=model,
        simulated=simulated,
        upstream=upstream,
        allow_http=allow_http,
        api_key_file=None if api_key_file is None else Path(api_key_file),
        max_body_bytes=max_body_bytes,
        timeout=timeout,
        concurrency=concurrency,
        max_tokens=max_tokens,
        effort=effort,
        on_variable_change=on_variable_change,
        instructions=None if instructions is None else Path(instructions),
    )
    return App(options, log)


def _answerer(options: Options) -> Answerer:
    if options.simulated:
        return Simulated()
    return Upstream(options, own_key=options.api_key_file is not None)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    assert isinstance(app, App)
    yield
    await app.stop(0)


class _Recorder:
    """Records every request, whatever answers it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log: Write | None) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = scope[KEY] = Record.of(scope)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            record.end()
            self._metrics.count(record)
            if self._log is not None:
                self._log(entry_of(record))
