"""gunicorn with ``--preload``: its workers inherit a client that was used before they were forked."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.raw_server import PATIENCE
from faults.tls import Authority

from processes.stages import Stage

pytest.importorskip("gunicorn")

THREADED = ["--workers=4", "-k", "gthread", "--threads=2", "--worker-connections=2"]
THREADED += ["--keep-alive=0"]
KINDS = {"sync": (["--workers=4"], 4), "gthread": (THREADED, 8)}  # and how many calls fill it


class Gunicorn:
    """A running server."""

    def __init__(self, options: list[str], environment: dict[str, str], errors: Path) -> None:
        self.errors = errors
        with socket.create_server(("127.0.0.1", 0)) as listener, errors.open("wb") as out:
            self.port: int = listener.getsockname()[1]
            command = [sys.executable, "-X", "faulthandler", "-m", "gunicorn", "processes.wsgi"]
            command += ["--preload", "--log-level=warning", "--no-control-socket"]
            command += [f"--bind=fd://{listener.fileno()}", *options]
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdout=out,
                stderr=out,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def get(self, path: str) -> Any:
        """What the application answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2 * PATIENCE)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def at_once(self, paths: list[str]) -> Callable[[], list[Any]]:
        """Begin all of these; return a function that waits for their answers."""
        results: dict[str, Any] = {}

        def run(path: str) -> None:
            results[path] = self.get(path)

        threads = [threading.Thread(target=run, args=[path]) for path in paths]
        for thread in threads:
            thread.start()

        def wait() -> list[Any]:
            for thread in threads:
                thread.join()
            return [results[path] for path in paths]

        return wait

    def stop(self) -> int:
        """End it in good order."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


@pytest.fixture
def serve(
    environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[Stage, list[str]], Any]]:
    @contextmanager
    def run(stage: Stage, options: list[str]) -> Iterator[Gunicorn]:
        environment["ORDERS"] = json.dumps(stage.orders)
        server = Gunicorn(options, environment, tmp_path / "gunicorn")
        try:
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()

    yield run


def assert_well(answers: list[Any]) -> set[int]:
    """Every call had its own answer, and nothing of the master's is open; the workers' numbers."""
    assert [answer[1:] for answer in answers] == [[True, [], True]] * len(answers)
    return {answer[0] for answer in answers}


def assert_apart(stage: Stage) -> None:
    for marks in stage.marks:
        assert len({mark.split()[0] for mark in marks}) == 1
    assert ["preload"] in stage.marks


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.fault(
    "Process",
    "gunicorn --preload, {kind} workers, reloaded in calls",
    ends="each process has its own answers, over connections of its own",
)
def test_every_worker_calls(kind: str, tls: bool, authority: Authority, serve: Any) -> None:
    """A graceful reload with calls in flight in each worker; then a graceful end."""
    options, room = KINDS[kind]
    with Stage(authority, tls=tls) as stage, serve(stage, options) as gunicorn:
        wait = gunicorn.at_once([f"/{n}?hold" for n in range(room)])
        stage.wait_for_held(room)
        gunicorn.process.send_signal(signal.SIGHUP)
        stage.release()
        old = new = assert_well(wait())
        assert len(old) == 4
        until = time.monotonic() + PATIENCE
        while new & old:
            assert time.monotonic() < until, "no new workers"
            new = assert_well(gunicorn.at_once([f"/more-{n}" for n in range(8)])())
        assert gunicorn.stop() == 0, gunicorn.errors.read_text()
        assert gunicorn.errors.read_text() == ""
        assert_apart(stage)
