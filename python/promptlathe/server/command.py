"""``promptlathe mock``: the simulated service in the foreground."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Self, TextIO

from promptlathe.server import handler, listening
from promptlathe.server.front import Server
from promptlathe.server.recorded import Request

_BANNER = """\
promptlathe: a SIMULATED service at {url}
Its answers come from fixed rules. No model writes them, nothing leaves this machine.
Any key is accepted. Try:

  curl -s {url}/v1/experimental/templatize_prompt \\
    -H 'x-api-key: any' -H 'anthropic-version: {version}' \\
    -H 'anthropic-beta: {beta}' -H 'content-type: application/json' \\
    -d '{{"messages":[{{"role":"user","content":"Translate hello to German"}}]}}'

or point programs at it: export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=any
Ctrl-C stops it.
"""


def serve_forever(
    host: str = "127.0.0.1", port: int = 8765, *, quiet: bool = False, out: TextIO | None = None
) -> None:
    """Run a simulated service until Ctrl-C, or until SIGTERM when on the main thread.

    Parameters
    ----------
    host, port
        Where to listen; port 0 for any free one.
    quiet
        Print the URL alone: no banner, no line per request.
    out
        Where to print; standard output by default.

    Raises
    ------
    OSError
        When the address cannot be listened on.
    KeyboardInterrupt
        After Ctrl-C, once everything is closed.
    """
    out = sys.stdout if out is None else out
    printer = threading.Lock()

    def log(request: Request, status: int | None, seconds: float) -> None:
        size = len(request.body)
        shown = "no answer" if status is None else status
        line = f"{request.method} {request.path} {size} bytes -> {shown}"
        line += f" {seconds * 1000:.1f} ms {request.request_id}"
        with printer:
            print(line, file=out, flush=True)

    server = Server(host, port, on_answer=None if quiet else log)
    with _Termination() as termination, server:
        banner = _BANNER.format(url=server.url, version=handler.VERSION, beta=handler.BETA)
        print(server.url if quiet else banner, file=out, flush=True)
        if not listening.is_loopback(host):
            print(
                f"Listening on {host}: whoever reaches this machine can use it.",
                file=out,
                flush=True,
            )
        termination.wait()


class _Termination:
    """SIGTERM, to wait for, while on the main thread; the former handler comes back.

    It arrives by a pipe. A handler that sets an event may come upon this thread as it begins to
    wait, which then holds the event's lock; and one that comes just before a wait does not end it.
    """

    def __enter__(self) -> Self:
        self._handled = threading.current_thread() is threading.main_thread()
        if self._handled:
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._woken = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            self._former = signal.signal(signal.SIGTERM, lambda number, frame: None)
        return self

    def wait(self) -> None:
        """Return at SIGTERM; never elsewhere than on the main thread."""
        if not self._handled:
            threading.Event().wait()
        while signal.SIGTERM not in os.read(self._reader, 64):  # the numbers of signals
            pass

    def __exit__(self, *exception: object) -> None:
        if self._handled:
            signal.signal(signal.SIGTERM, self._former)
            signal.set_wakeup_fd(self._woken)
            os.close(self._writer)
            os.close(self._reader)
