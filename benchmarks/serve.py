"""`promptlathe serve` under load: errors, its memory, its own CPU, and what callers see of a kill.

    python benchmarks/serve.py [MINUTES] [--quick]

wrk holds 256 connections for MINUTES (1; --quick: 10 seconds) against a server with simulated answers,
then against one in front of a Messages API, which is a small C program that answers at once. CPU is
that of the server's process, user and system, per request; memory is its resident size, after a
tenth of the time and at the end. Then the simulated one is killed (SIGKILL) and started again, three
times, while 64 threads call it through a client with max_retries=8.

It exits with 1 when a request failed or took 1 ms of the server's CPU, memory grew by more than 4 MB,
or a client saw anything but retries. It needs Linux, wrk and a C compiler.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support.building import make_program
from support.measuring import describe

CONNECTIONS = 256
THREADS = 64
KILLS = 3
MOST_CPU = 1e-3  # seconds for a request
MOST_GROWTH = 4 << 20  # bytes
TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
TEMPLATIZE = "/v1/experimental/templatize_prompt"
HEADERS = {
    "x-api-key": "any",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "prompt-tools-2025-04-02",
    "content-type": "application/json",
}
PROMPT = [{"role": "user", "content": "Translate hello to German"}]
# What a model would answer to the instructions for templatize.
SPANS = '[{"name": "TARGET_LANGUAGE", "text": "German"}]'
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "model-1",
    "content": [{"type": "text", "text": f"<result_variables>\n{SPANS}\n</result_variables>"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 400, "output_tokens": 40},
}


class Seen(NamedTuple):
    """What a run has shown."""

    requests: int
    failed: str
    cpu: float  # seconds for a request
    latency: str
    begun: int  # resident bytes
    ended: int


# ---- Processes ----------------------------------------------------------------------------------


@contextmanager
def serve(port: int, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command; its log goes nowhere, but is written."""
    command = [sys.executable, "-m", "promptlathe", "serve", "--port", str(port), *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if b'"listening"' in line:
                break
        else:
            raise RuntimeError("the server did not begin")
        reader = threading.Thread(target=_drop, args=(process.stderr,), daemon=True)
        reader.start()
        yield process
    finally:
        process.terminate()
        process.wait()


def _drop(stream: Any) -> None:
    while stream.read1(1 << 20):
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def messages_api() -> Iterator[str]:
    """Run the Messages API; its URL."""
    with tempfile.NamedTemporaryFile("w") as body:
        body.write(json.dumps(MESSAGE))
        body.flush()
        command = [make_program("server"), "0", "1", body.name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.communicate()


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_of(process: subprocess.Popen[bytes]) -> int:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * PAGE


# ---- Load ---------------------------------------------------------------------------------------


def script() -> str:
    """What wrk sends."""
    body = json.dumps({"messages": PROMPT})
    lines = ['wrk.method = "POST"', f"wrk.body = [[{body}]]"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in HEADERS.items()]
    return "\n".join(lines)


def load(port: int, seconds: float) -> str:
    """Run wrk; what it prints."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script())
        file.flush()
        options = ["-c", str(CONNECTIONS), "-t", "1", "-d", f"{seconds:.0f}s", "--latency"]
        url = f"http://127.0.0.1:{port}{TEMPLATIZE}"
        command = ["wrk", *options, "--timeout", "30s", "-s", file.name, url]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measure(seconds: float, *arguments: str) -> Seen:
    port = free_port()
    with serve(port, *arguments) as process:
        load(port, 2)  # what is made once is made now
        early = threading.Timer(seconds / 10, lambda: memory.append(memory_of(process)))
        memory: list[int] = []
        before = cpu_of(process)
        early.start()
        shown = load(port, seconds)
        spent = cpu_of(process) - before
        early.join()
        memory.append(memory_of(process))
    requests = int(re.findall(r"(\d+) requests in", shown)[0])
    failed = "; ".join(re.findall(r"Socket errors: .*|Non-2xx.*", shown))
    latency = " ".join(re.findall(r"(?:50|99)% +\S+", shown))
    return Seen(requests, failed, spent / max(requests, 1), latency, memory[0], memory[-1])


# ---- Killed and started again -------------------------------------------------------------------


class Callers:
    """Threads that call the server again and again through one client."""

    def __init__(self, url: str) -> None:
        import promptlathe

        self.client = promptlathe.Client("any", base_url=url, max_retries=8)
        self.stop = threading.Event()
        self.calls = self.retried = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self.threads = [threading.Thread(target=self._call) for _ in range(THREADS)]

    def _call(self) -> None:
        while not self.stop.is_set():
            try:
                attempts = self.client.with_raw_response.templatize(PROMPT).attempts
            except Exception as error:
                with self._lock:
                    self.failures.append(f"{type(error).__name__}: {error}")
                continue
            with self._lock:
                self.calls += 1
                self.retried += attempts > 1

    def run(self, work: Callable[[], None]) -> None:
        for thread in self.threads:
            thread.start()
        work()
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.client.close()


def kill_under_load() -> Callers:
    port = free_port()
    callers = Callers(f"http://127.0.0.1:{port}")

    def work() -> None:
        for _ in range(KILLS):
            with serve(port, "--simulated") as process:
                time.sleep(3)  # of load
                process.send_signal(signal.SIGKILL)
                process.wait()
        with serve(port, "--simulated"):
            time.sleep(3)
            callers.stop.set()
            for thread in callers.threads:
                thread.join()

    callers.run(work)
    return callers


# ---- The outcome --------------------------------------------------------------------------------


def show(name: str, seen: Seen) -> list[str]:
    print(
        f"{name:24} {seen.requests} requests, {seen.cpu * 1e3:.3f} ms of CPU each, {seen.latency}, "
        f"memory {seen.begun / 1e6:.1f} to {seen.ended / 1e6:.1f} MB",
        flush=True,
    )
    found = [f"{name}: {seen.failed}"] if seen.failed else []
    if seen.cpu >= MOST_CPU:
        found.append(f"{name}: a request takes {seen.cpu * 1e3:.3f} ms of CPU")
    if seen.ended - seen.begun > MOST_GROWTH:
        found.append(f"{name}: memory grew by {(seen.ended - seen.begun) / 1e6:.1f} MB")
    return found


def show_callers(callers: Callers) -> list[str]:
    print(f"killed {KILLS} times: {callers.calls} calls, {callers.retried} of them with retries")
    found = sorted(set(callers.failures))[:5]
    if not callers.retried:
        found.append("no call met a kill")
    return [f"killed: {each}" for each in found]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("minutes", nargs="?", type=float, default=1)
    parser.add_argument("--quick", action="store_true", help="10 seconds")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("not measured, since wrk is not installed")
        return 1
    seconds = 10 if arguments.quick else arguments.minutes * 60
    describe()
    faults = show("simulated answers", measure(seconds, "--simulated"))
    with messages_api() as url:
        seen = measure(seconds, "--model", "model-1", "--upstream", url)
        faults += show("before a Messages API", seen)
    faults += show_callers(kill_under_load())
    for fault in faults:
        print(f"NOT AS PROMISED: {fault}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
