"""A toxiproxy and its control over HTTP."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from faults.raw_server import refused_port


class Toxiproxy:
    """One process of toxiproxy; a context manager."""

    def __init__(self, binary: str) -> None:
        port = refused_port()
        self._control = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [binary, "-host", "127.0.0.1", "-port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def call(self, method: str, path: str, **body: Any) -> Any:
        """Ask the control for something; what it answers."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(self._control + path, data, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read() or b"null")

    @contextmanager
    def before(self, authority: str) -> Iterator[Proxy]:
        """A proxy before a server, until the block ends."""
        self.call("POST", "/proxies", name="p", listen="127.0.0.1:0", upstream=authority)
        try:
            yield Proxy(self, self.call("GET", "/proxies/p")["listen"])
        finally:
            self.call("DELETE", "/proxies/p")

    def __enter__(self) -> Self:
        # It tells nobody that it listens.
        for _ in range(200):
            try:
                self.call("GET", "/proxies")
            except OSError:
                assert self._process.poll() is None, "toxiproxy has ended"
                try:
                    self._process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
            else:
                return self
        raise AssertionError("toxiproxy does not answer")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


class Proxy:
    """One proxy of a toxiproxy."""

    def __init__(self, toxiproxy: Toxiproxy, authority: str) -> None:
        self._call = toxiproxy.call
        self.authority = authority

    def poison(self, stream: str, kind: str, **attributes: int) -> None:
        """Add a toxic to what goes "upstream" or "downstream"."""
        toxic = {"name": f"{kind}-{stream}", "type": kind, "stream": stream}
        self._call("POST", "/proxies/p/toxics", **toxic, attributes=attributes)

    def cure(self, stream: str, kind: str) -> None:
        """Remove that toxic again."""
        self._call("DELETE", f"/proxies/p/toxics/{kind}-{stream}")

    def enable(self, yes: bool) -> None:
        """Let it listen, or close all that it has."""
        self._call("POST", "/proxies/p", enabled=yes)
