"""``promptlathe serve``: the application under uvicorn, its signals and its log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator

from promptlathe import ConfigurationError
from promptlathe.server import listening

from . import _extra
from .app import App
from .log import Forward, Lines, Write
from .options import GRACE, Options

with _extra.needed():
    import uvicorn

_BEYOND = 5.0  # seconds after the grace in which answers are sent, before connections are dropped
# Longer than proxies keep theirs (60 seconds is usual), so that it is not the server that ends a
# connection on which a request may be on its way.
_KEEP_ALIVE = 75
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def serve(
    options: Options, host: str = "127.0.0.1", port: int = 8080, *, grace: float = GRACE
) -> None:
    """Serve until SIGTERM or SIGINT, on the main thread.

    Parameters
    ----------
    options
        Of the application.
    host, port
        Where to listen; port 0 for any free one.
    grace
        Seconds that calls in flight have after the signal. A second signal ends it.

    Raises
    ------
    ConfigurationError
        When an option cannot be used.
    OSError
        When the address cannot be listened on.
    """
    log = Lines(sys.stderr)
    app = App(options, log)
    _warn(app, options, host, log)
    with listening.listen(host, port) as listener, _forwarded(log):
        server = _Server(_config(app, grace))
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(server, app, listener, grace, log))
    log({"event": "stopped"})


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals alone: its own way to end is to raise them again."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, which takes less CPU; there are Pythons that it cannot be had for."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _config(app: App, grace: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        loop="none",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=int(grace + _BEYOND),
    )


async def _run(
    server: _Server, app: App, listener: socket.socket, grace: float, log: Write
) -> None:
    loop = asyncio.get_running_loop()
    stops: list[asyncio.Task[None]] = []  # the loop knows its tasks only weakly

    def stop() -> None:
        if stops:
            app.gate.cut()
            return
        log({"event": "stopping", "in_flight": len(app.gate)})
        stops.append(loop.create_task(app.gate.stop(grace)))
        server.should_exit = True

    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, _reload, app, log)
    log({"event": "listening", "url": listening.url_of(listener), **app.behind})
    await server.serve(sockets=[listener])
    await asyncio.gather(*stops)


def _reload(app: App, log: Write) -> None:
    if app.keys is None:
        return
    try:
        app.reload_keys()
    except ConfigurationError as error:
        log({"event": "keys", "level": "error", "message": f"{error}; the old keys stay"})
        return
    log({"event": "keys", "count": len(app.keys)})
    _warn_of_keys(app, log)


def _warn(app: App, options: Options, host: str, log: Write) -> None:
    _warn_of_keys(app, log)
    if options.simulated:
        message = "SIMULATED: answers come from fixed rules, no model writes them"
        log({"event": "warning", "message": message})
    if not listening.is_loopback(host):
        message = f"listening on {host} without TLS: put a proxy with TLS in front"
        log({"event": "warning", "message": message})


def _warn_of_keys(app: App, log: Write) -> None:
    if app.keys is not None and app.keys.readable_by_all:
        message = f"every user of this machine can read {app.keys.path}: chmod 600 it"
        log({"event": "warning", "message": message})


@contextlib.contextmanager
def _forwarded(log: Write) -> Iterator[None]:
    """Turn what uvicorn and asyncio have to say into entries of the log."""
    handler = Forward(log)
    names = ("uvicorn", "asyncio", "promptlathe", "py.warnings")
    loggers = [logging.getLogger(name) for name in names]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger in loggers:
            logger.removeHandler(handler)
