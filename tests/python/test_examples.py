"""Each script of examples/ is run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import promptlathe
import pytest
from messages_server import plausible, says
from promptlathe.mock import Server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LIMIT = 60  # seconds that no example comes near


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "ANTHROPIC" not in name}
    return kept | {"PYTHONPATH": str(Path(promptlathe.__file__).parent.parent)} | more


def run(
    *args: str, url: str = "", stdin: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        env=environment(ANTHROPIC_BASE_URL=url, ANTHROPIC_API_KEY="any" if url else ""),
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
        cwd=cwd,
    )


def example(name: str) -> str:
    return str(EXAMPLES / name)


def test_all_of_them_are_run_here() -> None:
    tested = {"first_script.py", "live.py", "notebook.py", "pipeline.py", "test_my_code.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_first_script() -> None:
    with Server() as server:
        done = run(example("first_script.py"), url=server.url)
        verbs = [request.path.rpartition("/")[2] for request in server.requests]
    assert (done.returncode, done.stderr) == (0, "")
    assert verbs == ["generate_prompt", "improve_prompt", "templatize_prompt"]
    assert "Translate {{WORD_TO_TRANSLATE}} to {{TARGET_LANGUAGE}}" in done.stdout
    assert done.stdout.endswith("[user]\nTranslate hello to French\n\n")


def test_first_script_without_a_key() -> None:
    done = run(example("first_script.py"))
    assert done.returncode == 1
    assert done.stderr.startswith("ConfigurationError: ") and "ANTHROPIC_API_KEY" in done.stderr


def test_notebook() -> None:
    done = run(example("notebook.py"))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("variables: ['")
    assert "losses: []" in lines
    assert lines[-2:] == [
        f"[{{'type': 'text', 'text': 'Translate hello to {language}'}}]"
        for language in ("French", "Hungarian")
    ]


def test_pipeline() -> None:
    prompts = [f"Translate word {n} to German" for n in range(40)]
    lines = [json.dumps({"prompt": prompt}) for prompt in prompts]
    lines[3] = "{"
    lines[5] = '{"prompt": 5}'
    lines[7] = '{"text": "x"}'
    with Server() as server:
        done = run(example("pipeline.py"), url=server.url, stdin="\n".join(lines))
        assert len(server.requests) == 37
    assert (done.returncode, done.stderr) == (0, "")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["line"] for record in records] == list(range(1, 41))
    failed = [record for record in records if "error" in record]
    assert {record["line"]: record["error"].split(":")[0] for record in failed} == {
        4: "JSONDecodeError",
        6: "InvalidRequestError",
        8: "KeyError",
    }
    for record in records:
        if "error" not in record:
            filled = promptlathe.render(record["messages"], record["values"])
            prompt = prompts[record["line"] - 1]
            assert filled == promptlathe.validate_messages(prompt)


@pytest.mark.parametrize("effort", ["fast", "thorough"])
def test_live_against_a_scripted_model(effort: str) -> None:
    count = 3 if effort == "fast" else 6
    prices = ("--input-price", "3", "--output-price", "15")
    with Server() as server:
        server.script([plausible] * count)
        arguments = ("--model", "m", "--base-url", server.url, "--effort", effort, *prices)
        done = run(example("live.py"), *arguments)
        assert [request.path for request in server.requests] == ["/v1/messages"] * count
    assert (done.returncode, done.stderr) == (0, "")
    assert "=== generate\n[user]\nYou are careful." in done.stdout
    assert "Do it step by step. {{food}}" in done.stdout
    assert "Translate {{WORD_TO_TRANSLATE}} to {{TARGET_LANGUAGE}}" in done.stdout
    assert "TARGET_LANGUAGE = 'German'" in done.stdout
    assert "renders back to the original: yes" in done.stdout
    assert f"tokens: {10 * count} of input, {5 * count} of output" in done.stdout
    assert f"cost: {(30 + 75) * count / 1e6:.6f}" in done.stdout


def test_live_tells_what_is_wrong() -> None:
    helped = run(example("live.py"), "--help")
    assert helped.returncode == 0 and "--output-price" in helped.stdout
    without_key = run(example("live.py"))
    assert without_key.returncode == 1 and "ANTHROPIC_API_KEY" in without_key.stderr
    with Server() as server:
        done = run(example("live.py"), "--base-url", server.url)
    assert (done.returncode, done.stderr[:15]) == (1, "NotFoundError: ")
    with Server() as server:
        server.script([says("chatter")] * 2)
        done = run(example("live.py"), "--base-url", server.url)
    assert done.returncode == 1 and done.stderr.startswith("ModelAnswerError: ")
    assert done.stderr.endswith("\nthe model wrote: chatter\n")


@pytest.mark.parametrize("name", ["test_my_code.py"])
def test_a_users_tests(name: str, tmp_path: Path) -> None:
    # Blocked by its entry point's name and asked for by its module's, the plugin is there once
    # whether the package is installed or not.
    plugin = ("-p", "no:promptlathe", "-p", "promptlathe.pytest_plugin", "-p", "no:cacheprovider")
    args = ("-q", *plugin, "--rootdir", str(tmp_path), example(name))
    done = run("-m", "pytest", *args, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout
