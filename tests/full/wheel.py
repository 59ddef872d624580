"""What the wheel that is installed in a bare tree does, against servers on this side of the chroot.

The servers and their certificates are those of the tests; the tree's /opt/venv holds the wheel and
nothing else. Usage: wheel.py TREE
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))

from faults.http2_server import h2_context, over_h2  # noqa: E402
from faults.raw_server import ANSWER, Connection, RawServer, serve  # noqa: E402
from faults.tls import Authority  # noqa: E402

HOST = "api.example.invalid"  # a name that only a proxy looks up, and ours does not
UNTRUSTED = {"error": "APIConnectionError", "phase": "tls", "curl_code": 60, "attempts": 1}
LIMIT = 120.0  # seconds for one program
CERTIFICATES = "/srv/authority"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8"}

RULES = """
import promptlathe as p
messages = p.validate_messages("hello {{NAME}}")
assert messages == [{"role": "user", "content": [{"type": "text", "text": "hello {{NAME}}"}]}]
assert p.find_variables(messages) == ["NAME"]
assert p.render("hello {{NAME}}", {"NAME": "you"}) == "hello you"
legacy = p.sanitize_completion_prompt("Human: hello\\n\\nAssistant: ")
assert legacy[1] == ["normalized_leading_newlines", "stripped_trailing_whitespace"]
(turn,) = p.convert_completion_prompt(legacy[0])["messages"]
assert turn == {"role": "user", "content": [{"type": "text", "text": "hello"}]}
try:
    p.validate_messages([])
except p.InvalidRequestError as error:
    assert [each["code"] for each in error.errors] == ["empty"]
else:
    raise AssertionError("an empty list of messages passes")
"""

CALL = """
import json, sys
import promptlathe
try:
    with promptlathe.Client("sk-test", max_retries=1, **json.loads(sys.argv[1])) as client:
        print(json.dumps(client.generate("Write a haiku about rivers")))
except promptlathe.APIConnectionError as error:
    names = ("phase", "curl_code", "attempts")
    print(json.dumps({"error": type(error).__name__} | {each: getattr(error, each) for each in names}))
"""

VERSIONS = """
import importlib.metadata as metadata, json, platform
from pathlib import Path
(listed,) = [file for file in metadata.files("promptlathe") if file.name == "THIRD-PARTY.txt"]
text = listed.read_text()
licences = [file.name for file in metadata.files("promptlathe") if "third-party" in str(file)]
print(json.dumps([metadata.version("promptlathe"), platform.python_version(), text, licences]))
"""


class Tree:
    """A tree with the wheel in it, and an authority that nobody trusts unless told to."""

    def __init__(self, place: Path) -> None:
        self.place = place
        folder = place / CERTIFICATES.removeprefix("/")
        folder.mkdir()
        self.authority = Authority(folder, "wheel")
        self.ca_file = f"{CERTIFICATES}/{self.authority.file.name}"

    def run(self, *command: str, **environment: str) -> str:
        """Run a command of the wheel's environment in the tree; return what it prints."""
        program, *arguments = command
        done = subprocess.run(
            ["chroot", self.place, f"/opt/venv/bin/{program}", *arguments],
            env=ENVIRONMENT | environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert done.returncode == 0, f"{program} ends with {done.returncode}\n{done.stderr}"
        assert not done.stderr, done.stderr
        return done.stdout

    def call(self, environment: dict[str, str] | None = None, **options: Any) -> Any:
        """Make a call in the tree; return its answer, or what is known of its failure."""
        command = ("python", "-W", "error", "-c", CALL, json.dumps(options))
        return json.loads(self.run(*command, **environment or {}))


def over_tls(tree: Tree, host: str = "127.0.0.1") -> Any:
    """A handler that answers well behind a handshake."""
    context = tree.authority.issue(host)

    def handle(connection: Connection) -> None:
        connection.tls(context)
        serve(connection)

    return handle


def https(server: RawServer) -> str:
    return f"https://127.0.0.1:{server.port}"


# ---- What is tried ------------------------------------------------------------------------------


def try_rules(tree: Tree) -> None:
    """The rules, which need no service."""
    tree.run("python", "-W", "error", "-c", RULES)


def try_demo(tree: Tree) -> None:
    """The demonstration, over http to the simulated service."""
    printed = tree.run("promptlathe", "demo")
    assert "generate" in printed and "templatize" in printed, printed


def try_agent(tree: Tree) -> None:
    """An https call to a server whose authority is named, and what the server hears of the client."""
    version, python, listed, licences = json.loads(tree.run("python", "-c", VERSIONS))
    libraries = dict(re.findall(r"^(\S+) (?:\d+:)?([0-9.]*[0-9])", listed, re.MULTILINE))
    assert sorted(libraries) == ["curl", "jansson", "nghttp2", "openssl", "zlib"], listed
    assert sorted(licences) == sorted(f"{name}.txt" for name in libraries), licences
    with RawServer(over_tls(tree)) as server:
        assert tree.call(base_url=https(server), ca_file=tree.ca_file) == ANSWER
        agent = server.requests[0].headers["user-agent"]
    assert agent == f"promptlathe/{version} python/{python} libcurl/{libraries['curl']}", agent


def try_http2(tree: Tree) -> None:
    """HTTP/2, which the server insists on."""
    with RawServer(over_h2(h2_context(tree.authority))) as server:
        assert tree.call(base_url=https(server), ca_file=tree.ca_file) == ANSWER
        assert len(server.requests) == 1


def try_untrusted(tree: Tree) -> None:
    """The system's own authorities are found, and do not vouch for a certificate of ours."""
    with RawServer(over_tls(tree)) as server:
        assert tree.call(base_url=https(server)) == UNTRUSTED
        trusted = {"SSL_CERT_FILE": tree.ca_file}
        assert tree.call(trusted, base_url=https(server)) == ANSWER
        assert len(server.requests) == 1


def try_other_host(tree: Tree) -> None:
    """A certificate of the right authority for somebody else."""
    with RawServer(over_tls(tree, HOST)) as server:
        assert tree.call(base_url=https(server), ca_file=tree.ca_file) == UNTRUSTED


def try_proxy(tree: Tree) -> None:
    """The environment's proxy, which is asked for the host by name and lets the call through."""
    inner = over_tls(tree, HOST)

    def tunnel(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 Established\r\n\r\n")
        inner(connection)

    with RawServer(tunnel) as proxy:
        environment = {"HTTPS_PROXY": proxy.url}
        answer = tree.call(environment, base_url=f"https://{HOST}", ca_file=tree.ca_file)
        assert answer == ANSWER
        lines = [request.line for request in proxy.requests]
    assert lines[0] == f"CONNECT {HOST}:443 HTTP/1.1" and len(lines) == 2, lines


def try_configuration(tree: Tree) -> None:
    """A configuration by which OpenSSL would have no algorithm at all is not read."""
    path = "/srv/openssl.cnf"
    text = "openssl_conf=a\n[a]\nproviders=b\n[b]\nnull=c\n[c]\nactivate=1\n"
    (tree.place / path.removeprefix("/")).write_text(text)
    with RawServer(over_tls(tree)) as server:
        options = {"base_url": https(server), "ca_file": tree.ca_file}
        assert tree.call({"OPENSSL_CONF": path}, **options) == ANSWER


def main() -> None:
    tree = Tree(Path(sys.argv[1]))
    steps = (try_rules, try_demo, try_agent, try_http2, try_untrusted, try_other_host)
    for step in (*steps, try_proxy, try_configuration):
        step(tree)
        print(f"-- {step.__doc__}")


if __name__ == "__main__":
    main()
