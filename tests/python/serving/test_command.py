"""``promptlathe serve`` as a process: how it begins, what signals do, and how it ends."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self

import promptlathe
import pytest

from .server import BODY, GENERATE, HEADERS, KEY, LIMIT, TASK, Reply, head, read_reply


class Command:
    """A running command. Whatever it writes to its log has to be JSON."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "promptlathe", "serve", "--port", "0", *arguments],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.entries: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.address = self.wait("listening")["url"].removeprefix("http://")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.entries.put(json.loads(line))

    def wait(self, event: str) -> dict[str, Any]:
        while True:
            entry = self.entries.get(timeout=LIMIT)
            self.seen.append(entry)
            if entry.get("event") == event:
                return entry

    def ask(self, key: str = KEY) -> int:
        connection = HTTPConnection(self.address, timeout=LIMIT)
        connection.request("POST", GENERATE, BODY, HEADERS | {"x-api-key": key})
        status = connection.getresponse().status
        connection.close()
        return status

    def begin(self) -> socket.socket:
        """Begin a call and hold it in flight: the end of its body is missing."""
        host, port = self.address.split(":")
        sock = socket.create_connection((host, int(port)), timeout=LIMIT)
        sock.sendall(head(f"content-length: {len(BODY)}", "expect: 100-continue"))
        assert sock.recv(100).startswith(b"HTTP/1.1 100")  # the body is being read
        sock.sendall(BODY[:-1].encode())
        return sock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT)
        self.reader.join(LIMIT)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_calls_in_flight_are_answered_before_it_ends(number: signal.Signals) -> None:
    with Command("--simulated") as command, command.begin() as sock:
        command.process.send_signal(number)
        assert command.wait("stopping")["in_flight"] == 1
        sock.sendall(BODY[-1:].encode())
        assert read_reply(sock).status == 200
        assert command.process.wait(LIMIT) == 0
        command.wait("stopped")


def test_no_new_connections_while_it_stops() -> None:
    with Command("--simulated") as command, command.begin() as sock:
        command.process.send_signal(signal.SIGTERM)
        command.wait("stopping")
        host, port = command.address.split(":")
        refused = threading.Event()
        while not refused.wait(0.02):  # until the listener is closed a call gets a 503
            try:
                with socket.create_connection((host, int(port)), timeout=LIMIT) as late:
                    late.sendall(head(f"content-length: {len(BODY)}") + BODY.encode())
                    assert read_reply(late).status == 503
            except (ConnectionError, OSError):
                refused.set()
        sock.sendall(BODY[-1:].encode())
        assert read_reply(sock).status == 200
        assert command.process.wait(LIMIT) == 0


def test_after_the_grace_calls_are_ended() -> None:
    with Command("--simulated", "--grace", "0.3") as command, command.begin() as sock:
        command.process.send_signal(signal.SIGTERM)
        reply = read_reply(sock)
        assert_cut(reply)
        assert command.process.wait(LIMIT) == 0


def test_a_second_signal_ends_the_grace() -> None:
    with Command("--simulated") as command, command.begin() as sock:
        command.process.send_signal(signal.SIGTERM)
        command.wait("stopping")
        command.process.send_signal(signal.SIGTERM)
        assert_cut(read_reply(sock))
        assert command.process.wait(LIMIT) == 0


def assert_cut(reply: Reply) -> None:
    assert reply.status == 503 and reply.error["type"] == "api_error"
    assert reply.headers["retry-after"] == "1"


def test_callers_see_a_kill_as_retries_alone() -> None:
    counted = threading.Semaphore(0)
    done = threading.Event()
    attempts: list[int] = []

    def call(client: promptlathe.Client) -> None:
        while not done.is_set():
            attempts.append(client.with_raw_response.generate(TASK).attempts)
            counted.release()

    def wait_for_calls(count: int) -> None:
        for _ in range(count):
            assert counted.acquire(timeout=LIMIT)

    with ThreadPoolExecutor(8) as pool, ExitStack() as ending:
        ending.callback(done.set)  # before the pool waits for its threads, whatever happens
        with Command("--simulated") as command:
            url = f"http://{command.address}"
            client = promptlathe.Client(KEY, base_url=url, max_retries=8)
            calls = [pool.submit(call, client) for _ in range(8)]
            wait_for_calls(100)
            command.process.kill()
            command.process.wait(LIMIT)
        with Command("--simulated", "--port", url.rpartition(":")[2]):
            while counted.acquire(blocking=False):
                pass
            wait_for_calls(100)
            done.set()
            for each in calls:
                each.result(LIMIT)
    client.close()
    assert max(attempts) > 1


def test_the_keys_are_read_again_at_sighup(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("first-key\n")
    file.chmod(0o600)
    with Command("--simulated", "--api-key-file", str(file)) as command:
        assert (command.ask("first-key"), command.ask("second-key")) == (200, 401)
        file.write_text("second-key\n")
        command.process.send_signal(signal.SIGHUP)
        assert command.wait("keys")["count"] == 1
        assert (command.ask("first-key"), command.ask("second-key")) == (401, 200)
        file.write_text("")
        command.process.send_signal(signal.SIGHUP)
        assert "has no key" in command.wait("keys")["message"]
        assert command.ask("second-key") == 200
        file.write_text("second-key\n")
        file.chmod(0o644)
        command.process.send_signal(signal.SIGHUP)
        assert "chmod 600" in command.wait("warning")["message"]
        assert "-key\n" not in str(command.seen) and "second-key" not in str(command.seen)


def test_sighup_without_a_file_ends_nothing() -> None:
    with Command("--simulated") as command:
        command.process.send_signal(signal.SIGHUP)
        assert command.ask() == 200


def test_it_says_what_it_is() -> None:
    with Command("--simulated", "--host", "0.0.0.0") as command:
        messages = [entry["message"] for entry in command.seen if entry["event"] == "warning"]
        assert "SIMULATED" in messages[0] and "without TLS" in messages[1]


def test_requests_that_are_no_http_are_told_in_json() -> None:
    with Command("--simulated") as command:
        host, port = command.address.split(":")
        with socket.create_connection((host, int(port)), timeout=LIMIT) as sock:
            sock.sendall(b"\x16\x03\x01 TLS to a port without it\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 400")
        assert command.wait("server")["level"] == "warning"


# ---- What cannot begin --------------------------------------------------------------------------


def run(*arguments: str, code: str = "", **variables: str) -> tuple[int, str]:
    """Run the command to its end; its exit code and what it says."""
    program = f"import sys\n{code}\nfrom promptlathe.cli import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--model"),
        (("--simulated", "--model", "m"), "not allowed with"),
        (("--simulated", "--port", "70000"), "no port"),
        (("--simulated", "--concurrency", "0"), "no whole number from 1"),
        (("--simulated", "--api-key-file", "absent"), "absent cannot be read"),
        (("--simulated", "--effort", "much"), "much"),
    ],
    ids=str,
)
def test_usage_is_checked(arguments: tuple[str, ...], says: str) -> None:
    code, said = run(*arguments)
    assert code == 2 and says in said


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield str(sock.getsockname()[1])


def test_a_port_that_is_taken(taken: str) -> None:
    code, said = run("--simulated", "--port", taken)
    assert code == 2 and f"cannot listen on 127.0.0.1:{taken}" in said


@pytest.mark.parametrize("name", ["starlette", "uvicorn", "prometheus_client"])
def test_without_the_extra_it_says_which(name: str) -> None:
    code, said = run("--simulated", code=f"sys.modules[{name!r}] = None")
    assert code == 2
    assert name in said and "pip install 'promptlathe[serve]'" in said
