"""CPU of an import, and of a script with one call, beyond a bare Python; beside other clients' imports.

    python benchmarks/startup.py [ROUNDS] [--quick]

Each figure is of a process of its own, user and system; all kinds take turns, ROUNDS times (11;
--quick: 5; heavy imports 3, or 1). All run in the environment of the other clients, which finds
promptlathe by its path. The servers are other processes or threads of this one; https trusts what the
system trusts and the server's own authority, so that a CA bundle of the usual size is parsed.
"""

from __future__ import annotations

import argparse
import os
import socket
import ssl
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support import results
from support.building import make_environment
from support.measuring import cpu_of_process, describe, spread

BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
BARE, OURS = "bare Python", "promptlathe"
IMPORT, HTTP, HTTPS = "import", "a script with one http call", "a script with one https call"
LIMITS = {(IMPORT, OURS): (12.0, 5.0), (HTTPS, OURS): (35.0, 25.0)}  # ms: due, aim
PEERS = {
    "pycurl, orjson": "pycurl, orjson",
    "pyreqwest": "pyreqwest.client",
    "primp": "primp",
    "httpx": "httpx",
    "requests": "requests",
    "aiohttp": "aiohttp",
    "anthropic": "anthropic",
}
HEAVY = ("aiohttp", "anthropic")
CALL = """
import promptlathe
with promptlathe.Client("a-key", base_url={url!r}, ca_file={ca!r}) as client:
    print(client.generate("Summarize a letter")["messages"][0]["content"])
"""


# ---- Services -----------------------------------------------------------------------------------


def answer_tls(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Answer the one request of each connection, until the listener is closed."""
    from canned import answer

    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as peer:
            request = b""
            while not request.endswith(b"}"):  # of its JSON
                piece = peer.recv(1 << 16)
                if not piece:
                    break
                request += piece
            peer.sendall(answer("good-2000").data)
            peer.recv(1)  # until the client ends


@contextmanager
def serve_tls() -> Iterator[tuple[str, str]]:
    """Serve https; the URL, and a file with the system's authorities and the server's."""
    from faults.tls import Authority

    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder), "authority")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.files("127.0.0.1"))
        bundle = Path(folder, "bundle.pem")
        bundle.write_bytes(system_bundle().read_bytes() + authority.file.read_bytes())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=answer_tls, args=(listener, context))
            thread.start()
            try:
                yield f"https://127.0.0.1:{listener.getsockname()[1]}", str(bundle)
            finally:
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()


def system_bundle() -> Path:
    for name in (ssl.get_default_verify_paths().cafile, *BUNDLES):
        if name and Path(name).exists():
            return Path(name)
    raise SystemExit("startup.py: this system has no bundle of CA certificates (ca-certificates)")


# ---- Measuring ----------------------------------------------------------------------------------


def run_script(python: Path, script: str) -> float:
    """CPU of a process with the script, in ms."""
    import promptlathe

    environment = os.environ | {"PYTHONPATH": str(Path(promptlathe.__file__).parents[1])}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return 1000 * cpu_of_process([python, "-c", script], environment)


def measure(python: Path, rounds: int, heavy: int) -> dict[tuple[str, str], list[float]]:
    """By row and client, the CPU of each round."""
    from canned import Canned

    with Canned() as server, serve_tls() as (url, bundle):
        scripts = {
            (BARE, BARE): "pass",
            (IMPORT, OURS): "import promptlathe",
            **{(IMPORT, name): f"import {modules}" for name, modules in PEERS.items()},
            (HTTP, OURS): CALL.format(url=server.url("good-2000"), ca=None),
            (HTTPS, OURS): CALL.format(url=url, ca=bundle),
        }
        seen: dict[tuple[str, str], list[float]] = {key: [] for key in scripts}
        for script in scripts.values():
            run_script(python, script)  # writes compiled modules
        for number in range(rounds):
            for key, script in scripts.items():
                if key[1] not in HEAVY or number < heavy:
                    seen[key].append(run_script(python, script))
    return seen


def beyond(seen: dict[tuple[str, str], list[float]]) -> list[results.Row]:
    """What each takes more than a bare Python does in the median."""
    bare = statistics.median(seen[BARE, BARE])
    rows = []
    for (row, client), values in seen.items():
        if row != BARE:
            due, aim = LIMITS.get((row, client), (None, None))
            values = [value - bare for value in values]
            rows.append(results.Row(row, client, values, due=due, aim=aim, limit_unit="ms"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="5 rounds")
    arguments = parser.parse_args()
    rounds, heavy = (5, 1) if arguments.quick else (arguments.rounds, 3)
    describe()
    seen = measure(make_environment(), rounds, heavy)
    rows = beyond(seen)
    print(f"{BARE:44} {spread(seen[BARE, BARE], 1)} ms of CPU; below: beyond it")
    for row in rows:
        print(f"{row.row:28} {row.client:15} {spread(row.values, 1)}")
    title = "Start-up: CPU beyond a bare Python"
    results.save("startup", title=title, unit="ms", better="lower", baseline=None, rows=rows)


if __name__ == "__main__":
    main()
