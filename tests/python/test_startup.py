"""What an import and a first call cost a script: no module that it did not ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from one_call import KEY
from promptlathe.mock import Server

# Without site, so that nothing of the environment is loaded before.
SCRIPT = """
import sys
sys.path[:0] = {path!r}
before = set(sys.modules)
{body}
print(sorted(set(sys.modules) - before))
"""


def loaded(body: str, **environment: str) -> list[str]:
    """The modules that the lines load, in a Python of their own."""
    script = SCRIPT.format(path=[entry for entry in sys.path if entry], body=body)
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    names: list[str] = json.loads(done.stdout.splitlines()[-1].replace("'", '"'))
    return names


OURS = ["promptlathe", "promptlathe._core"]


def test_import_loads_nothing_else() -> None:
    """No asyncio, ssl, http, json, typing, logging or threading: only the two of the package."""
    assert loaded("import promptlathe") == OURS


@pytest.mark.parametrize(
    "use",
    [
        "promptlathe.find_variables('{{A}}')",
        "promptlathe.validate_messages('hello')",
        "promptlathe.convert_completion_prompt('\\n\\nHuman: a\\n\\nAssistant:')",
        "promptlathe.Client('key', base_url='http://127.0.0.1:1', timeout=promptlathe.Timeout(1))",
        "promptlathe.Client('key', base_url='http://127.0.0.1:1').with_options(timeout=5).close()",
    ],
)
def test_using_it_loads_nothing_else(use: str) -> None:
    assert loaded(f"import promptlathe\n{use}") == OURS


def test_libcurl_and_its_tls_begin_with_the_first_call(tmp_path: Path) -> None:
    """Who reads this configuration of OpenSSL waits for a writer that never comes."""
    configuration = tmp_path / "openssl.cnf"
    os.mkfifo(configuration)
    client = "promptlathe.Client('key', base_url='https://127.0.0.1:1')"
    assert loaded(f"import promptlathe\n{client}", OPENSSL_CONF=str(configuration)) == OURS


def test_what_comes_next_is_loaded_when_asked_for() -> None:
    assert "difflib" not in loaded(
        "import promptlathe\npromptlathe.to_messages_request('a', model='b')"
    )
    assert "difflib" in loaded("import promptlathe\npromptlathe.diff")


def test_calls_load_nothing_else(promptlathe_server: Server) -> None:
    """Not even one that is retried, one that fails, and one that prints what it got."""
    promptlathe_server.script([{"status": 503, "headers": {"retry-after-ms": "1"}}, None,
                               {"status": 400}])  # fmt: skip
    body = f"""
import promptlathe
with promptlathe.Client({KEY!r}, base_url={promptlathe_server.url!r}) as client:
    print(client.generate("one")["messages"][0]["role"])
    try:
        client.templatize("two")
    except promptlathe.BadRequestError as error:
        print(error, error.body)
    print(client.with_raw_response.improve("three").request_id)
"""
    assert loaded(body) == OURS
    assert len(promptlathe_server.requests) == 4


def test_logging_is_used_only_where_the_program_does(promptlathe_server: Server) -> None:
    call = f"promptlathe.Client({KEY!r}, base_url={promptlathe_server.url!r}).generate('x')"
    assert "promptlathe._log" in loaded(f"import logging, promptlathe\n{call}")
    assert "logging" not in loaded(f"import promptlathe\n{call}")


def test_the_rest_is_loaded_when_it_is_asked_for() -> None:
    assert "promptlathe._types" in loaded("import promptlathe; promptlathe.Message")
    assert "promptlathe.server.front" in loaded("import promptlathe; promptlathe.mock.Server")


def test_the_command_answers_without_the_server() -> None:
    body = """
import contextlib, io
from promptlathe import cli
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    cli.main(["--version"])
"""
    names: Any = loaded(body)
    assert [n for n in names if n.split(".")[0] in ("asyncio", "ssl", "http", "socket")] == []
    assert [n for n in names if n.startswith("promptlathe.server.")] == []
