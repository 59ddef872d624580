"""Sends many requests of all three verbs from the real client to Prism, a mock that is not ours.

Prism checks each request against docs/openapi.json and makes up a valid answer at random. Between
the two stands a relay that keeps the bytes of each answer, so that what the client returns can be
compared with what was really sent. Usage: prism.py PATH_OF_PRISM [REQUESTS_PER_VERB]
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import promptlathe

ROOT = Path(__file__).resolve().parents[2]
VECTORS: list[dict[str, Any]] = json.loads(
    (ROOT / "tests/cases/messages.json").read_text(encoding="utf-8")
)
VERBS = ("generate", "improve", "templatize")
SEED = 20250402
LIMIT = 60.0  # seconds, for Prism to start and for one exchange
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")


# ---- Prism and the relay ------------------------------------------------------------------------


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def prism(path: str) -> Iterator[int]:
    """Run Prism with answers at random; yield its port once it listens."""
    port = free_port()
    command = [path, "mock", "-d", "-h", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(
        [*command, str(ROOT / "docs/openapi.json")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        watchdog = threading.Timer(LIMIT, running.kill)
        watchdog.start()
        try:
            wait_until_listening(running)
            watchdog.cancel()
            threading.Thread(target=drain, args=(running,), daemon=True).start()
            yield port
        finally:
            watchdog.cancel()
            running.terminate()


def wait_until_listening(running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    seen = []
    for line in running.stdout:
        seen.append(line)
        if "Prism is listening" in line:
            return
    raise SystemExit("Prism did not start:\n" + "".join(seen))


def drain(running: subprocess.Popen[str]) -> None:
    assert running.stdout is not None
    for _ in running.stdout:
        pass


class Relay(ThreadingHTTPServer):
    """Passes requests on to Prism and keeps the last answer's status and bytes."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), RelayHandler)
        self.prism_port = port
        self.last: tuple[int, bytes] = (0, b"")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class RelayHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Relay

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
        headers["accept-encoding"] = "identity"
        status, answered, answer = post(self.server.prism_port, self.path, body, headers)
        self.server.last = (status, answer)
        self.send_response(status)
        for name, value in answered:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def post(
    port: int, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, list[tuple[str, str]], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)) as connection:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheaders(), answer.read()


# ---- Requests -----------------------------------------------------------------------------------


class Requests:
    """Valid arguments for the three verbs, at random but the same in each run."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._vectors = [case["messages"] for case in VECTORS if not case["errors"]]

    def arguments(self, verb: str) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if verb == "generate":
            given["task"] = self._text()
        else:
            given["messages"] = self._messages()
        if verb != "templatize":
            self._maybe(given, "target_model", self._model)
        if verb != "generate":
            self._maybe(given, "system", self._text)
        if verb == "improve":
            self._maybe(given, "feedback", self._text)
        return given

    def betas(self) -> list[str]:
        return self._random.sample(["beta-1", "some.other_beta", "prompt-tools-2025-04-02"], 2)

    def _maybe(self, given: dict[str, Any], name: str, make: Any) -> None:
        if self._random.random() < 0.5:
            given[name] = make()

    def _text(self) -> str:
        ranges = [(0, 0x7F), (0, 0x7FF), (0x4E00, 0x9FFF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]
        low, high = self._random.choice(ranges)
        size = self._random.choice([0, 1, 5, 40, 2000])
        text = "".join(chr(self._random.randint(low, high)) for _ in range(size))
        return "".join(c for c in text if not "\ud800" <= c <= "\udfff")

    def _model(self) -> str:
        return self._random.choice("aé中🙂") * self._random.choice([1, 2, 128, 256])

    def _messages(self) -> Any:
        if self._random.random() < 0.3:
            return self._random.choice(self._vectors)
        users = [self._message("user") for _ in range(self._random.randint(1, 4))]
        return users + [self._message("assistant") for _ in range(self._random.randint(0, 1))]

    def _message(self, role: str) -> dict[str, Any]:
        if self._random.random() < 0.3:
            return {"role": role, "content": self._text()}
        blocks = [{"type": "text", "text": self._text()} for _ in range(self._random.randint(1, 3))]
        return {"role": role, "content": blocks}


# ---- The comparison -----------------------------------------------------------------------------


def expect_refusals(port: int) -> None:
    """Prism must refuse what is wrong, or its acceptance would mean nothing."""
    good = {
        "x-api-key": "any",
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "prompt-tools-2025-04-02",
        "content-type": "application/json",
    }
    path, body = "/v1/experimental/generate_prompt", b'{"task":"a"}'
    wrong = [({**good, "anthropic-beta": beta}, body) for beta in ("", "another")]
    # Prism 5.14.2 ends itself when a header that holds a list is absent: not tried with the beta.
    for name in ("x-api-key", "anthropic-version", "content-type"):
        wrong.append(({k: v for k, v in good.items() if k != name}, body))
    wrong += [(good, bad) for bad in (b"{}", b'{"task":3}', b'{"task":"a","x":1}', b"[]")]
    assert post(port, path, body, good)[0] == 200
    for headers, sent in wrong:
        status = post(port, path, sent, headers)[0]
        assert 400 <= status < 500, f"Prism answered {status} to {sent!r} with {headers}"
    print(f"refused by Prism, as it must be: {len(wrong)} wrong requests")


def compare(client: promptlathe.Client, relay: Relay, count: int) -> Counter[str]:
    requests = Requests(SEED)
    done: Counter[str] = Counter()
    for number in range(count * len(VERBS)):
        verb = VERBS[number % len(VERBS)]
        given, betas = requests.arguments(verb), requests.betas()
        if number % 2:
            raw = getattr(client.with_raw_response, verb)(**given, betas=betas)
            result, attempts = raw.data, raw.attempts
        else:
            result, attempts = getattr(client, verb)(**given, betas=betas), 1
        status, body = relay.last
        assert (status, attempts) == (200, 1), f"{verb}: status {status}, {attempts} attempts"
        expected = json.loads(body)
        assert result == expected, f"{verb}: {result!r} is not what was sent: {body!r}"
        assert type(result) is dict and list(result) == list(expected)
        done[verb] += 1
        done["answers with usage as a list"] += isinstance(expected["usage"], list)
        done["bytes"] += len(body)
    return done


def main() -> None:
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    with prism(sys.argv[1]) as port, Relay(port) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        try:
            expect_refusals(port)
            with promptlathe.Client("any", base_url=relay.url, max_retries=0) as client:
                done = compare(client, relay, count)
        finally:
            relay.shutdown()
    print("accepted by Prism, and its answers came back equal:")
    for what, number in done.items():
        print(f"  {what}: {number}")


if __name__ == "__main__":
    main()
