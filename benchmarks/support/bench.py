"""One measurement: a server and a client, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from support.building import SUPPORT, make_environment, make_program
from support.clients import CLIENTS
from support.rows import C, Row
from support.run import PATH

PATIENCE = 300  # seconds
OF_OTHERS = re.compile(r".*_CA_BUNDLE|SSL_CERT_(FILE|DIR)|.*_proxy", re.IGNORECASE)
ANSWER = {
    "system": "",
    "usage": [{"input_tokens": 400, "output_tokens": 800}],
    "variable_values": {"COMPANY": "a bank"},
}

Seen = dict[str, Any]  # what client and server tell


class NotMeasured(Exception):
    """A client did not do it; says which, in which row, and why."""


def placed(server: bool, free: bool = False) -> Callable[[], None]:
    """What puts the process that calls it on the server's CPU, or on the others.

    What a call costs depends much on whether client and server share a CPU: with 2 KB it is 15 µs of
    libcurl in C, or 37 with a CPU for each, and the kernel does now this, now that. A service is
    elsewhere: so they never share one, unless there is no other, or the client is to be free.
    """
    cpus = sorted(os.sched_getaffinity(0))
    chosen = cpus[:1] if server else cpus if free else cpus[1:] or cpus
    return lambda: os.sched_setaffinity(0, chosen)


class Bench(NamedTuple):
    """What all measurements need."""

    folder: Path
    server: Path
    loop: Path
    python: Path  # with the other clients
    certificate: Path
    key: Path
    ca: Path  # the usual authorities, and that of the server

    @classmethod
    def make(cls, folder: Path) -> Bench:
        from faults.tls import Authority

        authority, python = Authority(folder, "authority"), make_environment()
        told = subprocess.run([python, "-m", "certifi"], capture_output=True, text=True, check=True)
        ca = folder / "ca.pem"
        ca.write_bytes(Path(told.stdout.strip()).read_bytes() + authority.file.read_bytes())
        programs = make_program("server"), make_program("loop")
        return cls(folder, *programs, python, *authority.files("127.0.0.1"), ca)

    def body(self, name: str, content: Any) -> Path:
        """A file with JSON as services write it."""
        path = self.folder / name
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return path

    def serve(self, row: Row) -> subprocess.Popen[bytes]:
        tls = ["--tls", self.certificate, self.key] if row.tls else []
        # Over HTTP/2 many a client puts all on one connection, which never carries so many at once.
        hold = 1 if row.http2 else row.concurrency
        body = self.body("answer", ANSWER | {"messages": [{"role": "user", "content": row.prompt}]})
        return subprocess.Popen(
            [self.server, *tls, *row.server, str(row.delay), str(hold), body],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=placed(server=True),
        )

    def command(self, row: Row, name: str, url: str, calls: int) -> list[str | Path]:
        options = ["--ca", self.ca] if row.tls else []
        options += ["--http2"] if row.http2 else []
        request = self.body("request", {"task": row.task})
        numbers = str(calls), str(row.concurrency)
        if name == C:
            return [self.loop, *options, url + PATH, request, *numbers]
        python = sys.executable if CLIENTS[name].ours else self.python
        return [python, SUPPORT / "clients.py", *options, name, url, request, *numbers]

    def measure(self, row: Row, name: str, calls: int) -> Seen:
        environment = {k: v for k, v in os.environ.items() if not OF_OTHERS.fullmatch(k)}
        server = self.serve(row)
        assert server.stdout is not None
        try:
            url = f"http{'s' * row.tls}://127.0.0.1:{int(server.stdout.readline())}"
            done = subprocess.run(
                self.command(row, name, url, calls),
                env=environment,
                capture_output=True,
                preexec_fn=placed(server=False, free=row.free and name != C),
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise NotMeasured(f"{row.name}, {name}: no end after {PATIENCE} s") from error
        finally:
            counts, _ = server.communicate()
        if done.returncode:
            raise NotMeasured(f"{row.name}, {name}: {done.stderr.decode()[-800:]}")
        seen: Seen = json.loads(done.stdout) | json.loads(counts)
        return seen
