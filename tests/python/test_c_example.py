"""A C program links the core: the example is built as its users build it, and run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import promptlathe
import pytest
from conftest import ROOT
from promptlathe.mock import Server


@pytest.fixture(scope="module")
def program() -> Path:
    subprocess.run(["make", "-s", "-C", ROOT / "csrc"], check=True)
    return ROOT / "build/plain/examples/three_calls"


def run(program: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    return subprocess.run(
        [program], env=kept | environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_three_calls(program: Path, promptlathe_server: Server) -> None:
    done = run(program, ANTHROPIC_API_KEY="sk-c", ANTHROPIC_BASE_URL=promptlathe_server.url)
    assert (done.returncode, done.stderr) == (0, "")
    sent = [request.path.rpartition("/")[2] for request in promptlathe_server.requests]
    assert sent == ["generate_prompt", "improve_prompt", "templatize_prompt"]
    answers = [json.loads(part.partition("\n")[2]) for part in done.stdout.split("--- ")[1:]]
    with promptlathe.Client("sk-python", base_url=promptlathe_server.url) as client:
        generated = client.generate("a chef for a meal prep planning service")
        assert answers == [
            generated,
            client.improve(generated["messages"]),
            client.templatize("Translate hello to German"),
        ]


def test_errors_are_told(program: Path, promptlathe_server: Server) -> None:
    done = run(program)
    assert done.returncode == 2 and "ANTHROPIC_API_KEY" in done.stderr
    promptlathe_server.script([{"status": 400}])
    done = run(program, ANTHROPIC_API_KEY="sk-c", ANTHROPIC_BASE_URL=promptlathe_server.url)
    assert done.returncode == 1 and "generate: " in done.stderr and "400" in done.stderr
