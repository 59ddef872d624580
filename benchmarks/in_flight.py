"""5,000 calls from one thread with 1,000 in flight: CPU, memory and connections, beside other clients.

    python benchmarks/in_flight.py [ROUNDS] [--quick]

Each measurement is a process of its own that makes the same calls with one client, against a server
that is another; the clients take turns, ROUNDS times (3; --quick is one). CPU is that of the client's
process, user and system, per call, with answers that come 50 ms after each request. Memory is how far
the resident size grows, per call in flight, then or when the server answers nobody before it holds all
1,000, whichever is more.
Over HTTP/2 (nghttpd, with TLS) the connections are counted. It needs Linux and a C compiler.

It exits with 1 when a call failed, a call of promptlathe took as much CPU as one of another client
or 40 KB of memory, or more connections were opened than the streams require. The other clients are the
extra `bench` of pyproject.toml, which is installed into build/bench/venv at the first time. pycurl is
built from its source there, so that it runs on the same libcurl as this project does: its wheel brings
a newer one, as this project's own does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support.clients import OURS, PEERS
from support.measuring import describe, spread
from support.relay import Relay

ROOT = Path(__file__).resolve().parents[1]
SUPPORT, BUILD = ROOT / "benchmarks/support", ROOT / "build/bench"
CALLS, CONCURRENCY, DELAY = 5000, 1000, 50
MOST_MEMORY = 40_000  # bytes per call in flight
STREAMS = 100  # on a connection of HTTP/2
PATIENCE = 900  # seconds for one measurement
SLOW = {"httpx": 1}  # rounds at most: 5,000 calls of it take half a minute of CPU


class Tools(NamedTuple):
    server: Path
    python: Path  # with the other clients


# ---- What is built and installed ----------------------------------------------------------------


def make_server() -> Path:
    source, server = SUPPORT / "server.c", BUILD / "server"
    if not server.exists() or server.stat().st_mtime < source.stat().st_mtime:
        flags = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2"]
        server.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", *flags, "-o", server, source], check=True)
    return server


def wanted_peers() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted: list[str] = project["project"]["optional-dependencies"]["bench"]
    return wanted


def make_environment() -> Path:
    """A virtual environment with the other clients, made again when their versions change."""
    wanted = wanted_peers()
    folder = BUILD / "venv"
    stamp, python = folder / "bench.stamp", folder / "bin/python"
    key = "\n".join([sys.version, str(folder), *wanted])
    if not stamp.exists() or stamp.read_text() != key:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-binary", "pycurl", *wanted], check=True)
        stamp.write_text(key)
    return python


def make_tools() -> Tools:
    BUILD.mkdir(parents=True, exist_ok=True)
    return Tools(make_server(), make_environment())


# ---- One measurement ----------------------------------------------------------------------------


def run_client(python: Path | str, name: str, url: str, calls: int, **variables: str) -> Any:
    command = [python, SUPPORT / "clients.py", name, url, str(calls), str(CONCURRENCY)]
    environment = os.environ | variables
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, timeout=PATIENCE, check=True
    )
    return json.loads(done.stdout)


def measure(tools: Tools, name: str, calls: int, hold: int) -> Any:
    from canned import good

    server = subprocess.Popen(
        [tools.server, str(DELAY), str(hold), good(2000)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdout is not None
    python = sys.executable if name in OURS else tools.python
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        seen = run_client(python, name, url, calls)
    finally:
        counts, _ = server.communicate()
    return seen | json.loads(counts)


def measure_rounds(tools: Tools, rounds: int) -> dict[str, list[Any]]:
    """By client, what each round has shown."""
    rows: dict[str, list[Any]] = {name: [] for name in [*OURS, *PEERS]}
    for number in range(rounds):
        for name, seen in rows.items():
            if number >= SLOW.get(name, rounds):
                continue
            spaced = measure(tools, name, CALLS, 1)
            held = measure(tools, name, CONCURRENCY, CONCURRENCY)
            seen.append(
                {
                    "cpu": spaced["cpu"],
                    "wall": spaced["wall"],
                    "memory": max(spaced["memory"], held["memory"]),
                    "held": held["most_held"],
                    "failures": spaced["failures"] + held["failures"],
                    "failure": spaced["failure"] or held["failure"],
                    "connections": spaced["connections"],
                }
            )
    return rows


# ---- HTTP/2 -------------------------------------------------------------------------------------


def most_at_once(log: str, delay: float) -> int:
    """How many requests nghttpd had seen, at the most, whose answers the relay still held back."""
    window: deque[float] = deque()
    most = 0
    for came in map(float, re.findall(r"\[ *([\d.]+)\] recv HEADERS", log)):
        window.append(came)
        while window[0] <= came - delay:
            window.popleft()
        most = max(most, len(window))
    return most


def measure_http2(name: str, delay: float = 0.5) -> Any:
    """The calls against nghttpd; answers come late, so that all are in flight at once."""
    from canned import good
    from faults.tls import Authority

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        authority = Authority(folder, "authority")
        authority.issue("127.0.0.1")
        certificate = next(folder.glob("server-*.pem"))
        pair = [certificate.with_suffix(".key"), certificate]
        answer = folder / "v1/experimental/generate_prompt"
        answer.parent.mkdir(parents=True)
        answer.write_bytes(good(2000))
        with (folder / "log").open("w+") as log:
            port = free_port()
            nghttpd = subprocess.Popen(
                ["nghttpd", "-v", "-d", folder, "-a", "127.0.0.1", str(port), *pair],
                stdout=log,
                stderr=subprocess.DEVNULL,  # tells of each handshake
            )
            try:
                wait_for(port)
                with Relay(port, delay) as relay:
                    url = f"https://127.0.0.1:{relay.port}"
                    ca = str(authority.file)
                    seen = run_client(sys.executable, name, url, CALLS, SSL_CERT_FILE=ca)
            finally:
                nghttpd.terminate()
                nghttpd.wait()
            log.seek(0)
            held = most_at_once(log.read(), delay)
    return seen | {"held": held, "connections": relay.connections}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    for _ in range(100):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")


# ---- The outcome --------------------------------------------------------------------------------


def column(seen: Sequence[Any], name: str) -> list[float]:
    return [each[name] for each in seen]


def median(seen: Sequence[Any], name: str) -> float:
    return statistics.median(column(seen, name))


def show(rows: dict[str, list[Any]]) -> None:
    ours = median(rows["map"], "cpu")
    print(f"{CALLS} calls, {CONCURRENCY} in flight, {DELAY} ms until each answer")
    print(
        f"{'':16} CPU in µs per call: median and range  / map   wall s   KB per call   connections"
    )
    for name, seen in rows.items():
        print(
            f"{name:16} {spread(column(seen, 'cpu'), 1e-6):36} "
            f"{median(seen, 'cpu') / ours:6.2f} {median(seen, 'wall'):8.1f} "
            f"{median(seen, 'memory') / 1000:13.1f} {median(seen, 'connections'):13.0f}"
        )


def faults_of(rows: dict[str, list[Any]]) -> list[str]:
    """What is not as promised."""
    found = []
    for name, seen in rows.items():
        for each in seen:
            if each["failures"]:
                found.append(f"{name}: {each['failures']} calls failed: {each['failure']}")
            if each["held"] != CONCURRENCY:
                found.append(f"{name}: only {each['held']} calls were in flight at once")
    for name in OURS:
        if median(rows[name], "memory") >= MOST_MEMORY:
            found.append(f"{name}: {median(rows[name], 'memory'):.0f} bytes per call in flight")
        for peer in PEERS:
            if median(rows[name], "cpu") >= median(rows[peer], "cpu"):
                found.append(f"{name}: takes as much CPU as {peer}")
    return found


def show_http2(name: str, seen: Any) -> list[str]:
    # The warm-up call of `map` has a connection of its own: a map has an engine to itself.
    most = math.ceil(CONCURRENCY / STREAMS) + (name == "map")
    print(
        f"{name:16} {seen['connections']} connections for {seen['held']} streams at once, "
        f"{seen['cpu'] * 1e6:.0f} µs per call, {seen['memory'] / 1000:.1f} KB"
    )
    found = [f"{name}: {seen['failures']} failed: {seen['failure']}"] if seen["failures"] else []
    if seen["connections"] > most:
        found.append(f"{name}: {seen['connections']} connections of HTTP/2, not {most}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round")
    arguments = parser.parse_args()
    tools = make_tools()
    describe()
    print("beside", *wanted_peers(), flush=True)
    rows = measure_rounds(tools, 1 if arguments.quick else arguments.rounds)
    show(rows)
    faults = faults_of(rows)
    if shutil.which("nghttpd"):
        print(f"HTTP/2 with TLS, nghttpd, {CALLS} calls")
        for name in OURS:
            faults += show_http2(name, measure_http2(name))
    else:
        print("HTTP/2: not measured, since nghttpd is not installed")
    for fault in faults:
        print(f"NOT AS PROMISED: {fault}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
