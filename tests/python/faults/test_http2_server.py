"""HTTP/2 with a server that others made (Hypercorn, on the h2 library), in a process of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import pytest
from promptlathe import APIConnectionError, Client

from faults.http2_app import LARGE
from faults.outcome import TASK, client_for, failure
from faults.raw_server import PATIENCE
from faults.tls import Authority


class Service:
    """The server, which can be killed and started again on the same port."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = [str(certificate), str(key)]
        self.port = 0
        self.start()

    def start(self) -> None:
        """Who connects is let in from here on, and waits until the process has started."""
        path = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        with socket.create_server(("127.0.0.1", self.port), backlog=128) as listener:
            self.port = listener.getsockname()[1]
            fd = listener.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faults.http2_app", str(fd), *self._files],
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_for_hanging(self, count: int) -> None:
        """Until so many requests hang in the service."""
        assert self.process.stdout is not None
        for _ in range(count):
            assert self.process.stdout.readline() == b"hanging\n"

    def client(self, authority: Authority, kind: str = "plain", **options: Any) -> Client:
        url = f"https://127.0.0.1:{self.port}/{kind}"
        return client_for(url, ca_file=authority.file, **{"timeout": 60, **options})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.kill()


@pytest.fixture(scope="module")
def files(authority: Authority) -> tuple[Path, Path]:
    return authority.files("127.0.0.1")


@pytest.fixture
def service(files: tuple[Path, Path]) -> Iterator[Service]:
    with Service(*files) as service:
        yield service


def text_of(answer: dict[str, Any]) -> str:
    return answer["messages"][0]["content"][0]["text"]


def test_answers(service: Service, authority: Authority) -> None:
    with service.client(authority) as client, service.client(authority, "gzip") as packed:
        for each in (client, packed):
            raw = each.with_raw_response.generate(TASK)
            assert text_of(raw.data) == "fine" and raw.attempts == 1
            assert raw.data["usage"]["version"] == "2"
        assert raw.headers["content-encoding"] == "gzip"


def test_many_threads_share_few_connections(service: Service, authority: Authority) -> None:
    with service.client(authority, max_retries=0) as client:
        gate = threading.Barrier(32)

        def call(number: int) -> dict[str, Any]:
            if number < 32:
                gate.wait(PATIENCE)
            return client.generate(f"{TASK} {number:04d}")

        with ThreadPoolExecutor(32) as pool:
            answers = list(pool.map(call, range(200)))
    assert {text_of(answer) for answer in answers} == {"fine"}
    assert len({answer["usage"]["port"] for answer in answers}) <= 4


def test_large_requests_and_answers(service: Service, authority: Authority) -> None:
    """1 MB there and 4 MB back, alone and four at once: windows have to be opened both ways."""
    task = "x" * (1 << 20)
    with service.client(authority, "large", max_retries=0) as client:
        alone = client.generate(task)
        assert text_of(alone) == LARGE and alone["usage"]["size"] == len(task) + len('{"task":""}')
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(client.generate, [task] * 4))
        assert answers == [{**alone, "usage": answer["usage"]} for answer in answers]
        assert {answer["usage"]["size"] for answer in answers} == {alone["usage"]["size"]}


def test_server_that_is_killed_and_started_again(service: Service, authority: Authority) -> None:
    with service.client(authority, max_retries=0) as client:
        client.generate(TASK)
        service.kill()
        error = failure(client, APIConnectionError)
        assert (error.phase, error.attempts) in [("connect", 1), ("wait", 1), ("send", 1)]
        assert failure(client, APIConnectionError).phase == "connect"
        service.start()
        assert text_of(client.generate(TASK)) == "fine"


def test_server_that_is_killed_with_calls_in_flight(service: Service, authority: Authority) -> None:
    with service.client(authority, "hang", max_retries=0) as client:

        def call(_: int) -> str:
            with pytest.raises(APIConnectionError) as caught:
                client.generate(TASK)
            assert type(caught.value) is APIConnectionError
            return caught.value.phase

        with ThreadPoolExecutor(8) as pool:
            phases = pool.map(call, range(8))
            service.wait_for_hanging(8)
            service.kill()
            # libcurl may look for another connection by itself before it gives up.
            assert set(phases) <= {"wait", "connect"}
        service.start()
    with service.client(authority) as client:
        assert text_of(client.generate(TASK)) == "fine"
